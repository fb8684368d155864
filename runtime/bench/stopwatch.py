"""How long one call took, and how much of that its threads did not run because others had the CPU."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

DISTURBED = 0.02
"""Share of a call's time spent waiting from which it says more about the rest of the machine than about itself."""


@dataclass(frozen=True)
class Sample:
    """One timed call."""

    wall_ms: float
    waited_ms: float
    """Of that, the time without a CPU; with several threads the sum over all of them."""

    @property
    def disturbed(self) -> bool:
        """Whether others were in the way for more than DISTURBED of the time."""
        return self.waited_ms > DISTURBED * self.wall_ms


class Stopwatch:
    """Times calls of a session with that many threads, all of which exist already.

    With one thread, waiting is wall time less the CPU time of the calling thread, on every system. With more it is
    what the Linux scheduler counts for each thread of the process between being ready and running (schedstat);
    where it does not, waiting is 0 and `counts_waiting` is False.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._files: list[int] = []
        if threads > 1:
            with contextlib.suppress(OSError):
                for task in Path("/proc/self/task").iterdir():
                    self._files.append(os.open(task / "schedstat", os.O_RDONLY))

    @property
    def counts_waiting(self) -> bool:
        """Whether `Sample.waited_ms` is known."""
        return self._threads == 1 or bool(self._files)

    def time(self, call: Callable[[], object]) -> Sample:
        """Run it once."""
        if self._threads == 1:
            own, began = time.thread_time_ns(), time.perf_counter_ns()
            call()
            wall, own = time.perf_counter_ns() - began, time.thread_time_ns() - own
            return Sample(wall / 1e6, max(0, wall - own) / 1e6)
        waited, began = self._waited_ns(), time.perf_counter_ns()
        call()
        wall = time.perf_counter_ns() - began
        return Sample(wall / 1e6, (self._waited_ns() - waited) / 1e6)

    def _waited_ns(self) -> int:
        """Nanoseconds that all threads were ready and did not run: the second number of schedstat."""
        total = 0
        for file in self._files:
            with contextlib.suppress(OSError, IndexError, ValueError):  # a thread that has ended
                total += int(os.pread(file, 64, 0).split()[1])
        return total

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


GAPS_S = (0.1, 1.0)
"""Pauses before a call: a keyboard's, and a conversation's."""

MOST_CALLS = 12
"""Calls after each pause."""


@dataclass(frozen=True)
class GapEffect:
    """Calls after a pause, against calls that follow each other."""

    gap_s: float
    median_ratio: float
    p95_ratio: float
    """Of so few calls, close to the slowest."""
    calls: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)


def gap_effects(
    timed_ms: Callable[[], float],
    usual_ms: float,
    *,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[GapEffect, ...]:
    """Calls after each of GAPS_S, shortest pause first, for about so many seconds in all; of `usual_ms` otherwise.

    `timed_ms` makes a call and gives its milliseconds.

    A pause that there is no time to take three times is left out.
    """
    effects = []
    for place, gap_s in enumerate(GAPS_S):
        count = min(MOST_CALLS, int(seconds / (len(GAPS_S) - place) / (gap_s + usual_ms / 1e3)))
        if count < 3:
            break
        ratios = []
        for _ in range(count):
            sleep(gap_s)
            ratios.append(timed_ms() / usual_ms)
        seconds -= count * (gap_s + usual_ms / 1e3)
        effects.append(GapEffect(gap_s, float(np.median(ratios)), float(np.percentile(ratios, 95)), count))
    return tuple(effects)
