"""The entry for programs: texts and deadlines in, answers out."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, overload

from gearshift.errors import InputError
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.inference.text import Text
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import DEFAULT_OBJECTIVE, Objective, Wanted
from gearshift.runtime.profiles.store import save_table
from gearshift.runtime.sensors.cap_rules import DEFAULT_RULES, Rules
from gearshift.runtime.sensors.cpus import effective_cpus
from gearshift.runtime.sensors.sensors import Sensors
from gearshift.runtime.serving.answering import Answering
from gearshift.runtime.serving.decision_log import DecisionLog
from gearshift.runtime.serving.metrics import Metrics, check_port
from gearshift.runtime.serving.queue import LIMIT, check_limit
from gearshift.runtime.serving.request import AnswerFuture, InFlight, Request
from gearshift.runtime.serving.worker import Worker
from gearshift.runtime.startup import AUTO, Loaded, load, watch
from gearshift.runtime.state import EngineState


class Engine(EngineState):
    """Answers texts within a deadline by choosing, for each request, the subnet that fits.

        with Engine.load("sst2.gearshift", threads=2) as engine:
            answer = engine.run("a charming and often affecting journey", deadline_ms=15)
            answer.label, answer.score, answer.subnet, answer.latency_ms, answer.reason

    All methods may be called from several threads. `load` is the usual way to make one; the constructor
    takes a bundle that was loaded, with its latency table, and a clock in seconds.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        objective: Objective = DEFAULT_OBJECTIVE,
        log: DecisionLog | None = None,
        queue_limit: int = LIMIT,
        sensors: Sensors | None = None,
        rules: Rules = DEFAULT_RULES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        opened = loaded.opened
        accuracies = {name: entry.accuracy for name, entry in opened.bundle.gears(opened.session.precision).items()}
        dan = None if opened.bundle.dan is None else opened.bundle.dan.name
        cpus = max(1.0, effective_cpus() / opened.session.threads)
        controller, metrics = Controller(accuracies, loaded.table, objective, cpus=cpus, dan=dan), Metrics(accuracies)
        self._in_flight, self._log, self._clock = InFlight(), log, clock
        self._slow_loop = None
        if sensors is not None:
            self._slow_loop = watch(sensors, rules, len(controller.ladder), opened.session, self._in_flight)
            weakref.finalize(self, self._slow_loop.stop)
        answering = Answering(
            opened, controller, metrics, clock=clock, log=log, cascade=loaded.cascade, slow_loop=self._slow_loop
        )
        super().__init__(loaded, controller, metrics, answering)
        self._worker = Worker(self._answering.answer, self._answering.shed, self._in_flight, clock, queue_limit)
        if log is not None:
            log.begin(controller, loaded.table)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threads: int | None = None,
        precision: str = AUTO,
        profile: str | Path | None = None,
        log: str | Path | None = None,
        providers: Sequence[str] = CPU,
        cache: bool = True,
        metrics_port: int | None = None,
        queue_limit: int = LIMIT,
        sensors: bool | Sensors = True,
        rules: Rules = DEFAULT_RULES,
        cascade: float | None = None,
        **objective: Unpack[Wanted],
    ) -> Self:
        """Load an engine for the bundle in directory `path`, verified, self-tested and timed on this machine.

        `threads` of one call: by default half of the CPUs. `precision`: `fp32`, `int8`, or `auto` for the
        fastest that is right on this CPU. `profile`: a file that `save_profile` wrote; without it every
        subnet is timed now, for a second or two. `log`: a file that gets one line of JSON for each request.
        `providers`: as in onnxruntime. `cache`: keep packed weights, and hashes of files that did not change, in the
        user's cache directory. `metrics_port`: serve counters on this port of 127.0.0.1, as `serve_metrics` does.
        `queue_limit`: requests that may wait after `submit`. `sensors`: watch load, heat, battery, memory and power on
        a thread of its own, and use no larger a subnet than `rules` let it; False: decide by the latencies alone.
        `cascade`: let the DAN of the bundle answer wherever it is sure enough for this agreement, such as .99, with the
        most accurate subnet over all texts; the others are answered as without it.
        `objective`: the fields of `Objective` (`target`, `min_accuracy`, `max_cpu_share`, `on_miss`), which `steer`
        changes later.

        Raises BundleError (IntegrityError, SchemaError, SelfTestError), ProfileError, InputError or
        StorageError.
        """
        if not isinstance(sensors, bool | Sensors):
            raise InputError(f"sensors: expected True, False or Sensors, got {sensors!r}")
        if not isinstance(rules, Rules):
            raise InputError(f"rules: expected Rules, got {rules!r}")
        check_limit(queue_limit)
        wanted = Objective(**objective)
        if metrics_port is not None:
            check_port(metrics_port)
        with contextlib.ExitStack() as undo:
            decisions = None if log is None else undo.enter_context(contextlib.closing(DecisionLog(log)))
            loaded = load(
                path,
                wanted,
                precision=precision,
                threads=threads,
                profile=profile,
                providers=providers,
                cache=cache,
                cascade=cascade,
            )
            undo.callback(loaded.opened.session.close)
            engine = cls(
                loaded,
                objective=wanted,
                log=decisions,
                queue_limit=queue_limit,
                sensors=Sensors(clock=time.perf_counter) if sensors is True else sensors or None,
                rules=rules,
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
        """Answer a text or a pair (a tuple of two texts), or each of a list of those.

        An answer is a Classification, Regression, TokenClassification, QuestionAnswering or Embedding, as the
        bundle's task is (`answers`). A question and the text to find its answer in are a pair.

        A list runs on one subnet, texts of like length together, and its deadline holds for all of it. The time
        counts from this call. A deadline that no subnet keeps gets the fastest, and `reason` says
        `best_effort`; with `on_miss="reject"` it raises DeadlineTooShortError, unless nothing was tried for a second.
        Raises InputError, or EngineClosedError after `close`.
        """
        with self._in_flight:
            request = Request.taken(text, deadline_ms, self._opened.encoder, self._clock)
            return self._answering.answer(request) if request.encoded.tokens else []

    def submit(self, text: Any, *, deadline_ms: float | None = None) -> AnswerFuture:
        """Queue a text for its turn, without waiting; the Future gets the answer that `run` gives for the same.

        Requests are answered one after another, the earliest deadline first; the time in the queue counts, and a
        subnet is chosen so that those behind can be answered in time too. One whose deadline goes by before its turn
        is dropped: its Future raises DeadlinePassedError. `cancel` takes a request back, also while it runs.
        Raises InputError, EngineClosedError, or QueueFullError where `queue_limit` requests wait already.
        """
        self._in_flight.check_process()
        future = AnswerFuture()
        request = Request.taken(text, deadline_ms, self._opened.encoder, self._clock, future)
        if request.encoded.tokens:
            return self._worker.submit(request)
        future.set_result([])
        return future

    async def arun(self, text: Any, *, deadline_ms: float | None = None) -> Any:
        """Answer as `run` does, for programs with an event loop; queued as by `submit`, and cancelled with its task."""
        import asyncio  # a device that never calls this does not load it

        return await asyncio.wrap_future(self.submit(text, deadline_ms=deadline_ms))

    def warm_up(self, lengths: Sequence[int] | None = None, *, budget_s: float = 1.0) -> int:
        """Run the subnets of the ladder once for each length (by default those of the table), the largest first.

        A first call is slower than others: memory is taken, and pages of weights are read. Ends after `budget_s`
        seconds; gives the number of calls. Raises InputError for a length that the bundle does not take.
        """
        with self._in_flight:
            return self._opened.warm_up(self.ladder, self._table.lengths if lengths is None else lengths, budget_s)

    def pin(self, name: str | None) -> None:
        """Use this subnet for every request, whatever its deadline; None goes back to choosing.

        Any subnet of the pool can be pinned, also one that is not on the ladder; raises UnknownSubnetError.
        """
        if name is not None:
            self.bundle.entry(name, self.precision)
        self._answering.pin(name)

    def steer(self, **changes: Unpack[Wanted]) -> None:
        """Change the objective from the next request on; fields that are not named stay. As in `load`.

        Raises InputError, and then nothing changes.
        """
        self._answering.steer(changes)

    def release_pages(self) -> int:
        """Give back the memory of weights that lie in files; gives the bytes that were freed.

        For a program that will not ask for a while, or a device that runs short. Works with the packed-weight
        cache alone; weights that are needed again come back from the file, which makes the first answer slower.
        """
        with self._in_flight:
            return self._opened.session.release_pages()

    def serve_metrics(self, port: int) -> int:
        """Serve `metrics()` at http://127.0.0.1:port/metrics until `close`; 0 takes any free port. Gives the port.

        To this machine alone, whoever runs on it. Raises InputError for a port that is taken, or a second one.
        """
        with self._in_flight:
            return self._metrics.serve(port)

    def save_profile(self, path: str | Path) -> None:
        """Keep the latency table in a device profile, for `load(..., profile=path)`; raises ProfileError.

        A profile of this device that is there already keeps its other tables.
        """
        save_table(path, self._table)

    def close(self) -> None:
        """Wait for the requests that are running, then free the weights; those in the queue get EngineClosedError.

        A second call does nothing, nor does one in a fork: what is to be waited for and freed is the parent's.
        """
        if self._in_flight.forked:
            return
        if self._slow_loop is not None:
            self._slow_loop.close()
        self._worker.close()
        if self._in_flight.close():
            self._opened.session.close()
            self._metrics.close()
            if self._log is not None:
                self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
