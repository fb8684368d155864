"""One request: texts that were taken in with a deadline, and the Future of their answer.

`run` and `submit` make the same request; one that is queued has a Future.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

from gearshift.errors import EngineClosedError, InputError
from gearshift.number_checks import shown
from gearshift.runtime.batches import Work
from gearshift.runtime.inference.onnxruntime_calls import call_options
from gearshift.runtime.inference.text import Encoded, Text, TextEncoder
from gearshift.runtime.native_calls import NATIVE_CALLS
from gearshift.runtime.reading.ranking import RankReading
from gearshift.runtime.reading.reading import Reading
from gearshift.runtime.reading.zero_shot import ZeroShotReading

Backlog = Sequence[tuple[Work, float]]
"""Work and slack in ms of the requests that wait behind one, earliest deadline first."""


class _OneStepCondition(threading.Condition):
    """Condition that `with` takes and frees in one step of the interpreter each.

    That of `threading` does so in Python, where an exception of a signal handler may come between: a Ctrl-C at the
    wrong moment of `result` would leave the lock to a thread that does not know of it, and the worker would wait for it
    for ever.
    """

    __slots__ = ("__enter__", "__exit__")  # found on the class as descriptors, which give what the instance holds

    def __init__(self) -> None:
        lock = threading.RLock()
        super().__init__(lock)
        self.__enter__ = lock.__enter__  # type: ignore[method-assign]
        self.__exit__ = lock.__exit__  # type: ignore[method-assign]


class AnswerFuture(Future[Any]):
    """Future whose `cancel` also ends a running call: between two operators, within a millisecond or so.

    As with any Future, `cancel` of a running call returns False. Its `result` then raises CancelledError, unless the
    answer was ready first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._condition = _OneStepCondition()
        self.run_options = call_options()
        self.withdraw: Callable[[], object] | None = None
        """Function that takes a cancelled request out of the queue; None for one that does not wait in it."""
        self.ended_by: BaseException | None = None
        """Exception in place of an answer, for a call that was ended; None for one that was not."""

    def cancel(self) -> bool:
        """Take the request back."""
        if not super().cancel():
            self.end(CancelledError())
            return False
        withdraw = self.withdraw
        if withdraw is not None:
            withdraw()
        return True

    def end(self, reason: BaseException) -> None:
        """End the running call, so that `result` raises `reason`."""
        self.ended_by = reason
        self.run_options.terminate = True

    def begin(self) -> bool:
        """Note that its turn has come; return False if it was cancelled."""
        self.withdraw = None
        return self.set_running_or_notify_cancel()

    def refuse(self, error: BaseException) -> None:
        """Set an exception before its turn; a second call goes on where the first was interrupted."""
        self.withdraw = None
        if not self.done() and (self.running() or self.set_running_or_notify_cancel()):
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        """Return the answer, as any Future does; a daemon thread of a program that is ending waits on."""
        with NATIVE_CALLS.staying(EngineClosedError):
            return super().result(timeout)


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
    reading: Reading | None = None
    """Reading of the outputs; None for one answer of the bundle's task for each text."""

    @classmethod
    def read_by(
        cls,
        reading: RankReading | ZeroShotReading,
        deadline_ms: object,
        encoder: TextEncoder,
        clock: Callable[[], float],
        *,
        single: bool = True,
    ) -> Request:
        """Make a request of a reading and its rows; raise InputError as `taken` does.

        `single`: whether one answer is expected rather than a list.
        """
        arrival_s = clock()
        deadline = checked_deadline(deadline_ms)
        return cls(encoder.encode(reading.rows, reading.prompts), single, arrival_s, clock(), deadline, None, reading)

    @classmethod
    def taken(
        cls,
        text: Any,
        deadline_ms: object,
        rows: Callable[[Sequence[Text]], tuple[Encoded, Reading | None]],
        clock: Callable[[], float],
        future: AnswerFuture | None = None,
    ) -> Request:
        """Make a request of a text, a pair, or a list of those; raise InputError for any other text or deadline.

        `rows`: function that gives the rows of texts, and their reading.
        """
        arrival_s = clock()
        deadline = checked_deadline(deadline_ms)
        single = not isinstance(text, list)
        texts = [text] if single else text
        encoded, reading = rows(texts)
        return cls(encoded, single, arrival_s, clock(), deadline, future, reading)

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
    raise InputError(f"deadline_ms: expected a positive number of milliseconds or None, got {shown(deadline_ms)}")
