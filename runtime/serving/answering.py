"""The way of a request from its tokens to its answer: decide, run, read, learn, and leave a record."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

import onnxruntime as ort

from gearshift.errors import DeadlineTooShortError
from gearshift.runtime.batches import Work
from gearshift.runtime.inference.answers import RunFacts
from gearshift.runtime.inference.cascade import Cascade
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.session import Outputs
from gearshift.runtime.policy.choose import REJECTED, Decision
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import Wanted
from gearshift.runtime.reading.ranking import Ranked, RankReading
from gearshift.runtime.reading.reading import Read, own_reading
from gearshift.runtime.sensors.caps import NO_CAPS, Caps, strictest
from gearshift.runtime.sensors.slow_loop import SlowLoop
from gearshift.runtime.serving.decision_log import DecisionLog
from gearshift.runtime.serving.in_flight import Place
from gearshift.runtime.serving.metrics import Metrics
from gearshift.runtime.serving.record import CANCELLED, SHED, ObjectiveChange, RequestRecord, SecondPass
from gearshift.runtime.serving.request import Backlog, Request
from gearshift.runtime.serving.turns import Came, Share

FINISH_MS = 0.2
"""Time in ms reserved out of the slack for softmax and the answer, after the graph. Everything but tokenizing and the
graph took 0.15 ms (median; 0.3 ms at the 95th percentile) on a busy two-core x86 machine."""


ODD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Exceptions of a reading that is no number, or none that makes sense. Any other is a signal handler's."""

OPENING = "opening"
"""Reason of a cap: larger subnets are not open yet."""

INTERRUPTED = "interrupted"
"""Outcome of a request that was left before its exception could be noted."""


