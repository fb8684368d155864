"""The entry for programs: texts and deadlines in, answers out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import EngineClosedError, InputError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.files.cache import HashMemory
from gearshift.runtime.inference.cascade import Cascade
from gearshift.runtime.inference.executors import executors
from gearshift.runtime.inference.packed import PackedCache
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import Text, TextEncoder
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.steering import DEFAULT_STEERING, Steering, rejects
from gearshift.runtime.profiles.first_times import random_text
from gearshift.runtime.profiles.store import save_table
from gearshift.runtime.sensors.cap_rules import DEFAULT_RULES, Rules
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.sensors.cpus import effective_cpus
from gearshift.runtime.sensors.sensors import Sensors
from gearshift.runtime.sensors.slow_loop import SlowLoop
from gearshift.runtime.serving.answering import Answering
from gearshift.runtime.serving.decision_log import DecisionLog
from gearshift.runtime.serving.in_flight import Gate
from gearshift.runtime.serving.metrics import Metrics
from gearshift.runtime.serving.metrics_server import MetricsServer, check_port
from gearshift.runtime.serving.queue import LIMIT, check_limit
from gearshift.runtime.serving.record import LogHeader
from gearshift.runtime.serving.request import checked_deadline
from gearshift.runtime.serving.worker import AnswerFuture, Backlog, Pending, Worker
from gearshift.runtime.startup import AUTO, check_reachable, default_threads, start

KEEP: Any = object()
"""Leaves a setting as it is."""


class Engine:
    """Answers texts within a deadline by picking, for each request, the subnet that fits.

        with Engine.load("sst2.gearshift", threads=2) as engine:
            answer = engine.run("a charming and often affecting journey", deadline_ms=15)
            answer.label, answer.score, answer.subnet, answer.latency_ms, answer.reason

    All methods may be called from several threads. `load` is the usual way to make one; the constructor
    takes the parts: a verified bundle, a session over it, the latency table for both, and a clock in seconds.
    """

    def __init__(
        self,
        bundle: Bundle,
        session: ElasticSession,
        table: LatencyTable,
        *,
        steering: Steering = DEFAULT_STEERING,
        log: DecisionLog | None = None,
        queue_limit: int = LIMIT,
        sensors: Sensors | None = None,
        rules: Rules = DEFAULT_RULES,
        cascade: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._bundle = bundle
        self._session = session
        self._table = table
        self._log = log
        self._clock = clock
        self._encoder = TextEncoder(bundle)
        self._pool = bundle.gears(session.precision)
        accuracies = {name: entry.accuracy for name, entry in self._pool.items()}
        cpus = max(1.0, effective_cpus() / session.threads)
        dan = None if bundle.dan is None else bundle.dan.name
        self._controller = Controller(accuracies, table, steering, cpus=cpus, dan=dan)
        self._metrics = Metrics(accuracies)
        sure = None if cascade is None else Cascade(bundle, cascade)
        self._answering = Answering(bundle, session, self._controller, self._metrics, log, clock, sure)
        self._gate = Gate()
        self._process = os.getpid()
        self._worker = Worker(self._answer_pending, self._answering.shed, clock, queue_limit)
        self._metrics_server: MetricsServer | None = None
        self._slow_loop = None if sensors is None else self._watch(sensors, rules)
        self._answering.slow_loop = self._slow_loop
        if log is not None:
            log.write(
                LogHeader(
                    time=time.time(),
                    steering=steering,
                    ladder=self.ladder,
                    accuracies=accuracies,
                    table=table,
                    dan=dan,
                )
            )

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threads: int | None = None,
        precision: str = AUTO,
        profile: str | Path | None = None,
        target: float = 0.99,
        min_accuracy: float | None = None,
        max_cpu_share: float | None = None,
        on_miss: str = "best_effort",
        log: str | Path | None = None,
        providers: Sequence[str] = CPU,
        cache: bool = True,
        metrics_port: int | None = None,
        queue_limit: int = LIMIT,
        sensors: bool | Sensors = True,
        rules: Rules = DEFAULT_RULES,
        cascade: float | None = None,
    ) -> Self:
        """An engine for the bundle in directory `path`, verified, self-tested and timed on this machine.

        `threads` of one call: by default half of the CPUs. `precision`: `fp32`, `int8`, or `auto` for the
        fastest that is right on this CPU. `profile`: a file that `save_profile` wrote; without it every
        subnet is timed now, for a second or two. `target`: share of deadlines to keep. `min_accuracy`: no less
        accurate subnet answers; without a deadline, the fastest from there on. `max_cpu_share`: share of the CPUs that
        requests without a deadline may take on average. `on_miss`: where no subnet keeps a deadline, answer as
        fast as can be (`best_effort`) or raise DeadlineTooShortError (`reject`). `steer` changes these four later.
        `log`: a file that gets one line of JSON for each request. `providers`: as in onnxruntime.
        `cache`: keep packed weights, and hashes of files that did not change, in the user's cache directory.
        `queue_limit`: requests that may wait after `submit`.
        `sensors`: watch load, heat, battery, memory and power on a thread of its own, and use no larger a subnet
        than `rules` let it; False: steer by the latencies alone.
        `metrics_port`: serve counters on this port of 127.0.0.1, as `serve_metrics` does.
        `cascade`: let the DAN of the bundle answer wherever it is sure enough for this agreement, such as .99, with the
        most accurate subnet over all texts; the others are answered as without it.

        Raises BundleError (IntegrityError, SchemaError, SelfTestError), ProfileError, InputError or
        StorageError.
        """
        if not isinstance(sensors, bool | Sensors):
            raise InputError(f"sensors: expected True, False or Sensors, got {sensors!r}")
        if not isinstance(rules, Rules):
            raise InputError(f"rules: expected Rules, got {rules!r}")
        check_limit(queue_limit)
        steering = Steering(
            target=target, min_accuracy=min_accuracy, max_cpu_share=max_cpu_share, reject=rejects(on_miss)
        )
        if metrics_port is not None:
            check_port(metrics_port)
        bundle = open_bundle(path, sha256=HashMemory().sha256_of) if cache else open_bundle(path)
        if min_accuracy is not None:
            check_reachable(min_accuracy, bundle, bundle.precisions if precision == AUTO else (precision,))
        if cascade is not None:
            Cascade(bundle, cascade)  # refuses before the slow part
        with contextlib.ExitStack() as undo:
            decisions = None if log is None else DecisionLog(log)
            if decisions is not None:
                undo.callback(decisions.close)
            session, table = start(
                bundle,
                precision=precision,
                threads=default_threads() if threads is None else threads,
                profile=profile,
                providers=providers,
                cache=PackedCache() if cache else None,
            )
            undo.callback(session.close)
            engine = cls(
                bundle,
                session,
                table,
                steering=steering,
                log=decisions,
                queue_limit=queue_limit,
                sensors=Sensors(clock=time.perf_counter) if sensors is True else sensors or None,
                rules=rules,
                cascade=cascade,
            )
            if engine._slow_loop is not None:
                undo.callback(engine._slow_loop.close)
            if metrics_port is not None:
                engine.serve_metrics(metrics_port)
            undo.pop_all()
        return engine

    @overload
    def run(self, text: Text, *, deadline_ms: float | None = None) -> Any: ...
    @overload
    def run(
        self, text: list[str] | list[tuple[str, str]] | list[Text], *, deadline_ms: float | None = None
    ) -> list[Any]: ...
    def run(self, text: Any, *, deadline_ms: float | None = None) -> Any:
        """The answer for a text or a pair (a tuple of two texts), or the answers for a list of those.

        An answer is a Classification, Regression, TokenClassification, QuestionAnswering or Embedding, as the
        bundle's task is (`answers`). A question and the text to find its answer in are a pair.

        A list runs on one subnet, texts of like length together, and its deadline holds for all of it. The time
        counts from this call. A deadline that no subnet keeps gets the fastest, and `reason` says
        `best_effort`; with `on_miss="reject"` it raises DeadlineTooShortError, unless nothing was tried for a second.
        Raises InputError, or EngineClosedError after `close`.
        """
        began = self._clock()
        self._check_process()
        with self._gate:
            deadline = checked_deadline(deadline_ms)
            if isinstance(text, list):
                if not text:
                    return []
                encoded = self._encoder.encode(text)
                return self._answering.answers(encoded, deadline, began, self._clock())
            encoded = self._encoder.encode([text])
            return self._answering.answers(encoded, deadline, began, self._clock())[0]

    def submit(self, text: Any, *, deadline_ms: float | None = None) -> AnswerFuture:
        """A Future of what `run` gives for the same arguments; the text waits for its turn, the others do not.

        Requests are answered one after another, the earliest deadline first; the time in the queue counts, and a
        subnet is picked so that those behind can be answered in time too. One whose deadline goes by before its turn
        is dropped: its Future raises DeadlinePassedError. `cancel` takes a request back, also while it runs.
        Raises InputError, EngineClosedError, or QueueFullError where `queue_limit` requests wait already.
        """
        began = self._clock()
        self._check_process()
        deadline = checked_deadline(deadline_ms)
        if isinstance(text, list) and not text:
            done = AnswerFuture()
            done.set_result([])
            return done
        single = not isinstance(text, list)
        encoded = self._encoder.encode([text] if single else text)
        return self._worker.submit(Pending(encoded, single, began, self._clock(), deadline))

    async def arun(self, text: Any, *, deadline_ms: float | None = None) -> Any:
        """What `run` gives, for programs with an event loop; as `submit`, and cancelled with its task."""
        return await asyncio.wrap_future(self.submit(text, deadline_ms=deadline_ms))

    def _answer_pending(self, pending: Pending, backlog: Backlog) -> Any:
        with self._gate:
            answers = self._answering.answers(
                pending.encoded, pending.deadline_ms, pending.arrival_s, pending.tokenized_s, backlog, pending.future
            )
        return answers[0] if pending.single else answers

    def warm_up(self, lengths: Sequence[int] | None = None, *, budget_s: float = 1.0) -> int:
        """Run the subnets of the ladder once for each length (by default those of the table), the largest first.

        A first call is slower than others: memory is taken, and pages of weights are read. Ends after `budget_s`
        seconds; gives the number of calls. Raises InputError for a length that the bundle does not take.
        """
        longest = self._bundle.manifest.max_length
        chosen = self._table.lengths if lengths is None else tuple(lengths)
        if not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= longest for n in chosen):
            raise InputError(f"lengths: expected numbers of tokens from 1 to {longest}, got {list(chosen)}")
        began, calls = time.perf_counter(), 0
        run = executors(self._bundle, self._session)
        with self._gate:
            for name in self.ladder:
                for length in chosen:
                    if time.perf_counter() - began >= budget_s:
                        return calls
                    run[name](random_text(self._bundle, length), None)
                    calls += 1
        return calls

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise EngineClosedError(
                f"this engine was loaded by process {self._process}, of which this one ({os.getpid()}) is a fork; "
                "threads and locks do not survive that: load an engine after the fork"
            )

    def _watch(self, sensors: Sensors, rules: Rules) -> SlowLoop:
        """The slow loop of this engine, running; it ends with `close`, or when nobody holds the engine any more."""
        engine = weakref.proxy(self)
        loop = SlowLoop(
            sensors,
            len(self.ladder),
            rules=rules,
            release=(lambda: engine.release_pages()) if self._session.packed else None,
            sense=lambda snapshot: engine._answering.sense(snapshot),
            clock=sensors.clock,
        )
        weakref.finalize(self, loop.stop)
        loop.start()
        return loop

    def pin(self, name: str | None) -> None:
        """Use this subnet for every request, whatever its deadline; None goes back to choosing.

        Any subnet of the pool can be pinned, also one that is not on the ladder; raises UnknownSubnetError.
        """
        if name is not None:
            self._bundle.entry(name, self.precision)
        self._answering.pinned = name

    @property
    def steering(self) -> Steering:
        """What the engine steers by now."""
        return self._controller.steering

    def steer(
        self,
        *,
        target: float = KEEP,
        min_accuracy: float | None = KEEP,
        max_cpu_share: float | None = KEEP,
        on_miss: str = KEEP,
    ) -> None:
        """Steer by something else from the next request on; what is not named stays. As in `load`.

        Raises InputError, and then nothing changes.
        """
        given = {"target": target, "min_accuracy": min_accuracy, "max_cpu_share": max_cpu_share}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not KEEP}
        if on_miss is not KEEP:
            changes["reject"] = rejects(on_miss)
        self._answering.steer(changes)

    def release_pages(self) -> int:
        """Give back the memory of weights that requests have touched so far; gives the bytes freed.

        For an engine that settled on a small subnet, or a device that runs short. Works with the packed-weight
        cache alone; what is needed again comes back from the file, which makes the first answer slower.
        """
        with self._gate:
            return self._session.release_pages()

    @property
    def labels(self) -> tuple[str, ...]:
        """What a text, or a word of it, can be classified as; empty where the task has no labels."""
        return self._bundle.manifest.labels

    @property
    def pool(self) -> dict[str, PoolEntry]:
        """Name -> pool entry at the engine's precision."""
        return dict(self._pool)

    @property
    def subnets(self) -> tuple[str, ...]:
        """Names of all subnets, as the bundle lists them."""
        return tuple(self._pool)

    @property
    def ladder(self) -> tuple[str, ...]:
        """Names of the subnets that are worth switching between on this device, the most accurate first."""
        return self._controller.ladder

    @property
    def bundle(self) -> Bundle:
        """What the engine runs."""
        return self._bundle

    @property
    def table(self) -> LatencyTable:
        """What each subnet costs on this machine, without the slow-down."""
        return self._table

    @property
    def precision(self) -> str:
        """`fp32` or `int8`."""
        return self._session.precision

    @property
    def threads(self) -> int:
        """Threads that one call uses."""
        return self._session.threads

    @property
    def caps(self) -> Caps:
        """The largest subnet that heat, battery, memory and power let requests use, and why."""
        return NO_CAPS if self._slow_loop is None else self._slow_loop.caps

    @property
    def slow_down(self) -> float:
        """Observed / expected latency of single texts: 1 is the machine as it was when it was timed."""
        return self._answering.slow_down

    def stats(self) -> dict[str, Any]:
        """Counts since loading: `requests` that were answered (a list is one) and those that `failed`, deadlines
        `met` and `missed`, `switches` from one subnet to another between two requests, and under `subnets` the
        requests that each one ran."""
        return self._metrics.stats()

    def metrics(self) -> str:
        """Counters and histograms since loading as Prometheus text, exposition format 0.0.4."""
        return self._metrics.text()

    def serve_metrics(self, port: int) -> int:
        """Serve `metrics()` at http://127.0.0.1:port/metrics until `close`; 0 takes any free port. Gives the port.

        To this machine alone, whoever runs on it. Raises InputError for a port that is taken, or a second one.
        """
        with self._gate:
            if self._metrics_server is not None:
                raise InputError(f"metrics_port: this engine serves them on {self._metrics_server.port} already")
            self._metrics_server = MetricsServer(port, self.metrics)
            return self._metrics_server.port

    def save_profile(self, path: str | Path) -> None:
        """Keep the latency table in a device profile, for `load(..., profile=path)`; raises ProfileError.

        A profile of this device that is there already keeps its other tables.
        """
        save_table(path, self._table)

    def close(self) -> None:
        """Wait for the requests that are running, then free the weights; those in the queue get EngineClosedError.

        A second call does nothing, nor does one in a fork: what is to be waited for and freed is the parent's.
        """
        if os.getpid() != self._process:
            return
        if self._slow_loop is not None:
            self._slow_loop.close()
        self._worker.close()
        if self._gate.close():
            self._session.close()
            if self._metrics_server is not None:
                self._metrics_server.close()
            if self._log is not None:
                self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
