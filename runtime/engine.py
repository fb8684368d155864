"""The engine: the entry point for programs, which takes texts and deadlines and returns answers."""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, overload

from gearshift.errors import EngineClosedError
from gearshift.runtime.bundle.signers import Key, Signers
from gearshift.runtime.files.hub_cache import find_bundle
from gearshift.runtime.inference.images import Image
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.inference.text import Text
from gearshift.runtime.inference.words import Words
from gearshift.runtime.native_calls import NATIVE_CALLS
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import DEFAULT_OBJECTIVE, Objective, Wanted
from gearshift.runtime.profiles.store import save_table
from gearshift.runtime.reading.options import Options, RequestReader
from gearshift.runtime.reading_methods import ReadingMethods
from gearshift.runtime.sensors.cap_rules import DEFAULT_RULES, Rules
from gearshift.runtime.sensors.cpus import effective_cpus
from gearshift.runtime.sensors.sensors import Sensors
from gearshift.runtime.serving.answering import Answering
from gearshift.runtime.serving.decision_log import DecisionLog
from gearshift.runtime.serving.in_flight import InFlight, Place
from gearshift.runtime.serving.lifetime import CLOSE_S, Lifetime
from gearshift.runtime.serving.metrics import Metrics
from gearshift.runtime.serving.queue import LIMIT
from gearshift.runtime.serving.request import AnswerFuture, Request
from gearshift.runtime.serving.turns import Share
from gearshift.runtime.serving.worker import Worker
from gearshift.runtime.startup import AUTO, Loaded, check_options, open_checked, slow_loop_of, start
from gearshift.runtime.trust.trust import CHECKED


