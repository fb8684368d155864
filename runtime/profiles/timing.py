"""Interleaved timing: all candidates in one process, in turns, in a new order each round, on pinned cores."""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gearshift.errors import InputError

Key = TypeVar("Key")

WARM_UP = 3
"""Number of calls of each candidate before any is timed."""


@dataclass(frozen=True)
class Times:
    """Statistics of the wall times of one candidate."""

    median_ms: float
    p95_ms: float
    runs: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Times:
        """Return the statistics of the times of single calls."""
        return cls(statistics.median(milliseconds), float(np.percentile(milliseconds, 95)), len(milliseconds))


def interleave(
    candidates: Mapping[Key, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = WARM_UP,
    seed: int = 0,
    enough: Callable[[int], bool] = lambda done: False,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], int] | None = None,
) -> dict[Key, list[float]]:
    """Measure the milliseconds of every call; each candidate runs once a round, so that drift affects all alike.

    `enough`: called with the number of rounds done before each further one; True ends the measurement.
    `progress`: called with the rounds done and the rounds planned. `clock`: clock of the calls in
    nanoseconds, by default that of the wall.
    """
    order = list(candidates)
    clock = time.perf_counter_ns if clock is None else clock
    shuffle = random.Random(seed).shuffle
    for run in candidates.values():
        for _ in range(warm_up):
            run()
    times: dict[Key, list[float]] = {key: [] for key in order}
    for done in range(rounds):
        if enough(done):
            break
        shuffle(order)
        for key in order:
            began = clock()
            candidates[key]()
            times[key].append((clock() - began) / 1e6)
        if progress is not None:
            progress(done + 1, rounds)
    return times


def pin(threads: int = 1) -> list[int]:
    """Pin this thread, and those it starts, to the last `threads` cores that it may use; return the cores' numbers.

    Returns none if the system has no such call. Raises InputError if there are fewer cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    usable = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(usable):
        raise InputError(f"threads: expected 1 to {len(usable)}, the CPUs that this process may use, got {threads}")
    os.sched_setaffinity(0, usable[-threads:])
    return usable[-threads:]


@contextlib.contextmanager
def pinned(threads: int = 1) -> Iterator[list[int]]:
    """Pin as `pin` does, for the time of a `with` block."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    cores = pin(threads)
    try:
        yield cores
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)
