"""Requests in flight: who is inside an engine, whether it is open, and waiting until all are out."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from gearshift.errors import EngineClosedError
from gearshift.runtime.background import wait_until

Result = TypeVar("Result")

Place = threading.Lock
"""Place of one request: a lock that is held from its start to its end, whatever ends it."""


class _Reference(weakref.ref[Any]):
    """Reference to a place, and the thread that has it."""

    __slots__ = ("thread",)
    thread: int


class InFlight:
    """Requests in flight, each for the time of a `call`, until it is closed.

    Nothing is counted up and down: a request is in flight while its place is locked. `with` takes and frees a lock in
    one step of the interpreter each, so that no exception, not even one of a signal handler, leaves a place locked or
    comes before it is.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._places: set[_Reference] = set()
        self._closed = False

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return `function(place, *arguments)`; raise EngineClosedError when closed, and in a fork."""
        if os.getpid() != self._process:
            self.check_process()
        place = Place()
        reference = _Reference(place, self._places.discard)  # a place that is gone is not in flight
        reference.thread = threading.get_ident()
        self._places.add(reference)
        with place:
            if self._closed:  # asked within: whoever closes waits for those who found it open
                raise EngineClosedError("this engine is closed; load another one")
            return function(place, *arguments)

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that made it."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raise EngineClosedError in a fork: threads and locks do not survive one."""
        if self.forked:
            raise EngineClosedError(
                f"this engine was loaded by process {self._process}, of which this one ({os.getpid()}) is a fork; "
                "threads and locks do not survive that: load an engine after the fork"
            )

    def __len__(self) -> int:
        return len(self._inside())

    def close(self, timeout: float | None = None) -> bool:
        """Close, and wait until nothing is in flight, for at most `timeout` seconds; return whether that came.

        Calls of this very thread, within which a signal handler closes, are not waited for.
        """
        self._closed = True
        own = threading.get_ident()
        return wait_until(lambda: all(one.thread == own for one in self._inside()), timeout)

    def _inside(self) -> list[_Reference]:
        found = []
        for reference in self._places.copy():
            place = reference()
            if place is not None and place.locked():
                found.append(reference)
        return found