class Engine(ReadingMethods):
    """Engine that answers texts within a deadline by choosing, for each request, the subnet that fits.

        with Engine.load("sst2.gearshift", threads=2) as engine:
            answer = engine.run("a charming and often affecting journey", deadline_ms=15)
            answer.label, answer.score, answer.subnet, answer.latency_ms, answer.reason

    All methods are safe for several threads. `load` is the usual way to make an engine; the constructor takes a loaded
    bundle with its latency table, and a clock in seconds.
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
        share: Share | None = None,
    ) -> None:
        opened = loaded.opened
        entries, rows = opened.bundle.entries(opened.session.precision), opened.bundle.manifest.dev_rows
        accuracies = {name: entry.choosing_accuracy for name, entry in entries.items()}
        dan = None if opened.bundle.dan is None else opened.bundle.dan.name
        cpus = max(1.0, effective_cpus() / opened.session.threads)
        controller = Controller(accuracies, loaded.table, objective, rows=rows, cpus=cpus, dan=dan)
        metrics = Metrics(controller.accuracies)
        self._in_flight, self._clock = InFlight(), clock
        self._reader = RequestReader(opened)
        loop = slow_loop_of(sensors, rules, len(controller.ladder), opened.session, self._in_flight)
        self._slow_loop, cascade = loop, loaded.cascade
        answering = Answering(
            opened, controller, metrics, clock=clock, log=log, cascade=cascade, slow_loop=loop, share=share
        )
        super().__init__(loaded, controller, metrics, answering)
        at_end = None if log is None else log.close
        self._worker = Worker(answering, self._in_flight, clock, queue_limit, at_end, share)
        self._lifetime = Lifetime(self._in_flight, self._worker, opened.session, metrics, loop, log)
        weakref.finalize(self, self._lifetime.drop).atexit = False
        if log is not None:
            log.begin(controller, loaded.table)
        self._lifetime.start()

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
        null_threshold: float | None = None,
        batch: bool = True,
        trust: str = CHECKED,
        keys: Sequence[Key] | None = None,
        not_older: bool = False,
        share: Share | None = None,
        at_once: bool = False,
        **objective: Unpack[Wanted],
    ) -> Self:
        """Load an engine for the bundle in directory `path`, which is verified, self-tested and timed on this machine.

        `threads`: threads of one call; by default half of the CPUs.
        `precision`: `fp32`, `int8`, or `auto` for the fastest that passes the self-test on this CPU.
        `profile`: file that `save_profile` wrote; without it the device's own profile is used, or every subnet is timed
        now, for a second or two.
        `log`: file that gets one line of JSON for each request.
        `providers`: execution providers, as in onnxruntime.
        `cache`: keep packed weights, and hashes of unchanged files, in the user's cache directory.
        `metrics_port`: serve metrics on this port of 127.0.0.1, as `serve_metrics` does.
        `queue_limit`: largest number of requests that wait after `submit`.
        `sensors`: watch load, heat, battery, memory and power on a thread of its own, and use only the subnets that
        `rules` allow; False: decide by the latencies alone.
        `cascade`: let the DAN of the bundle answer whenever it is sure enough for this agreement, such as .99, with the
        most accurate subnet over all texts; other texts are answered as without it.
        `null_threshold`: for question answering, give no answer where `null_score_diff` is above this, whichever subnet
        runs; by default each subnet has its own threshold in the bundle.
        `batch`: run texts of similar length of a list in one call, which is faster. False runs them one by one, so that
        int8 gives a text in a list exactly what it gives the text alone.
        `trust`: what a bundle must have gone through: `checked`, what its files hold, or `tried`, also a trial in a
        process of its own with limits, which takes as long as a load; once for each bundle if there is a cache.
        `keys`: Ed25519 public keys, each a file of PEM or PEM as bytes, of which one must have signed the bundle; it is
        not tried then. `not_older`: refuse a version older than the newest that was loaded so.
        `share`: its part in a fleet, as `Fleet.load` gives it.
        `at_once`: return when the smallest subnet is open, where packed weights are in the cache, each subnet has a
        session (one thread, one stage), and latencies are known. The others follow, and until then requests with a
        deadline take those that are open; others wait for the subnet that answers them.
        `objective`: fields of `Objective` (`target`, `min_accuracy`, `max_cpu_share`, `on_miss`), which `steer` changes
        later.

        Raises BundleError (SignatureError and others), ProfileError, InputError, StorageError or MissingExtraError.
        """
        check_options(sensors, rules, queue_limit, trust, metrics_port)
        wanted, signers = Objective(**objective), Signers.of(keys, not_older=not_older, cache=cache)
        with contextlib.ExitStack() as undo:
            bundle = open_checked(path, wanted, precision, cache, cascade, null_threshold, trust, signers)
            decisions = None if log is None else undo.enter_context(contextlib.closing(DecisionLog(log)))
            loaded = start(
                bundle,
                precision=precision,
                threads=threads,
                profile=profile,
                providers=providers,
                cache=PackedCache(first=at_once) if cache else None,
                cascade=cascade,
                batch=batch,
            )
            undo.callback(loaded.opened.session.close)
            watched = Sensors(clock=time.perf_counter) if sensors is True else sensors or None
            engine = cls(
                loaded,
                objective=wanted,
                log=decisions,
                queue_limit=queue_limit,
                sensors=watched,
                rules=rules,
                share=share,
            )
            undo.callback(engine.close)
            if metrics_port is not None:
                engine.serve_metrics(metrics_port)
            signers.remember(bundle.manifest.name, bundle.signature)
            undo.pop_all()
        return engine

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Self:
        """Load an engine as `load` does, of a directory, of its folder `bundle`, or of a repository in the hub cache.

        Nothing is downloaded. Raises InputError if there is no bundle, and as `load` does.
        """
        return cls.load(find_bundle(name), **options)

    @overload
    def run(self, text: Text | Image, *, deadline_ms: float | None = None, **options: Unpack[Options]) -> Any: ...
    @overload
    def run(
        self,
        text: list[str] | list[tuple[str, str]] | list[Words] | list[Text] | list[Image] | list[str | Image],
        *,
        deadline_ms: float | None = None,
        **options: Unpack[Options],
    ) -> list[Any]: ...
    def run(self, text: Any, *, deadline_ms: float | None = None, **options: Unpack[Options]) -> Any:
        """Answer a text or a pair (a tuple of two texts), or each item of a list of these.

        Of a bundle of images: an array (height, width, 3) uint8, or the path of an image file, for which Pillow is
        needed (`gearshift[images]`).
        For token classification a text is cut into words as the training rows were; `Words([...])` gives them instead.

        The bundle's task determines the type of an answer: Classification, MultiLabelClassification, Regression,
        TokenClassification, QuestionAnswering or Embedding. A question and the text with its answer are a pair.

        A list runs on one subnet, texts of similar length together, and its deadline is for the whole list. Deadlines
        count from this call. If no subnet keeps one, the fastest answers, and `reason` is `best_effort`. With
        `on_miss="reject"` it raises DeadlineTooShortError instead, unless no subnet ran for a second.
        `options`: `overlap` reads a text that is longer than the model reads in windows that share this many tokens,
        for tagging, questions and embeddings, where it is cut otherwise (`truncated`); each window takes the time of a
        text. `dimensions` cuts vectors to their first numbers. `prompt_name` or `prompt` takes the place of the prompt
        of an embedding model.
        Raises InputError, or EngineClosedError after `close`.
        """
        return self._in_flight.call(self._run, text, deadline_ms, options)

    def _run(self, place: Place, text: Any, deadline_ms: float | None, options: Options) -> Any:
        request = self._taken(text, deadline_ms, options)
        return self._answering.answer_at_turn(place, request) if request.encoded.tokens else []

    def _taken(
        self, text: Any, deadline_ms: float | None, options: Options, future: AnswerFuture | None = None
    ) -> Request:
        rows = functools.partial(self._reader.rows, options=options)
        return Request.taken(text, deadline_ms, rows, self._clock, future)

    def submit(self, text: Any, *, deadline_ms: float | None = None, **options: Unpack[Options]) -> AnswerFuture:
        """Queue a text without waiting; return a Future of the answer that `run` returns for the same arguments.

        Requests are answered one after another, the earliest deadline first, or several texts in one call where that
        keeps more deadlines. The time in the queue counts, and the subnet is chosen so that waiting requests can be
        answered in time too. A request whose deadline passes before its turn is shed: its Future raises
        DeadlinePassedError. So is one that would be late on any subnet, while others wait that would not, unless late
        answers have a value (`late_value`). `cancel` withdraws a request, even while it runs.
        Raises InputError, EngineClosedError, or QueueFullError if `queue_limit` requests wait already.
        """
        self._in_flight.check_process()
        future = AnswerFuture()
        request = self._taken(text, deadline_ms, options, future)
        if request.encoded.tokens:
            return self._worker.submit(request)
        future.set_result([])
        return future

    async def arun(self, text: Any, *, deadline_ms: float | None = None, **options: Unpack[Options]) -> Any:
        """Answer as `run` does, for programs with an event loop: queued as by `submit`, and cancelled with its task."""
        import asyncio  # a device that never calls this does not load it

        with NATIVE_CALLS.staying(EngineClosedError):
            return await asyncio.wrap_future(self.submit(text, deadline_ms=deadline_ms, **options))

    def warm_up(self, lengths: Sequence[int] | None = None, *, budget_s: float = 1.0) -> int:
        """Run each subnet of the ladder once for each length (by default the table's), the largest first.

        A first call is slower than others: it allocates memory and reads pages of weights. Ends after `budget_s`
        seconds; returns the number of calls. Raises InputError for a length that the bundle does not accept.
        """
        chosen = self._table.lengths if lengths is None else tuple(lengths)
        return self._in_flight.call(lambda _: self._opened.warm_up(self.ladder, chosen, budget_s) if chosen else 0)

    def pin(self, name: str | None) -> None:
        """Use this subnet for every request, whatever its deadline; None returns to choosing.

        Any subnet of the pool can be pinned, even one that is not on the ladder; others raise UnknownSubnetError.
        """
        self._in_flight.check_process()
        if name is not None:
            self.bundle.entry(name, self.precision)
        self._answering.pin(name)

    def steer(self, **changes: Unpack[Wanted]) -> None:
        """Change the objective from the next request on; fields as in `load`, and those that are not named stay.

        On InputError nothing changes.
        """
        self._in_flight.check_process()
        self._answering.steer(changes)

    def release_pages(self) -> int:
        """Release the memory of weights that are mapped from files; return the bytes that were freed.

        Useful before a pause, or on a device short of memory. It needs the packed-weight cache. Weights that are needed
        again are read from the file, which makes the first answer slower.
        """
        return self._in_flight.call(lambda _: self._opened.session.release_pages())

    def serve_metrics(self, port: int) -> int:
        """Serve `metrics()` at http://127.0.0.1:port/metrics until `close`; return the port. Port 0 takes any free one.

        Every program on this machine can read it, and no other. Raises InputError for a taken port or a second call.
        """
        return self._in_flight.call(lambda _: self._metrics.serve(port))

    def save_profile(self, path: str | Path) -> None:
        """Save the latency table in a device profile, for `load(..., profile=path)`; raise ProfileError if that fails.

        An existing profile of this device keeps its other tables.
        """
        save_table(path, self._table)

    def close(self, timeout: float | None = CLOSE_S) -> bool:
        """Wait for running requests, then free the weights; requests in the queue get EngineClosedError.

        Requests that still run after `timeout` seconds (None: no limit) are ended and raise EngineClosedError. Returns
        whether everything ended in time; if not, the log says what did not. A second call does nothing, or goes on
        where the first was interrupted; nor does one in a fork do anything, as all belongs to the parent process.
        """
        return self._in_flight.forked or self._lifetime.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
