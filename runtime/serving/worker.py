"""The worker: a thread that answers queued requests one after another.

One thread suffices, since the graph already uses as many cores as the engine was given: two calls at once would each
take longer than predicted. The thread starts with the first request and sleeps while none waits.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from gearshift.errors import DeadlinePassedError, EngineClosedError
from gearshift.runtime.serving.queue import DeadlineQueue
from gearshift.runtime.serving.request import AnswerFuture, Backlog, InFlight, Request

MOST_URGENT = 8
"""Number of waiting requests, the most urgent first, that a decision considers, so that they can be in time too."""


class Worker:
    """Queue and thread for requests with a Future, until it is closed or the program ends.

    `answer`: answers a request, given its backlog. `shed`: records a request whose deadline passed in the queue.
    """

    def __init__(
        self,
        answer: Callable[[Request, Backlog], Any],
        shed: Callable[[Request], None],
        in_flight: InFlight,
        clock: Callable[[], float],
        limit: int,
    ) -> None:
        self._answer, self._shed, self._in_flight, self._clock = answer, shed, in_flight, clock
        self._queue: DeadlineQueue[Request] = DeadlineQueue(limit)
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, request: Request) -> AnswerFuture:
        """Queue a request; raise QueueFullError or EngineClosedError."""
        with self._changed:
            if self._closed:
                raise EngineClosedError("this engine is closed; load another one")
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="gearshift-worker", daemon=True)
                thread.start()  # first: if the system has no thread left, nothing may wait for one
                self._thread = thread
                atexit.register(self._end, os.getpid())
            self._queue.push(request, request.due_s)
            self._changed.notify()
        request.awaited.add_done_callback(lambda future: self._forget(request) if future.cancelled() else None)
        return request.awaited

    def close(self) -> None:
        """Finish the running request; the waiting ones get EngineClosedError. A second call does nothing."""
        with self._changed:
            self._closed = True
            left = self._queue.drain()
            self._changed.notify()
        for waiting in left:
            future = waiting.item.awaited
            if future.set_running_or_notify_cancel():
                future.set_exception(EngineClosedError("the engine was closed before this request's turn"))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        atexit.unregister(self._end)

    def _end(self, process: int) -> None:
        """Close at the end of the program, which a thread still in onnxruntime would abort; do nothing in a fork."""
        if os.getpid() == process:
            self.close()

    def __len__(self) -> int:
        with self._changed:
            return len(self._queue)

    def _forget(self, request: Request) -> None:
        """Remove a cancelled request from the queue at once, to make room."""
        with self._changed:
            waited = self._queue.remove(request)
        if waited:  # nothing else notifies `concurrent.futures.wait` and `as_completed`
            request.awaited.set_running_or_notify_cancel()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._queue) > 0)
                if not len(self._queue):
                    return
                request = self._queue.pop().item
                now = self._clock()
                behind = [waiting.item for waiting in self._queue.most_urgent(MOST_URGENT)]
            backlog = [(one.encoded.work, (one.due_s - now) * 1e3) for one in behind if one.due_s < math.inf]
            self._finish(request, now, backlog)

    def _finish(self, request: Request, now: float, backlog: Backlog) -> None:
        """Answer the request whose turn it is, or set its exception; no failure here ends the thread."""
        future = request.awaited
        if not future.set_running_or_notify_cancel():
            return
        try:
            if now >= request.due_s:
                self._shed(request)
                late_ms = (now - request.due_s) * 1e3
                raise DeadlinePassedError(
                    f"dropped: its deadline of {request.deadline_ms:g} ms went by {late_ms:.1f} ms before its turn; "
                    "send fewer requests, or give them more time"
                )
            with self._in_flight:
                answer = self._answer(request, backlog)
        except BaseException as error:
            cancelled = future.run_options.terminate and not isinstance(error, DeadlinePassedError)
            # An exception refers to the frames it passed through, and these to the future: break the cycle.
            future.set_exception(CancelledError() if cancelled else error.with_traceback(None))
        else:
            with contextlib.suppress(CancelledError):
                future.set_result(answer)
