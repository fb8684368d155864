"""Threads of the engine, and the flags that wake them.

An exception of a signal handler may come out of any call that is written in Python, and leave its lock locked: that
is so with `threading.Thread.start`, and with `set` and `wait` of `threading.Event`. A finalizer may run within any of
them, and wait for itself. What is here consists of calls that are each one step of the interpreter.
"""

from __future__ import annotations

import _thread
import queue
import threading
import time
from collections.abc import Callable

SHORTEST_LOOK_S, LONGEST_LOOK_S = 0.0005, 0.02
"""Seconds between two looks of `wait_until`: each pause is twice the one before it."""


def wait_until(ready: Callable[[], bool], timeout: float | None) -> bool:
    """Look until `ready()` is true, for at most `timeout` seconds (None: without limit); return whether it became so.

    It holds no lock, so that an exception of a signal handler leaves nothing behind.
    """
    end_s = None if timeout is None else time.monotonic() + timeout
    pause_s = SHORTEST_LOOK_S
    while not ready():
        left_s = pause_s if end_s is None else min(pause_s, end_s - time.monotonic())
        if left_s <= 0:
            return False
        time.sleep(left_s)
        pause_s = min(2 * pause_s, LONGEST_LOOK_S)
    return True


class Flag:
    """Flag that a thread waits for, like `threading.Event`; signal handlers and finalizers may set it at any moment."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Set the flag, and wake the thread that waits for it."""
        self._calls.put(None)

    def is_set(self) -> bool:
        """Return whether it is set."""
        return not self._calls.empty()

    def clear(self) -> None:
        """Take the flag back. For the waiting thread alone."""
        while not self._calls.empty():
            self._calls.get()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for at most `timeout` seconds; return whether it is. For one thread alone."""
        try:
            self._calls.get(timeout=timeout)
        except queue.Empty:
            return False
        self._calls.put(None)
        return True


class Background:
    """Daemon thread that runs one function once. Whatever comes out of `start`, it runs at most once."""

    def __init__(self) -> None:
        self._first = threading.Lock()
        self._started = self._ended = False
        self._ident: int | None = None

    def start(self, target: Callable[[], object]) -> None:
        """Start the thread if that was not done yet; raise RuntimeError if the system has none left."""
        if not self._started:
            _thread.start_new_thread(self._run, (target,))
            self._started = True

    @property
    def alive(self) -> bool:
        """Whether the thread was started and has not ended."""
        return (self._started or self._ident is not None) and not self._ended

    @property
    def is_current(self) -> bool:
        """Whether this is the thread that asks."""
        return self._ident == threading.get_ident() and not self._ended

    def join(self, timeout: float | None = None) -> bool:
        """Wait for its end, for at most `timeout` seconds; return whether it ended, or is the thread that asks."""
        return self.is_current or wait_until(lambda: not self.alive, timeout)

    def _run(self, target: Callable[[], object]) -> None:
        if not self._first.acquire(blocking=False):  # `start` was interrupted, and came again
            return
        self._ident = threading.get_ident()
        try:
            target()
        finally:
            self._ended = True
