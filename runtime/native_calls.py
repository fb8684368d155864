"""Calls of onnxruntime that are in progress anywhere in the program, whose end waits for them.

When the interpreter ends, it kills a daemon thread that asks for the interpreter lock. One that comes out of C++ code
is killed within it, and that aborts the whole program. So each thread holds a lock of its own during such calls, which
the end of the program takes away for good: threads then stay where they are, as all daemon threads do in the end.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")

LIMIT_S = 10.0
"""Seconds that the end of the program waits for calls. A call that takes longer than that, such as loading a large
graph, is unlikely to return within the moment in which the interpreter ends."""


class NativeCalls:
    """Locks of the threads that call native code, and what is to be ended at the end of the program.

        NATIVE_CALLS.call(session.run, ...)

    In a fork it starts anew, since the other threads are not there.
    """

    def __init__(self) -> None:
        self._mine = threading.local()
        self._locks: set[weakref.ref[Any]] = set()
        self._to_end: set[weakref.ref[Any]] = set()
        self._ending_thread: int | None = None

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return `function(*arguments)`, which the end of the program waits for, or stay here if it has begun."""
        try:
            with self.lock():
                return function(*arguments)
        except BaseException:
            self.stay_if_ending()
            raise

    @contextlib.contextmanager
    def staying(self, kind: type[BaseException]) -> Iterator[None]:
        """Let no exception of this kind out into a daemon thread of a program that is ending, which would print it."""
        try:
            yield
        except kind:
            self.stay_if_ending()
            raise

    def lock(self) -> Any:
        """Return this thread's lock, which may be taken again by a signal handler that runs during the call."""
        try:
            return self._mine.lock
        except AttributeError:
            lock = threading.RLock()
            self._locks.add(weakref.ref(lock, self._locks.discard))
            self._mine.lock = lock
            self.stay_if_ending()  # after the lock is known, so that none slips through
            return lock

    def end_with_program(self, end: Callable[[], object]) -> None:
        """Call a bound method at the end of the program, if its object is still there."""
        reference = weakref.WeakMethod(end, self._to_end.discard)
        self._to_end.add(reference)

    @property
    def ending(self) -> bool:
        """Whether the program is ending."""
        return self._ending_thread is not None

    def stay_if_ending(self) -> None:
        """Keep the calling thread here for good if the program is ending and another thread ends it."""
        if self._ending_thread not in (None, threading.get_ident()):
            never = threading.Lock()
            never.acquire()
            never.acquire()

    def end(self) -> None:
        """End calls and wait for them, at the end of the program, when only daemon threads are left."""
        self._ending_thread = threading.get_ident()
        for reference in self._to_end.copy():
            end = reference()
            if end is not None:
                end()
        end_s = time.monotonic() + LIMIT_S
        for one in self._locks.copy():
            lock = one()
            if lock is not None:
                lock.acquire(timeout=max(0.0, end_s - time.monotonic()))

    def forget(self) -> None:
        """Forget all threads: those of the parent process are not in its fork."""
        self._locks.clear()
        self._to_end.clear()


NATIVE_CALLS = NativeCalls()
"""The one instance, since the interpreter ends once for all engines."""

atexit.register(NATIVE_CALLS.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=NATIVE_CALLS.forget)
