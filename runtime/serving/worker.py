"""Answers requests that wait in a queue, one after another, in a thread of its own.

One thread, since the graph already uses as many cores as the engine was given: two calls at once would each take
longer than predicted. The thread starts with the first request and sleeps while none waits.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

import onnxruntime as ort

from gearshift.errors import DeadlinePassedError, EngineClosedError
from gearshift.runtime.batches import Work
from gearshift.runtime.inference.text import Encoded
from gearshift.runtime.serving.queue import DeadlineQueue

FATAL_ONLY = 4
"""Severity for onnxruntime's own log: what goes wrong is raised as well."""


MOST_URGENT = 8
"""So many of those that wait are looked at when a subnet is picked, so that they can be answered in time too."""


class AnswerFuture(Future[Any]):
    """A Future whose `cancel` also ends a call that runs: between two operators, so within a millisecond or so.

    As of any Future, `cancel` of a running call gives False; its `result` then raises CancelledError, unless the
    answer was there first.
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


@dataclass(frozen=True, eq=False)
class Pending:
    """A request that was taken: what is needed to answer it, and where the answer goes."""

    encoded: Encoded
    single: bool
    """Whether one text was given rather than a list."""
    arrival_s: float
    tokenized_s: float
    deadline_ms: float | None
    future: AnswerFuture = field(default_factory=AnswerFuture)

    @property
    def due_s(self) -> float:
        """When its deadline is, on the engine's clock."""
        return math.inf if self.deadline_ms is None else self.arrival_s + self.deadline_ms / 1e3


Backlog = Sequence[tuple[Work, float]]
"""Work and slack in ms of those behind a request, earliest deadline first."""


class Worker:
    """Takes requests until it is closed, or the program ends.

    `answer` gives the answer of one, `shed` hears of those that came too late.
    """

    def __init__(
        self,
        answer: Callable[[Pending, Backlog], Any],
        shed: Callable[[Pending], None],
        clock: Callable[[], float],
        limit: int,
    ) -> None:
        self._answer, self._shed, self._clock = answer, shed, clock
        self._queue: DeadlineQueue[Pending] = DeadlineQueue(limit)
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, pending: Pending) -> AnswerFuture:
        """Let a request wait for its turn; raises QueueFullError or EngineClosedError."""
        with self._changed:
            if self._closed:
                raise EngineClosedError("this engine is closed; load another one")
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="gearshift-worker", daemon=True)
                thread.start()  # where the system has no thread to give, nothing waits for one
                self._thread = thread
                atexit.register(self._end, os.getpid())
            self._queue.push(pending, pending.due_s)
            self._changed.notify()
        pending.future.add_done_callback(lambda future: self._forget(pending) if future.cancelled() else None)
        return pending.future

    def close(self) -> None:
        """Finish the request that runs; those that wait get EngineClosedError. A second call does nothing."""
        with self._changed:
            self._closed = True
            left = self._queue.drain()
            self._changed.notify()
        for waiting in left:
            if waiting.item.future.set_running_or_notify_cancel():
                waiting.item.future.set_exception(EngineClosedError("the engine was closed before this request's turn"))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        atexit.unregister(self._end)

    def _end(self, process: int) -> None:
        """Close with the program, unless that is a fork: a thread that is still in onnxruntime then aborts it."""
        if os.getpid() == process:
            self.close()

    def __len__(self) -> int:
        with self._changed:
            return len(self._queue)

    def _forget(self, pending: Pending) -> None:
        """Make room at once where one that waits was cancelled."""
        with self._changed:
            waited = self._queue.remove(pending)
        if waited:  # nobody else will tell `concurrent.futures.wait` and `as_completed`
            pending.future.set_running_or_notify_cancel()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._queue) > 0)
                if not len(self._queue):
                    return
                pending = self._queue.pop().item
                now = self._clock()
                behind = [waiting.item for waiting in self._queue.most_urgent(MOST_URGENT)]
            backlog = [(one.encoded.work, (one.due_s - now) * 1e3) for one in behind if one.due_s < math.inf]
            self._finish(pending, now, backlog)

    def _finish(self, pending: Pending, now: float, backlog: Backlog) -> None:
        """Answer a request whose turn it is, or say why not; nothing that goes wrong here ends the thread."""
        future = pending.future
        if not future.set_running_or_notify_cancel():
            return
        try:
            if now >= pending.due_s:
                self._shed(pending)
                late_ms = (now - pending.due_s) * 1e3
                raise DeadlinePassedError(
                    f"dropped: its deadline of {pending.deadline_ms:g} ms went by {late_ms:.1f} ms before its turn; "
                    "send fewer requests, or give them more time"
                )
            answer = self._answer(pending, backlog)
        except BaseException as error:
            cancelled = future.run_options.terminate and not isinstance(error, DeadlinePassedError)
            # An exception refers to the frames it went through, and these to the future: broken here.
            future.set_exception(CancelledError() if cancelled else error.with_traceback(None))
        else:
            with contextlib.suppress(CancelledError):
                future.set_result(answer)
