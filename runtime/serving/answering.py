"""The way of a request from its tokens to its answer: decide, run, read, learn, and leave a record."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import DeadlineTooShortError
from gearshift.runtime.inference.answers import Answer, read_answer
from gearshift.runtime.inference.cascade import Cascade
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.text import Encoded
from gearshift.runtime.policy.choose import REJECTED, Decision
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import Wanted
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.sensors.slow_loop import SlowLoop
from gearshift.runtime.serving.decision_log import DecisionLog
from gearshift.runtime.serving.in_flight import Place
from gearshift.runtime.serving.metrics import Metrics
from gearshift.runtime.serving.record import CANCELLED, SHED, ObjectiveChange, RequestRecord
from gearshift.runtime.serving.request import Backlog, Request

FINISH_MS = 0.2
"""Time in ms reserved out of the slack for softmax and the answer, after the graph. Everything but tokenizing and the
graph took 0.15 ms (median; 0.3 ms at the 95th percentile) on a busy two-core x86 machine."""


ODD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Exceptions of a reading that is no number, or none that makes sense. Any other is a signal handler's."""

INTERRUPTED = "interrupted"
"""Outcome of a request that was left before its exception could be noted."""


class Answering:
    """Pipeline of a request: decide, run, read the answer, learn, log.

    Safe for several threads: they use the controller one after another, and the session concurrently.
    `slow_loop`: source of caps and signals. `cascade`: answers before the graph if its DAN is sure.
    """

    def __init__(
        self,
        opened: Opened,
        controller: Controller,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        log: DecisionLog | None = None,
        cascade: Cascade | None = None,
        slow_loop: SlowLoop | None = None,
    ) -> None:
        self._controller, self._metrics, self._log, self._clock = controller, metrics, log, clock
        self._executors, self._cascade, self._slow_loop = opened.executors, cascade, slow_loop
        self._task, self._labels = opened.session.task, opened.bundle.manifest.labels
        self._scheme = opened.bundle.manifest.scheme
        entries = opened.bundle.entries(opened.session.precision)
        self._null_thresholds = {name: entry.null_threshold for name, entry in entries.items()}
        self._lock = threading.RLock()  # a signal handler may make a request while its thread decides
        self._pinned: str | None = None

    def answer(self, place: Place, request: Request, backlog: Backlog = ()) -> Any:
        """Answer a request that has this place; return one answer, or a list of answers for a list of texts.

        It counts as failed from its start on, until its answer is ready: so that it counts whatever comes in between.
        Raises BundleError if the graph fails, DeadlineTooShortError if no subnet fits and the objective refuses that.
        """
        encoded = request.encoded
        record = RequestRecord(
            arrival_s=request.arrival_s,
            tokens=encoded.tokens,
            batched=encoded.batched,
            deadline_ms=request.deadline_ms,
            queued=request.future is not None,
            backlog=tuple(backlog),
            tokenizing_ms=(request.tokenized_s - request.arrival_s) * 1e3,
            error=INTERRUPTED,
        )
        self._metrics.begin(record, place)
        try:
            answers = self._answer(request, record, backlog)
            record.error = None
        except BaseException as error:
            if record.error is not None:
                record.error = _kind(error, request)
            raise
        finally:
            self._end(record)
        return answers[0] if request.single else answers

    def _answer(self, request: Request, record: RequestRecord, backlog: Backlog) -> list[Answer]:
        """Decide, run, read and learn; complete the record on the way."""
        future, encoded = request.future, request.encoded
        turn = request.tokenized_s if future is None else self._clock()
        sure = None if self._cascade is None or self._pinned is not None else self._cascade.outputs(encoded)
        started = turn if self._cascade is None else self._clock()
        decision = self._decide(request, record, started, backlog, sure=sure is not None)
        if decision.reason == REJECTED:
            raise _too_short(record)
        options = None if future is None else future.run_options
        outputs = self._executors[decision.name](encoded, options) if sure is None else sure
        record.run_ms = (self._clock() - (started if sure is None else turn)) * 1e3
        finished = [self._read(decision.name, output, encoded, row) for row, output in enumerate(outputs)]
        record.latency_ms = (self._clock() - request.arrival_s) * 1e3
        record.met = None if request.deadline_ms is None else record.latency_ms <= request.deadline_ms
        self._learn(decision, record)
        return _finish(finished, decision, record, encoded)

    def pin(self, name: str | None) -> None:
        """Answer every request with this subnet; None goes back to deciding."""
        self._pinned = name

    def shed(self, request: Request) -> None:
        """Record a request that was shed: its deadline passed before its turn."""
        now = self._clock()
        if request.deadline_ms is not None:
            with self._lock:
                self._controller.shed(
                    work=request.encoded.work, arrival_s=request.arrival_s, deadline_ms=request.deadline_ms
                )
        record = RequestRecord(
            arrival_s=request.arrival_s,
            tokens=request.encoded.tokens,
            batched=request.encoded.batched,
            deadline_ms=request.deadline_ms,
            waited_ms=(now - request.tokenized_s) * 1e3,
            queued=True,
            tokenizing_ms=(request.tokenized_s - request.arrival_s) * 1e3,
            learnt_s=now,
            error=SHED,
        )
        self._metrics.begin(record, None)
        self._end(record)

    def steer(self, changes: Wanted) -> None:
        """Decide by another objective from the next request on; fields that are not named keep their values."""
        with self._lock:
            objective = replace(self._controller.objective, **changes)
            self._controller.steer(objective)
            if self._log is not None:
                self._log.write(ObjectiveChange(time=time.time(), objective=objective))

    @property
    def caps(self) -> Caps:
        """Caps after the slow loop's last look."""
        return NO_CAPS if self._slow_loop is None else self._slow_loop.caps

    @property
    def slow_down(self) -> float:
        """Estimated slow-down of single texts: one number, read without the lock, which a fork may find locked."""
        return self._controller.slow_down

    def _end(self, record: RequestRecord) -> None:
        """Log a request that has ended; it is counted with others, later."""
        record.time = time.time()
        if self._log is not None:
            self._log.write(record)
        self._metrics.count()

    def _read(self, name: str, output: NDArray[np.float32], encoded: Encoded, row: int) -> Callable[..., Answer]:
        """Read the answer of a subnet for one text: a function that completes it by the facts of its run."""
        if self._task.per_token:
            output = output[: encoded.tokens[row]]
        return read_answer(
            self._task.name,
            output,
            encoded.encodings[row],
            encoded.parts[row],
            self._labels,
            null_threshold=self._null_thresholds[name],
            scheme=self._scheme,
            split=encoded.splits[row],
            starts=encoded.starts[row],
        )

    def _decide(
        self, request: Request, record: RequestRecord, started: float, backlog: Backlog, *, sure: bool
    ) -> Decision:
        """Decide for a request that starts now; note the decision in its record."""
        encoded, deadline_ms = request.encoded, request.deadline_ms
        slack = None if deadline_ms is None else deadline_ms - (started - request.arrival_s) * 1e3 - FINISH_MS
        loop, controller = self._slow_loop, self._controller
        if loop is not None:
            loop.touch()
            record.caps, record.signals = loop.caps, loop.signals
        with self._lock:
            self._sense(started)
            if sure and self._cascade is not None:
                decision = controller.confident(self._cascade.name, encoded.work, started, record.caps)
            else:
                decision = controller.decide(
                    work=encoded.work,
                    slack_ms=slack,
                    now=started,
                    caps=record.caps,
                    pinned=self._pinned,
                    backlog=backlog,
                    deadline_ms=deadline_ms if record.queued else None,
                )
        record.slack_ms, record.waited_ms = slack, (started - request.tokenized_s) * 1e3
        record.subnet, record.reason, record.level = decision.name, decision.reason, decision.level
        record.expected_ms, record.predicted_ms = decision.expected_ms, decision.predicted_ms
        record.factor = decision.predicted_ms / decision.expected_ms
        return decision

    def _sense(self, now: float) -> None:
        """Give the controller the snapshots that the slow loop has taken since, each as of when it was taken.

        Before a decision, and before a run is learnt from: a change during the run is no surprise then.
        """
        loop = self._slow_loop
        while loop is not None and loop.unread:
            snapshot = loop.unread.popleft()
            with contextlib.suppress(*ODD):  # no reading, however odd, fails a request
                self._controller.sense(snapshot, now - loop.age_s(snapshot))

    def _learn(self, decision: Decision, record: RequestRecord) -> None:
        """Give the controller the outcome of a request to learn from."""
        assert record.run_ms is not None
        with self._lock:
            record.learnt_s = now = self._clock()
            self._sense(now)
            single = len(record.tokens) == 1
            self._controller.record(decision, run_ms=record.run_ms, met=record.met, now=now, single=single)
            record.slow_down = self._controller.slow_down


