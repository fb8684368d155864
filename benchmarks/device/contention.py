"""Other work on a real machine, switched on and off at random: processor hogs and memory hogs."""

from __future__ import annotations

import random
from dataclasses import dataclass
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

STATES = ("free", "processor", "memory", "both")


@dataclass(frozen=True)
class Spell:
    """A state of the other work, and its start in seconds."""

    start_s: float
    state: str


def random_spells(seconds: float, *, seed: int, shortest_s: float = 1.0, longest_s: float = 30.0) -> tuple[Spell, ...]:
    """Draw states, never one twice in a row, each for a time that is uniform between the bounds; free at first."""
    draw = random.Random(seed)
    spells, start, state = [], 0.0, STATES[0]
    while start < seconds:
        spells.append(Spell(start, state))
        start += draw.uniform(shortest_s, longest_s)
        state = draw.choice([other for other in STATES if other != state])
    return tuple(spells)


def state_at(spells: tuple[Spell, ...], time_s: float) -> str:
    """Return the state of the other work at that many seconds after the start."""
    return next(spell.state for spell in reversed(spells) if spell.start_s <= time_s)


class Hogs:
    """One processor hog and one memory hog per CPU; all held at first, and ended on leaving the with-block."""

    def __init__(self, cpus: int) -> None:
        self._processor = Burners(cpus)
        self._memory = Burners(cpus, STREAM)

    def set(self, state: str) -> None:
        """Let the hogs of a state run, and hold the others."""
        self._processor.switch(on=state in ("processor", "both"))
        self._memory.switch(on=state in ("memory", "both"))

    def __enter__(self) -> Self:
        self._processor.__enter__()
        self._memory.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processor.__exit__(kind, error, trace)
        self._memory.__exit__(kind, error, trace)
