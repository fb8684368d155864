"""Lets requests in until it is closed, and closes when the last one is out."""

from __future__ import annotations

import threading

from gearshift.errors import EngineClosedError


class Gate:
    """Counts those inside, each for the time of a `with gate:`; raises EngineClosedError after it was closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._lock:
            if self._closed:
                raise EngineClosedError("this engine is closed; load another one")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._closed:
                self._changed.notify_all()

    def close(self) -> bool:
        """Wait until nothing is inside; whether this was the call that closed it."""
        with self._changed:
            first, self._closed = not self._closed, True
            self._changed.wait_for(lambda: self._inside == 0)
            return first