def _kind(error: BaseException, request: Request) -> str:
    """Return the kind of a failure: of a call that was ended, why it was ended."""
    ended = None if request.future is None else request.future.ended_by
    if isinstance(ended, CancelledError):
        return CANCELLED
    if ended is None and isinstance(error, DeadlineTooShortError):
        return REJECTED
    return type(error if ended is None else ended).__name__


def _too_short(record: RequestRecord) -> DeadlineTooShortError:
    return DeadlineTooShortError(
        f"refused: {record.slack_ms:.1f} ms are left of its deadline, and the fastest subnet may take "
        f"{record.predicted_ms:.1f} ms now; give it more time, or load with on_miss='best_effort'"
    )


def _finish(
    finished: list[Callable[..., Answer]], decision: Decision, record: RequestRecord, encoded: Encoded
) -> list[Answer]:
    """Return the answers, completed by the facts of their run."""
    return [
        finish(
            subnet=decision.name,
            reason=decision.reason,
            latency_ms=record.latency_ms,
            predicted_ms=decision.predicted_ms,
            deadline_ms=record.deadline_ms,
            deadline_met=record.met,
            tokens=tokens,
            truncated=truncated,
        )
        for finish, tokens, truncated in zip(finished, encoded.tokens, encoded.truncated, strict=True)
    ]
