"""Lets requests in until it is closed, and closes when the last one is out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from gearshift.runtime.errors import EngineClosedError


class Gate:
    """Counts the requests that are inside, and lets none in after it was closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Be inside for the time of a with-block; raises EngineClosedError."""
        with self._changed:
            if self._closed:
                raise EngineClosedError("this engine is closed; load another one")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> bool:
        """Wait until nothing is inside; whether this was the call that closed it."""
        with self._changed:
            first, self._closed = not self._closed, True
            self._changed.wait_for(lambda: self._inside == 0)
            return first
