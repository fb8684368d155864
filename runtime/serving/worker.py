"""The worker: a thread that answers queued requests one after another.

One thread suffices, since the graph already uses as many cores as the engine was given: two calls at once would each
take longer than predicted. The thread starts with the first request and sleeps while none waits.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import onnxruntime as ort

from gearshift.errors import DeadlinePassedError, EngineClosedError
from gearshift.runtime.background import Background, Flag, wait_until
from gearshift.runtime.batches import Work
from gearshift.runtime.inference.onnxruntime_calls import call_options
from gearshift.runtime.inference.session import CLOSED
from gearshift.runtime.native_calls import NATIVE_CALLS
from gearshift.runtime.policy.choose import Decision
from gearshift.runtime.policy.together import MOST_TOGETHER
from gearshift.runtime.serving.in_flight import InFlight, Place
from gearshift.runtime.serving.queue import DeadlineQueue, Waiting
from gearshift.runtime.serving.request import AnswerFuture, Backlog, Request
from gearshift.runtime.serving.turns import Share, Waits

MOST_URGENT = 4
"""Number of waiting requests, the most urgent first, that a decision considers, so that they can be in time too."""

END_S = 5.0
"""Seconds that the running request may take at the end of the program before it is ended."""

logger = logging.getLogger(__name__)


Finished = tuple[AnswerFuture, Any, BaseException | None]
"""Future of a request with its answer, or with what came in place of one."""


class Answers(Protocol):
    """Way of a request from its turn to its answer, as `Answering` has it."""

    def answer(self, place: Place, request: Request, backlog: Backlog) -> Any: ...

    @property
    def joins(self) -> bool: ...

    def together(self, requests: Sequence[Request], more: int, now: float) -> tuple[Decision, int] | None: ...

    def answer_together(
        self,
        place: Place,
        requests: Sequence[Request],
        decided: int,
        decision: Decision,
        options: ort.RunOptions,
        backlog: Backlog,
    ) -> list[Any]: ...

    def shed(self, request: Request) -> None: ...

    def hopeless(self, request: Request, now: float) -> bool: ...

    def times_now(self, work: Work) -> Sequence[float]: ...


class Worker:
    """Queue and thread for requests with a Future, until it is closed or the program ends.

    `answering`: answers a request, several in one call, or records one whose deadline passed in the queue.
    `at_end`: called by the thread when it ends. `share`: its part in a fleet.
    """

    def __init__(
        self,
        answering: Answers,
        in_flight: InFlight,
        clock: Callable[[], float],
        limit: int,
        at_end: Callable[[], object] | None = None,
        share: Share | None = None,
    ) -> None:
        self._answering, self._in_flight, self._clock = answering, in_flight, clock
        self._at_end, self._share = at_end, share
        if share is not None:
            share.waiting = self.waiting
        self._queue: DeadlineQueue[Request] = DeadlineQueue(limit)
        self._lock = threading.RLock()  # a signal handler may submit while its thread submits
        self._wake = Flag()
        self._closed = self._last = False
        self._running: tuple[AnswerFuture, ...] = ()
        self._call: ort.RunOptions | None = None
        self._thread = Background()

    def submit(self, request: Request) -> AnswerFuture:
        """Queue a request; raise QueueFullError or EngineClosedError. If anything else comes out, it does not wait."""
        future, one = request.awaited, Waiting(request, request.due_s)
        future.withdraw = functools.partial(self._withdraw, one)
        try:
            with self._lock:
                if self._closed:
                    raise EngineClosedError("this engine is closed; load another one")
                self._thread.start(self._serve)  # first: if the system has no thread left, nothing may wait for one
                self._wake.set()  # before it waits, so that it never waits without a flag; the lock keeps the thread
                self._queue.push(one)
            return future
        except BaseException as error:
            self._queue.remove(one)
            if isinstance(error, EngineClosedError):
                NATIVE_CALLS.stay_if_ending()  # with the lock free
            raise

    def close(self, timeout: float | None = None) -> bool:
        """Finish the running request; the waiting ones get EngineClosedError. Return whether the thread ended in time.

        A second call goes on where the first was interrupted.
        """
        with self._lock:
            self._closed = True
        for one in self._queue.everyone():
            one.item.awaited.refuse(EngineClosedError("the engine was closed before this request's turn"))
            self._queue.remove(one)
        self._wake.set()
        return self._thread.is_current or wait_until(self._is_over, timeout)

    def end_call(self) -> None:
        """End the running call; its Future gets EngineClosedError."""
        call = self._call
        for running in self._running:
            running.end(EngineClosedError(CLOSED))
        if call is not None:
            call.terminate = True

    def finish(self) -> bool:
        """Tell the thread to end after the waiting requests, without waiting for it; return whether there is one.

        For finalizers, which may run at any moment: it takes no lock.
        """
        self._last = True
        self._wake.set()
        return self._thread.alive

    def end(self) -> None:
        """Close at the end of the program."""
        limit_s = 0.0 if self._closed else END_S  # whoever closed it has waited already
        if not self.close(limit_s):
            self.end_call()

    @property
    def calls_back(self) -> bool:
        """Whether a callback of a Future runs, which the worker cannot end."""
        return any(running.done() for running in self._running)

    def __len__(self) -> int:
        return len(self._queue)

    def _is_over(self) -> bool:
        """Return whether the thread has ended, or stays in a callback for good, which asked at the program's end."""
        return not self._thread.alive or NATIVE_CALLS.stays(self._thread.ident)

    def _withdraw(self, one: Waiting[Request]) -> None:
        """Remove a cancelled request from the queue at once, to make room."""
        with self._lock:
            waited = self._queue.remove(one)
        if waited:  # nothing else notifies `concurrent.futures.wait` and `as_completed`
            one.item.awaited.set_running_or_notify_cancel()

    def _serve(self) -> None:
        NATIVE_CALLS.end_with_program(self.end)
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            while self._serve_next():
                pass
            if self._last:
                break
        if self._at_end is not None:
            self._at_end()

    def _serve_next(self) -> bool:
        """Finish the request whose turn it is, and those that run with it; return whether there was one."""
        if self._share is None or not len(self._queue):
            finished = self._answer_next()
        else:
            finished = self._share.take_next(lambda: self._queue.earliest_s, self._answer_next)
        for future, answer, error in finished or ():
            try:
                _set(future, answer, error)
            except BaseException:  # of a callback of the Future, with what `concurrent.futures` lets through
                logger.exception("a callback of a request's Future raised")
        self._running = ()
        return finished is not None

    def _answer_next(self) -> list[Finished] | None:
        """Answer the request whose turn it is, and those that run with it; None if none waits."""
        with self._lock:
            if self._closed or not len(self._queue):
                return None
            request = self._queue.pop().item
            now = self._clock()
            joins = self._answering.joins
            waiting = self._queue.most_urgent(MOST_TOGETHER - 1 if joins else MOST_URGENT)
            passed = now >= request.due_s or self._gives_way(request, waiting, now)
            joined = self._join(request, waiting, now) if joins and not passed else None
            texts = 1 if joined is None else joined[1]
            for one in waiting[: texts - 1]:
                self._queue.remove(one)
        requests = (request, *(one.item for one in waiting[: texts - 1]))
        behind = [one.item for one in waiting[texts - 1 :][:MOST_URGENT]]
        backlog = [(one.encoded.work, (one.due_s - now) * 1e3) for one in behind if one.due_s < math.inf]
        self._running = tuple(one.awaited for one in requests)
        begun = [request for request in requests if request.awaited.begin()]
        if not begun:
            return []
        if joined is None:
            return [self._drop(request, now) if passed else self._answer(request, backlog)]
        return self._answer_together(begun, len(requests), joined[0], backlog)

    def waiting(self) -> list[Waits]:
        """Return the most urgent requests that wait, as the decisions of other engines see them."""
        with self._lock:
            urgent = [one.item for one in self._queue.most_urgent(MOST_URGENT) if one.due_s < math.inf]
        priority = 0 if self._share is None else self._share.priority
        return [Waits(self._answering.times_now(one.encoded.work), one.due_s, priority) for one in urgent]

    def _join(self, request: Request, waiting: Sequence[Waiting[Request]], now: float) -> tuple[Decision, int] | None:
        """Decide how many requests run together; whatever goes wrong there, they run one by one."""
        if not waiting:
            return None
        try:
            return self._answering.together(
                [request, *(one.item for one in waiting)], len(self._queue) - len(waiting), now
            )
        except Exception:
            logger.exception("requests that wait could not be joined")
            return None

    def _gives_way(self, request: Request, waiting: Sequence[Waiting[Request]], now: float) -> bool:
        """Return whether a request is too late for any subnet, while one behind it may still be in time.

        The earliest deadline first without this would, once it is behind, only answer what is just too late (Buttazzo
        and Stankovic 1993, RED: robust earliest deadline scheduling).
        """
        try:
            answering = self._answering
            return bool(waiting) and answering.hopeless(request, now) and not answering.hopeless(waiting[-1].item, now)
        except Exception:
            logger.exception("a request that waits could not be weighed")
            return False

    def _drop(self, request: Request, now: float) -> Finished:
        """Drop a request whose deadline has passed, or will whatever runs."""
        try:
            self._answering.shed(request)
            past_ms, deadline = (now - request.due_s) * 1e3, f"its deadline of {request.deadline_ms:g} ms"
            told = f"{deadline} went by {past_ms:.1f} ms before its turn"
            if past_ms < 0:
                told = f"{-past_ms:.1f} ms were left of {deadline} at its turn, too few for any subnet"
            raise DeadlinePassedError(f"dropped: {told}; send fewer requests, or give them more time")
        except BaseException as error:
            return request.awaited, None, error

    def _answer(self, request: Request, backlog: Backlog) -> Finished:
        """Answer the request whose turn it is."""
        try:
            return request.awaited, self._in_flight.call(self._answering.answer, request, backlog), None
        except BaseException as error:
            return request.awaited, None, error

    def _answer_together(
        self, requests: Sequence[Request], decided: int, decision: Decision, backlog: Backlog
    ) -> list[Finished]:
        """Answer requests in one call; `decided` as in `Answering.answer_together`."""
        self._call = call_options()
        arguments = (requests, decided, decision, self._call, backlog)
        try:
            answers = self._in_flight.call(self._answering.answer_together, *arguments)
            finished: list[Finished] = [
                (request.awaited, answer, request.awaited.ended_by)
                for request, answer in zip(requests, answers, strict=True)
            ]
        except BaseException as error:
            finished = [(request.awaited, None, error) for request in requests]
        self._call = None
        return finished


def _set(future: AnswerFuture, answer: Any, error: BaseException | None) -> None:
    """Set an answer, or what came in its place."""
    if error is None:
        future.set_result(answer)
    else:
        _set_exception(future, error)


def _set_exception(future: AnswerFuture, error: BaseException) -> None:
    """Set what came in place of an answer, or why the call was ended."""
    ended = None if isinstance(error, DeadlinePassedError) else future.ended_by
    # An exception refers to the frames it passed through, and these to the future: break the cycle.
    future.set_exception(error.with_traceback(None) if ended is None else ended)
