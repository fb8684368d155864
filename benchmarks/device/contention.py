"""Other work on a real machine, switched on and off at random: processor hogs, memory hogs, a second model; and a
throttled processor."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.demo.load import Burners

STREAM = """
import os, sys
import numpy as np
source, target = np.ones(8_000_000), np.empty(8_000_000)
while os.getppid() == int(sys.argv[1]):
    np.copyto(target, source)
"""
"""Code that copies 64 MB again and again: more than the caches hold, as in STREAM (McCalpin 1995)."""

MODEL = """
import os, sys
from gearshift.runtime import Engine
with Engine.load(sys.argv[2], sensors=False, threads=1) as engine:
    engine.pin(max(engine.pool.values(), key=lambda entry: entry.macs).name)
    while os.getppid() == int(sys.argv[1]):
        engine.run("a second model on the same machine, which answers one text after another")
"""
"""Code that answers with the largest subnet of a bundle again and again."""

STATES = ("free", "processor", "memory", "both")
SECOND, THROTTLED = "second model", "throttled"

QUOTA_US, PERIOD_US = 1_000, 2_000
"""Time of the processor that a throttled process has in each period: half of one CPU, in pieces as short as Linux
allows, as a clock of half the frequency comes nearest to."""

CPU_GROUPS = Path("/sys/fs/cgroup/cpu")
"""Place of Linux's control groups of CPU time, version 1."""


@dataclass(frozen=True)
class Spell:
    """A state of the other work, and its start in seconds."""

    start_s: float
    state: str


def random_spells(
    seconds: float,
    *,
    seed: int,
    shortest_s: float = 1.0,
    longest_s: float = 30.0,
    states: Sequence[str] = STATES,
) -> tuple[Spell, ...]:
    """Draw states, never one twice in a row, each for a time that is uniform between the bounds; the first of them at
    first."""
    draw = random.Random(seed)
    spells, start, state = [], 0.0, states[0]
    while start < seconds:
        spells.append(Spell(start, state))
        start += draw.uniform(shortest_s, longest_s)
        state = draw.choice([other for other in states if other != state])
    return tuple(spells)


def state_at(spells: tuple[Spell, ...], time_s: float) -> str:
    """Return the state of the other work at that many seconds after the start."""
    return next(spell.state for spell in reversed(spells) if spell.start_s <= time_s)


class Hogs:
    """One processor hog and one memory hog per CPU, and as many loops over the largest subnet of a bundle, if one is
    named; all held at first, and ended on leaving the with-block."""

    def __init__(self, cpus: int, second: Path | None = None) -> None:
        self._processor = Burners(cpus)
        self._memory = Burners(cpus, STREAM)
        self._second = Burners(cpus if second else 0, MODEL, str(second))

    def set(self, state: str) -> None:
        """Let the hogs of a state run, and hold the others."""
        self._processor.switch(on=state in ("processor", "both"))
        self._memory.switch(on=state in ("memory", "both"))
        self._second.switch(on=state == SECOND)

    def __enter__(self) -> Self:
        for burners in (self._processor, self._memory, self._second):
            burners.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for burners in (self._processor, self._memory, self._second):
            burners.__exit__(kind, error, trace)


class Throttle:
    """Share of a CPU that this process may use, through a control group of its own; the whole at first, and again after
    the with-block.

    Raises OSError where control groups of version 1 are not there or may not be written.
    """

    def __init__(self) -> None:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        own = next((path for _, names, path in lines if "cpu" in names.split(",")), None)
        if own is None:
            raise OSError("no control group of CPU time (version 1)")
        self._before = CPU_GROUPS / own.strip("/")
        self._group = self._before / f"throttled-{os.getpid()}"
        self._group.mkdir()
        self._on = False
        (self._group / "cpu.cfs_period_us").write_text(str(PERIOD_US))

    def set(self, state: str) -> None:
        """Throttle the process in the state of that name alone."""
        on = state == THROTTLED
        if on != self._on:
            self._on = on
            (self._group / "cpu.cfs_quota_us").write_text(str(QUOTA_US if on else -1))

    def __enter__(self) -> Self:
        (self._group / "cgroup.procs").write_text(str(os.getpid()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self._before / "cgroup.procs").write_text(str(os.getpid()))
        with contextlib.suppress(OSError):  # a thread that has just ended may still be counted
            self._group.rmdir()
