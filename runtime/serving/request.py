"""One request: texts that were taken in with a deadline, and the Future of their answer.

`run` and `submit` make the same request; one that is queued has a Future.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import onnxruntime as ort

from gearshift.errors import EngineClosedError, InputError
from gearshift.runtime.batches import Work
from gearshift.runtime.inference.text import Encoded, TextEncoder

FATAL_ONLY = 4
"""Severity of onnxruntime's own log: fatal errors alone, since errors are raised as well."""

Backlog = Sequence[tuple[Work, float]]
"""Work and slack in ms of the requests that wait behind one, earliest deadline first."""


class AnswerFuture(Future[Any]):
    """Future whose `cancel` also ends a running call: between two operators, within a millisecond or so.

    As with any Future, `cancel` of a running call returns False. Its `result` then raises CancelledError, unless the
    answer was ready first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.run_options = ort.RunOptions()
        self.run_options.log_severity_level = FATAL_ONLY  # a call that was ended is no error of its own

    def cancel(self) -> bool:
        """Take the request back."""
        if super().cancel():
            return True
        self.run_options.terminate = True
        return False


@dataclass(slots=True, eq=False)
class Request:
    """Texts and their deadline, from arrival to answer. Moments are in seconds on the engine's clock."""

    encoded: Encoded
    single: bool
    """Whether one text was given rather than a list."""
    arrival_s: float
    tokenized_s: float
    deadline_ms: float | None
    """Deadline in ms from the arrival on; None without one."""
    future: AnswerFuture | None
    """Future of a request that waits in the queue; None for one that is answered at once."""

    @classmethod
    def taken(
        cls,
        text: Any,
        deadline_ms: object,
        encoder: TextEncoder,
        clock: Callable[[], float],
        future: AnswerFuture | None = None,
    ) -> Request:
        """Make a request of a text, a pair, or a list of those; raise InputError for any other text or deadline."""
        arrival_s = clock()
        deadline = checked_deadline(deadline_ms)
        single = not isinstance(text, list)
        return cls(encoder.encode([text] if single else text), single, arrival_s, clock(), deadline, future)

    @property
    def awaited(self) -> AnswerFuture:
        """Future of a request that waits in the queue."""
        assert self.future is not None, "only a request with a Future waits in the queue"
        return self.future

    @property
    def due_s(self) -> float:
        """Moment of the deadline in seconds; infinity without one."""
        return math.inf if self.deadline_ms is None else self.arrival_s + self.deadline_ms / 1e3


def checked_deadline(deadline_ms: object) -> float | None:
    """Return a deadline in ms as a float or None; raise InputError for anything but a positive number or None."""
    if deadline_ms is None or (type(deadline_ms) is float and 0 < deadline_ms < math.inf):  # the usual cases, at once
        return deadline_ms
    # A bool is a number in Python, but no deadline. A NaN compares as false.
    if isinstance(deadline_ms, numbers.Real) and not isinstance(deadline_ms, bool):
        with contextlib.suppress(OverflowError):  # an integer too large for a float
            milliseconds = float(deadline_ms)
            if 0 < milliseconds < math.inf:
                return milliseconds
    raise InputError(f"deadline_ms: expected a positive number of milliseconds or None, got {deadline_ms!r}")


class InFlight:
    """Counter of the requests in flight, each for the time of a `with in_flight:`, until it is closed.

    Entering raises EngineClosedError after that, and in a fork: threads and locks do not survive one.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()  # entered for every request; by way of the condition it would take longer
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._closed = False

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that made it."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raise EngineClosedError in a fork."""
        if self.forked:
            raise EngineClosedError(
                f"this engine was loaded by process {self._process}, of which this one ({os.getpid()}) is a fork; "
                "threads and locks do not survive that: load an engine after the fork"
            )

    def __enter__(self) -> None:
        if os.getpid() != self._process:
            self.check_process()
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
        """Close, and wait until nothing is in flight; return True from the first call only."""
        with self._changed:
            first, self._closed = not self._closed, True
            self._changed.wait_for(lambda: self._inside == 0)
            return first
