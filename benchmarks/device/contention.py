"""Other work on a real machine, switched on and off at random: processor hogs, memory hogs, a second model; and a
throttled processor. Hogs run on the CPUs that this process may use."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
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
from pathlib import Path
from gearshift.runtime import Engine
bundle, profile, precision, ready = sys.argv[2:]
with Engine.load(bundle, sensors=False, threads=1, profile=profile, precision=precision) as engine:
    engine.pin(max(engine.pool.values(), key=lambda entry: entry.macs).name)
    text = "a second model on the same machine, which answers one text after another"
    while os.getppid() == int(sys.argv[1]):
        engine.run((text, text) if engine.bundle.manifest.task == "question-answering" else text)
        Path(ready).touch()
"""
"""Code that answers with the largest subnet of a bundle again and again, and says with a file that it has begun."""

STATES = ("free", "processor", "memory", "both")
CROWDED, SECOND = "crowded", "second model"
HALF, QUARTER = "half speed", "quarter speed"

CROWD = 4
"""Number of processor hogs per CPU in the state CROWDED."""

QUOTAS_US = {HALF: (1_000, 2_000), QUARTER: (1_000, 4_000)}
"""State -> time of the processor that a throttled process has in each period, and the period: a share of one CPU, in
pieces as short as Linux allows, as a clock of that share of the frequency comes nearest to."""

LOADS_S = 300.0
"""Longest time in seconds that a second model may take to begin."""

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
    """Draw states, each for a time that is uniform between the bounds: the first of them at first, each once before any
    comes again, and never one twice in a row."""
    draw = random.Random(seed)
    spells, start, state, left = [], 0.0, states[0], list(states[1:])
    while start < seconds:
        spells.append(Spell(start, state))
        start += draw.uniform(shortest_s, longest_s)
        if not left:
            left = list(states)
        state = draw.choice([other for other in left if other != state])
        left.remove(state)
    return tuple(spells)


def state_at(spells: tuple[Spell, ...], time_s: float) -> str:
    """Return the state of the other work at that many seconds after the start."""
    return next(spell.state for spell in reversed(spells) if spell.start_s <= time_s)


@dataclass(frozen=True)
class Model:
    """Second model that answers beside the first: a bundle, its latency profile and its precision."""

    bundle: Path
    profile: Path
    precision: str


class Hogs:
    """Processor hogs and memory hogs, one of each per CPU and CROWD processor hogs in the state CROWDED, and a loop per
    CPU over the largest subnet of a second model, if one is named; all held at first, and ended on leaving the
    with-block."""

    def __init__(self, cpus: int, second: Model | None = None) -> None:
        self._processor = Burners(cpus)
        self._crowd = Burners((CROWD - 1) * cpus)
        self._memory = Burners(cpus, STREAM)
        self._scratch = tempfile.TemporaryDirectory()
        self._ready = Path(self._scratch.name) / "ready"
        named = () if second is None else (second.bundle, second.profile, second.precision, self._ready)
        self._second = Burners(cpus if second else 0, MODEL, *map(str, named))

    def set(self, state: str) -> None:
        """Let the hogs of a state run, and hold the others."""
        self._processor.switch(on=state in ("processor", "both", CROWDED))
        self._crowd.switch(on=state == CROWDED)
        self._memory.switch(on=state in ("memory", "both"))
        self._second.switch(on=state == SECOND)

    def load(self) -> None:
        """Wait until the second model has begun to answer; raises TimeoutError after LOADS_S."""
        self.set(SECOND)
        ends = time.monotonic() + LOADS_S
        while self._second.pids and not self._ready.exists():
            if time.monotonic() > ends:
                raise TimeoutError(f"the second model did not answer within {LOADS_S:g} s; load it alone to see why")
            time.sleep(0.1)
        self.set(STATES[0])

    def __enter__(self) -> Self:
        for burners in (self._processor, self._crowd, self._memory, self._second):
            burners.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for burners in (self._processor, self._crowd, self._memory, self._second):
            burners.__exit__(kind, error, trace)
        self._scratch.cleanup()


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
        self._state = ""

    def set(self, state: str) -> None:
        """Throttle the process in the states of QUOTAS_US, and in no other."""
        state = state if state in QUOTAS_US else ""
        if state == self._state:
            return
        self._state = state
        quota = self._group / "cpu.cfs_quota_us"
        quota.write_text("-1")  # before the period, which a longer quota would not allow
        if state:
            quota_us, period_us = QUOTAS_US[state]
            (self._group / "cpu.cfs_period_us").write_text(str(period_us))
            quota.write_text(str(quota_us))

    def __enter__(self) -> Self:
        (self._group / "cgroup.procs").write_text(str(os.getpid()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self._before / "cgroup.procs").write_text(str(os.getpid()))
        with contextlib.suppress(OSError):  # a thread that has just ended may still be counted
            self._group.rmdir()
