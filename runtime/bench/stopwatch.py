"""Stopwatch for single calls: wall time, and the part of it that threads waited for a CPU."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

DISTURBED = 0.02
"""Share of a call's time spent waiting above which the call counts as disturbed by other processes."""


@dataclass(frozen=True)
class Sample:
    """Times of one call."""

    wall_ms: float
    waited_ms: float
    """Time spent waiting for a CPU; with several threads, the sum over all of them."""

    @property
    def disturbed(self) -> bool:
        """Whether the call waited for more than the share DISTURBED of its time."""
        return self.waited_ms > DISTURBED * self.wall_ms


class Stopwatch:
    """Stopwatch for calls of a session with `threads` threads, all of which exist already.

    With one thread, waiting is wall time less the CPU time of the calling thread, on every system. With more, it is the
    time that each thread of the process was ready but did not run, as the Linux scheduler counts it (schedstat). On
    systems without schedstat, waiting is 0 and `counts_waiting` is False.
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
        """Run a call once and return its times."""
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
        """Return the ns that all threads were ready and did not run: the second number of schedstat."""
        total = 0
        for file in self._files:
            with contextlib.suppress(OSError, IndexError, ValueError):  # a thread that has ended
                total += int(os.pread(file, 64, 0).split()[1])
        return total

    def close(self) -> None:
        """Close the schedstat files."""
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
