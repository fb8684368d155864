"""Other work on the machine: processes that burn CPU, switched on and off."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Self

BURN = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000):
        pass
"""
"""Code of a busy loop that ends by itself if the program that started it was killed."""


@dataclass(frozen=True)
class Schedule:
    """A square wave of load: off for `off_s`, on for `on_s`, and so on."""

    off_s: float
    on_s: float

    def on_at(self, time_s: float) -> bool:
        """Return whether the load is on at that many seconds after the start."""
        return time_s % (self.off_s + self.on_s) >= self.off_s


class Burners:
    """Processes in a busy loop; stopped at first, and ended on leaving the with-block.

    `program`: Python code that runs until its parent is no longer the process with the given number, its first
    argument; `arguments` follow.
    """

    def __init__(self, count: int, program: str = BURN, *arguments: str) -> None:
        command, silent = [sys.executable, "-c", program, str(os.getpid()), *arguments], subprocess.DEVNULL
        # Silent, since Ctrl-C reaches these processes too.
        self._processes = [subprocess.Popen(command, stdout=silent, stderr=silent) for _ in range(count)]
        self._on = True
        self.switch(on=False)

    def switch(self, *, on: bool) -> None:
        """Let the processes run, or hold them."""
        if on == self._on:
            return
        self._on = on
        for process in self._processes:
            process.send_signal(signal.SIGCONT if on else signal.SIGSTOP)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process id of each burner."""
        return tuple(process.pid for process in self._processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