class Answering:
    """Pipeline of a request: decide, run, read the answer, learn, log.

    Safe for several threads: they use the controller one after another, and the session concurrently.
    `slow_loop`: source of caps and signals. `cascade`: answers before the graph if its DAN is sure. `share`: part in a
    fleet, whose other engines' requests a decision counts.
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
        share: Share | None = None,
    ) -> None:
        self._controller, self._metrics, self._log, self._clock = controller, metrics, log, clock
        self._executors, self._cascade, self._slow_loop = opened.executors, cascade, slow_loop
        self._opened, self._reading, self._share = opened, own_reading(opened), share
        self._pool = opened.bundle.pool(opened.session.precision)
        self._lock = threading.RLock()  # a signal handler may make a request while its thread decides
        self._pinned: str | None = None

    def answer_at_turn(self, place: Place, request: Request) -> Any:
        """Answer a request that waits in no queue, as `answer` does; in a fleet at its turn."""
        if self._share is None:
            return self.answer(place, request)
        ms = self.times_now(request.encoded.work)
        return self._share.take(ms, request.due_s, self.answer, place, request)

    def answer(self, place: Place, request: Request, backlog: Backlog = ()) -> Any:
        """Answer a request that has this place; return one answer, or a list of answers for a list of texts.

        It counts as failed from its start on, until its answer is ready: so that it counts whatever comes in between.
        Raises BundleError if the graph fails, DeadlineTooShortError if no subnet fits and the objective refuses that.
        """
        record = _begun(request, backlog)
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

    def hopeless(self, request: Request, now: float) -> bool:
        """Return whether a request that waits will be late even on the fastest subnet, and is worth nothing then."""
        if request.deadline_ms is None or self._pinned is not None:
            return False
        with self._lock:
            return self._controller.hopeless(request.encoded.work, (request.due_s - now) * 1e3 - FINISH_MS, now)

    @property
    def joins(self) -> bool:
        """Whether requests that wait may run in one call."""
        return self._cascade is None and self._pinned is None and self._controller.joins

    def together(self, requests: Sequence[Request], more: int, now: float) -> tuple[Decision, int] | None:
        """Decide how many requests that wait run in one call, the earliest deadline first; None if the first is alone.

        `more`: number of requests that wait behind these.
        Those are texts with deadlines, without options.
        """
        joining = list(itertools.takewhile(_joins, requests))
        if len(joining) < 2:
            return None
        slacks_ms = [(one.due_s - now) * 1e3 - FINISH_MS for one in joining]
        caps, others = self._look()[0], self._others(now)
        with self._lock:
            self._sense(now)
            found = self._controller.decide_together(
                [one.encoded.tokens[0] for one in joining],
                [one.deadline_ms or 0.0 for one in joining],
                slacks_ms,
                now=now,
                more=more + len(requests) - len(joining),
                caps=caps,
                others=others,
            )
        if found is not None:
            self._tell(joining[: found[1]])
        return found

    def answer_together(
        self,
        place: Place,
        requests: Sequence[Request],
        decided: int,
        decision: Decision,
        options: ort.RunOptions,
        backlog: Backlog,
    ) -> list[Any]:
        """Answer several requests by one call of the graph; return their answers.

        `decided`: number of texts that the decision is for; of a call of fewer, nothing is learnt. `options.terminate`
        ends the call, and all of them; one that is taken back meanwhile does not.
        """
        started = self._clock()
        records = [_begun(request, backlog) for request in requests]
        caps, signals = self._look()
        for record, request in zip(records, requests, strict=True):
            record.together, record.caps, record.signals = len(requests), caps, signals
            record.slack_ms = None if request.deadline_ms is None else (request.due_s - started) * 1e3 - FINISH_MS
            record.waited_ms = (started - request.tokenized_s) * 1e3
            _note_decision(record, decision)
            self._metrics.begin(record, place)
        try:
            encoded = self._opened.texts.joined([request.encoded for request in requests])
            outputs = self._executors[decision.name](encoded, options)
            run_ms = (self._clock() - started) * 1e3
            answers = list[Any]()
            for request, record, output in zip(requests, records, outputs, strict=True):
                record.run_ms = run_ms
                (found,) = self._reading.read(decision.name, [output], request.encoded)
                self._finish_times(request, record)
                answers.append(_finish(found, decision.predicted_ms, decision, record))
            if len(requests) == decided:
                self._learn(decision, records[0], run_ms=run_ms, met=records[0].met)
            for record in records:
                record.error, record.slow_down, record.learnt_s = None, records[0].slow_down, records[0].learnt_s
        except BaseException as error:
            for record, request in zip(records, requests, strict=True):
                record.error = _kind(error, request)
            raise
        finally:
            for record in records:
                self._end(record)
        return answers

    def _answer(self, request: Request, record: RequestRecord, backlog: Backlog) -> list[RunFacts]:
        """Decide, run, read and learn; complete the record on the way."""
        future, encoded, reading = request.future, request.encoded, request.reading
        turn = request.tokenized_s if future is None else self._clock()
        sure = None
        if self._cascade is not None and self._pinned is None and reading is None:
            sure = self._cascade.outputs(encoded)
        started = turn if self._cascade is None else self._clock()
        decision = self._decide(request, record, started, backlog, sure=sure is not None)
        if decision.reason == REJECTED:
            raise _too_short(record)
        options = None if future is None else future.run_options
        outputs = self._executors[decision.name](encoded, options) if sure is None else sure
        record.run_ms = (self._clock() - (started if sure is None else turn)) * 1e3
        if isinstance(reading, RankReading):
            return self._ranked(reading, request, record, decision, outputs)
        found = (self._reading if reading is None else reading).read(decision.name, outputs, encoded)
        self._finish_times(request, record)
        self._learn(decision, record, run_ms=record.run_ms, met=record.met)
        return [_finish(one, decision.predicted_ms, decision, record) for one in found]

    def _ranked(
        self, reading: RankReading, request: Request, record: RequestRecord, decision: Decision, outputs: Outputs
    ) -> list[RunFacts]:
        """Rank by the outputs of a first pass; read the best texts again if there is time, and learn from each pass."""
        assert record.run_ms is not None
        ranked = reading.first(decision.name, outputs, request.encoded)
        self._learn(decision, record, run_ms=record.run_ms, met=None)
        again = self._decide_again(reading, request, record, decision, ranked)
        closely, bound_ms, last = 0, decision.predicted_ms, decision
        if again is not None:
            last, closely = again
            started = self._clock()
            encoded = self._opened.texts.picked(request.encoded, reading.rows_of(ranked[:closely]))
            outputs = self._executors[last.name](encoded, None)
            run_ms = (self._clock() - started) * 1e3
            ranked = [*reading.again(last.name, outputs, ranked[:closely]), *ranked[closely:]]
            bound_ms += last.predicted_ms
            record.second = SecondPass(last.name, encoded.tokens, last.expected_ms, last.predicted_ms, run_ms)
        self._finish_times(request, record)
        if record.second is not None:
            self._learn(last, record, run_ms=record.second.run_ms, met=record.met)
        return [_finish(reading.ranking(request.encoded, ranked, closely), bound_ms, decision, record)]

    def _decide_again(
        self,
        reading: RankReading,
        request: Request,
        record: RequestRecord,
        decision: Decision,
        ranked: Sequence[Ranked],
    ) -> tuple[Decision, int] | None:
        """Decide on a second pass by the time that is left now."""
        if request.deadline_ms is None or record.run_ms is None:
            return None
        encoded, now = request.encoded, self._clock()
        slack_ms = request.deadline_ms - (now - request.arrival_s) * 1e3 - FINISH_MS
        with self._lock:
            return self._controller.decide_again(
                decision,
                lengths=[encoded.tokens[row] for row in reading.rows_of(ranked)[reading.beside :]],
                beside=encoded.tokens[: reading.beside],
                batch=encoded.batched,
                slack_ms=slack_ms,
                run_ms=record.run_ms,
                now=now,
            )

    def _finish_times(self, request: Request, record: RequestRecord) -> None:
        """Note when the answer was ready, and whether that was in time."""
        record.latency_ms = (self._clock() - request.arrival_s) * 1e3
        record.met = None if request.deadline_ms is None else record.latency_ms <= request.deadline_ms

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

    def _decide(
        self, request: Request, record: RequestRecord, started: float, backlog: Backlog, *, sure: bool
    ) -> Decision:
        """Decide for a request that starts now; note the decision in its record."""
        encoded, deadline_ms = request.encoded, request.deadline_ms
        slack = None if deadline_ms is None else deadline_ms - (started - request.arrival_s) * 1e3 - FINISH_MS
        controller = self._controller
        record.caps, record.signals = self._look(hurried=slack is not None)
        others = self._others(started)
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
                    ranked=record.ranked,
                    others=others,
                )
        self._tell([request])
        record.slack_ms, record.waited_ms = slack, (started - request.tokenized_s) * 1e3
        _note_decision(record, decision)
        return decision

    def times_now(self, work: Work) -> Sequence[float]:
        """Return the time in ms that a work takes on each rung now; read without the lock."""
        return self._controller.times_now(work)

    def _others(self, now: float) -> list[tuple[Sequence[float], float]]:
        """Return (ms on each rung of its engine, slack in ms) of the requests that wait at other engines of a fleet."""
        share = self._share
        if share is None:
            return []
        with self._lock:
            while share.heard:
                self._controller.hear(*share.heard.popleft())
        return [(waits.ms, (waits.due_s - now) * 1e3 - FINISH_MS) for waits in share.others()]

    def _tell(self, requests: Sequence[Request]) -> None:
        """Tell the other engines of a fleet of requests whose turn has come."""
        for request in requests if self._share is not None else ():
            if request.deadline_ms is not None and self._share is not None:
                fastest_ms = self.times_now(request.encoded.work)[-1]
                self._share.tell(Came(request.arrival_s, request.deadline_ms, fastest_ms))

    def _look(self, *, hurried: bool = True) -> tuple[Caps, Mapping[str, float]]:
        """Return caps and signals of the slow loop's last look, and keep it awake.

        `hurried`: a request has a deadline, so that it does not wait for a subnet that is not open yet.
        """
        loop = self._slow_loop
        caps, signals = (NO_CAPS, {}) if loop is None else (loop.caps, loop.signals)
        if loop is not None:
            loop.touch()
        if hurried and not self._opened.session.whole:
            caps = strictest([caps, self._open_so_far()])
        return caps, signals

    def _open_so_far(self) -> Caps:
        """Return a cap below the last rung of the ladder that is not open yet."""
        session, ladder = self._opened.session, self._controller.ladder
        missing = [
            rung
            for rung, name in enumerate(ladder)
            if name in self._pool and not session.is_open(self._pool[name].choice)
        ]
        return Caps(missing[-1] + 1, (OPENING,)) if missing else NO_CAPS

    def _sense(self, now: float) -> None:
        """Give the controller the snapshots that the slow loop has taken since, each as of when it was taken.

        Before a decision, and before a run is learnt from: a change during the run is no surprise then.
        """
        loop = self._slow_loop
        while loop is not None and loop.unread:
            snapshot = loop.unread.popleft()
            with contextlib.suppress(*ODD):  # no reading, however odd, fails a request
                self._controller.sense(snapshot, now - loop.age_s(snapshot))

    def _learn(self, decision: Decision, record: RequestRecord, *, run_ms: float, met: bool | None) -> None:
        """Give the controller the outcome of a pass to learn from."""
        with self._lock:
            record.learnt_s = now = self._clock()
            self._sense(now)
            single = len(record.tokens) == 1
            self._controller.record(decision, run_ms=run_ms, met=met, now=now, single=single)
            record.slow_down = self._controller.slow_down


def _begun(request: Request, backlog: Backlog) -> RequestRecord:
    """Return the record of a request whose turn it is: failed, until its answer is ready."""
    encoded = request.encoded
    return RequestRecord(
        arrival_s=request.arrival_s,
        tokens=encoded.tokens,
        batched=encoded.batched,
        deadline_ms=request.deadline_ms,
        queued=request.future is not None,
        backlog=tuple(backlog),
        tokenizing_ms=(request.tokenized_s - request.arrival_s) * 1e3,
        ranked=request.reading.texts if isinstance(request.reading, RankReading) else 0,
        error=INTERRUPTED,
    )


def _note_decision(record: RequestRecord, decision: Decision) -> None:
    record.subnet, record.reason, record.level = decision.name, decision.reason, decision.level
    record.expected_ms, record.predicted_ms = decision.expected_ms, decision.predicted_ms
    record.factor = decision.predicted_ms / decision.expected_ms


def _joins(request: Request) -> bool:
    """Return whether a request may run with others: a text with a deadline, read as the task has it."""
    encoded = request.encoded
    return request.single and encoded.batched and request.reading is None and request.deadline_ms is not None


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


def _finish(read: Read, predicted_ms: float, decision: Decision, record: RequestRecord) -> RunFacts:
    """Return an answer, completed by the facts of its run."""
    return read.finish(
        subnet=decision.name,
        reason=decision.reason,
        latency_ms=record.latency_ms,
        predicted_ms=predicted_ms,
        deadline_ms=record.deadline_ms,
        deadline_met=record.met,
        tokens=read.tokens,
        truncated=read.truncated,
        windows=read.windows,
    )
