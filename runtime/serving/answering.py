"""One request from its tokens to its answers: decide, run, read, learn, and leave a record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import DeadlineTooShortError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.answers import Answer, read_answer
from gearshift.runtime.inference.cascade import Cascade
from gearshift.runtime.inference.executors import executors
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import Encoded
from gearshift.runtime.policy.choose import REJECTED, Decision
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.sensors.slow_loop import SlowLoop
from gearshift.runtime.sensors.snapshot import Snapshot
from gearshift.runtime.serving.decision_log import DecisionLog
from gearshift.runtime.serving.metrics import Metrics
from gearshift.runtime.serving.record import RequestRecord, SteeringChange
from gearshift.runtime.serving.worker import AnswerFuture, Backlog, Pending

FINISH_MS = 0.2
"""Kept back from the slack for what follows the graph: softmax and the answer. All but tokenizing
and the graph took 0.15 ms (median; 0.3 ms at the 95th percentile) on a busy two-core x86 machine."""


class Answering:
    """Answers encoded texts with the subnet that the controller picks.

    Safe for several threads: they share the controller, one after another, and the session, at once.
    `slow_loop` is set once there is one; `pinned` names a subnet that goes before every decision.
    """

    def __init__(
        self,
        bundle: Bundle,
        session: ElasticSession,
        controller: Controller,
        metrics: Metrics,
        log: DecisionLog | None,
        clock: Callable[[], float],
        cascade: Cascade | None = None,
    ) -> None:
        self._bundle, self._session, self._controller = bundle, session, controller
        self._metrics, self._log, self._clock, self._cascade = metrics, log, clock, cascade
        self._executors = executors(bundle, session)
        self._lock = threading.Lock()
        self.pinned: str | None = None
        self.slow_loop: SlowLoop | None = None

    def answers(
        self,
        encoded: Encoded,
        deadline: float | None,
        began: float,
        tokenized: float,
        backlog: Backlog = (),
        future: AnswerFuture | None = None,
    ) -> list[Answer]:
        """An answer for each text; `began` and `tokenized` on the clock, `future` of a request that was queued.

        Raises BundleError where the graph fails, DeadlineTooShortError where nothing fits and that is refused.
        """
        turn = tokenized if future is None else self._clock()
        sure = None if self._cascade is None or self.pinned is not None else self._cascade.outputs(encoded)
        started = turn if self._cascade is None else self._clock()
        slack = None if deadline is None else deadline - (started - began) * 1e3 - FINISH_MS
        caps, signals = self._sensed()
        decision, level = self._decide(
            encoded, slack, started, backlog, None if future is None else deadline, caps, sure is not None
        )
        record = RequestRecord(
            arrival_s=began,
            tokens=encoded.tokens,
            deadline_ms=deadline,
            slack_ms=slack,
            waited_ms=(started - tokenized) * 1e3,
            queued=future is not None,
            backlog=tuple(backlog),
            tokenizing_ms=(tokenized - began) * 1e3,
            subnet=decision.name,
            reason=decision.reason,
            expected_ms=decision.expected_ms,
            predicted_ms=decision.predicted_ms,
            factor=decision.predicted_ms / decision.expected_ms,
            level=level,
            caps=caps,
            signals=signals,
        )
        try:
            if decision.reason == REJECTED:
                raise DeadlineTooShortError(
                    f"refused: {slack:.1f} ms are left of its deadline, and the fastest subnet may take "
                    f"{decision.predicted_ms:.1f} ms now; give it more time, or load with on_miss='best_effort'"
                )
            options = None if future is None else future.run_options
            outputs = self._executors[decision.name](encoded, options) if sure is None else sure
            record.run_ms = (self._clock() - (started if sure is None else turn)) * 1e3
            finished = [self._read(output, encoded, row) for row, output in enumerate(outputs)]
        except Exception as error:
            record.error = REJECTED if decision.reason == REJECTED else type(error).__name__
            self._note(record)
            raise
        record.latency_ms = latency_ms = (self._clock() - began) * 1e3
        record.met = met = None if deadline is None else latency_ms <= deadline
        self._learn(decision, record)
        self._note(record)
        return [
            finish(
                subnet=decision.name,
                reason=decision.reason,
                latency_ms=latency_ms,
                predicted_ms=decision.predicted_ms,
                deadline_ms=deadline,
                deadline_met=met,
                tokens=tokens,
                truncated=truncated,
            )
            for finish, tokens, truncated in zip(finished, encoded.tokens, encoded.truncated, strict=True)
        ]

    def shed(self, pending: Pending) -> None:
        """Take in a request that was dropped, since its deadline went by before its turn."""
        now = self._clock()
        if pending.deadline_ms is not None:
            with self._lock:
                self._controller.shed(
                    work=pending.encoded.work, arrival_s=pending.arrival_s, deadline_ms=pending.deadline_ms
                )
        self._note(
            RequestRecord(
                arrival_s=pending.arrival_s,
                tokens=pending.encoded.tokens,
                deadline_ms=pending.deadline_ms,
                waited_ms=(now - pending.tokenized_s) * 1e3,
                queued=True,
                tokenizing_ms=(pending.tokenized_s - pending.arrival_s) * 1e3,
                learnt_s=now,
                error="shed",
            )
        )

    def sense(self, snapshot: Snapshot) -> None:
        """Take in the signals of the slow loop."""
        with self._lock:
            self._controller.sense(snapshot, self._clock())

    def steer(self, changes: Mapping[str, Any]) -> None:
        """Steer by something else from the next decision on: fields of Steering, the others stay."""
        with self._lock:
            steering = replace(self._controller.steering, **changes)
            self._controller.steer(steering)
            if self._log is not None:
                self._log.write(SteeringChange(time=time.time(), steering=steering))

    @property
    def slow_down(self) -> float:
        """Of single texts, as it is believed to be."""
        with self._lock:
            return self._controller.slow_down

    def _note(self, record: RequestRecord) -> None:
        """Count a request that has ended, and log it."""
        record.time = time.time()
        self._metrics.note(record)
        if self._log is not None:
            self._log.write(record)

    def _read(self, output: NDArray[np.float32], encoded: Encoded, row: int) -> Callable[..., Answer]:
        """The answer for one text, but for the facts of its run."""
        if self._session.task.per_token:
            output = output[: encoded.tokens[row]]
        return read_answer(
            self._session.task.name, output, encoded.encodings[row], encoded.parts[row], self._bundle.manifest.labels
        )

    def _decide(
        self,
        encoded: Encoded,
        slack_ms: float | None,
        now: float,
        backlog: Backlog,
        deadline_ms: float | None,
        caps: Caps,
        sure: bool,
    ) -> tuple[Decision, int]:
        """The decision, and the first rung of the ladder that was left to it."""
        work, pinned = encoded.work, self.pinned
        with self._lock:
            if sure and self._cascade is not None:
                return self._controller.confident(self._cascade.name, work, now), self._controller.level
            decision = self._controller.decide(
                work=work,
                slack_ms=slack_ms,
                now=now,
                caps=caps,
                pinned=pinned,
                backlog=backlog,
                deadline_ms=deadline_ms,
            )
            return decision, self._controller.level

    def _sensed(self) -> tuple[Caps, Mapping[str, float]]:
        """Caps and signals of the slow loop's last look."""
        if self.slow_loop is None:
            return NO_CAPS, {}
        self.slow_loop.touch()
        return self.slow_loop.caps, self.slow_loop.signals

    def _learn(self, decision: Decision, record: RequestRecord) -> None:
        """Take in how a request went."""
        assert record.run_ms is not None
        with self._lock:
            record.learnt_s = now = self._clock()
            single = len(record.tokens) == 1
            self._controller.record(decision, run_ms=record.run_ms, met=record.met, now=now, single=single)
            record.slow_down = self._controller.slow_down
