"""Ctrl-C, and any exception of a signal handler, at each point of the engine's calls, one by one."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gearshift.errors import EngineClosedError, InputError
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.serving.decision_log import DecisionLog, read_log
from gearshift.runtime.serving.metrics import MOST_NOTED, Metrics
from gearshift.runtime.startup import Loaded
from tests.runtime.serving.interrupts import at_each_point, at_point
from tests.runtime.serving.test_record import ANSWERED
from tests.runtime.test_engine import _table

TEXT = "turn the lights off"

Make = Callable[..., Engine]


class Interrupt(BaseException):
    """Exception of a signal handler, as KeyboardInterrupt is."""


@pytest.fixture
def make(bundle: Bundle) -> Make:
    """Makes engines with sessions of their own, which may be closed."""

    def make(**others: Any) -> Engine:
        session = ElasticSession(bundle, "fp32", threads=1)
        return Engine(Loaded.of(bundle, session, _table(bundle)), **others)

    return make


@pytest.fixture
def engine(make: Make) -> Iterator[Engine]:
    with make() as made:
        yield made


class Held:
    """Holds the graph of an engine back until it is let go, or its call is ended."""

    def __init__(self, engine: Engine) -> None:
        self.running, self.go = threading.Event(), threading.Event()
        session = engine._opened.session
        real = session.run

        def run(inputs: Any, choice: Any, options: Any = None) -> Any:
            self.running.set()
            while not self.go.is_set() and not (session._plain if options is None else options).terminate:
                time.sleep(0.001)
            return real(inputs, choice, options)

        session.run = run  # type: ignore[method-assign]


def raising(kind: type[BaseException]) -> Callable[[], None]:
    def handler() -> None:
        raise kind("of a signal handler")

    return handler


def counts(engine: Engine) -> tuple[int, int, int]:
    """Answered, failed, in flight; what else is counted is checked to agree."""
    stats = engine.stats()
    assert sum(stats["subnets"].values()) == stats["requests"] >= stats["met"] + stats["missed"]
    return stats["requests"], stats["failed"], len(engine._in_flight)


INTERRUPTS = 50


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals")
def test_64_threads_get_their_answers_while_signals_interrupt_the_requests_of_the_main_thread(make: Make) -> None:
    texts = [TEXT, "play some jazz", "what is the weather in paris", "set an alarm for six"]
    answers: dict[int, list[Any]] = {number: [] for number in range(64)}
    done = threading.Event()

    def ask(engine: Engine, number: int) -> None:
        while not done.is_set() or len(answers[number]) < 3:
            text = texts[number % 4]
            answer = engine.run(text) if number % 2 else engine.submit(text).result(60)
            answers[number].append(answer.scores)

    def interrupt(*_: object) -> NoReturn:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    with make(queue_limit=1000) as engine:
        engine.pin(engine.ladder[0])
        expected = [engine.run(text).scores for text in texts]
        threads = [threading.Thread(target=ask, args=(engine, number)) for number in range(64)]
        for thread in threads:
            thread.start()
        try:
            while interrupted < INTERRUPTS:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.003)
                    while True:
                        engine.run(texts[0])
                except Interrupt:
                    interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            done.set()
        for thread in threads:
            thread.join(60)
        assert engine.run(TEXT).scores == expected[0]
        assert counts(engine)[2] == 0
    assert interrupted == INTERRUPTS
    assert all(len(found) >= 3 for found in answers.values())
    assert all(scores == expected[number % 4] for number, found in answers.items() for scores in found)


@pytest.mark.parametrize("kind", [Interrupt, KeyboardInterrupt, TimeoutError, RuntimeError, SystemExit])
@pytest.mark.parametrize("text", [TEXT, [TEXT, "play some jazz in the kitchen until seven"]], ids=["text", "list"])
def test_an_exception_at_any_point_of_run_comes_out_as_itself_and_every_count_is_right(
    engine: Engine, kind: type[BaseException], text: Any
) -> None:
    every = 1 if kind is Interrupt else 7
    answered, failed, _ = counts(engine)
    seen = []
    for handled in at_each_point(raising(kind), lambda: engine.run(text, deadline_ms=60_000), every=every):
        now_answered, now_failed, in_flight = counts(engine)
        assert in_flight == 0
        if handled.reached:
            assert type(handled.raised) is kind, handled.raised
            seen.append((now_answered - answered, now_failed - failed))
        else:
            assert (now_answered, now_failed) == (answered + 1, failed)
        answered, failed = now_answered, now_failed
        if handled.point % 10 == 0:
            assert engine.run(TEXT).label
            answered += 1
    # Not yet a request, then one that failed, then one that was answered, though nobody got the answer.
    assert set(seen) <= {(0, 0), (0, 1), (1, 0)}
    assert seen == sorted(seen, key=lambda one: one != (0, 0))
    assert every > 1 or len(set(seen)) == 3
    assert counts(engine) == (answered, failed, 0)


def test_a_log_has_no_line_twice_and_none_that_is_cut_wherever_a_request_is_interrupted(
    make: Make, tmp_path: Path
) -> None:
    with make(log=DecisionLog(tmp_path / "log")) as engine:
        for handled in at_each_point(raising(TimeoutError), lambda: engine.run(TEXT, deadline_ms=60_000)):
            if handled.point % 10 == 0:
                engine.run(TEXT)
        answered, failed, _ = counts(engine)
    (run,) = read_log(tmp_path / "log")
    moments = [record.arrival_s for record in run.records]
    assert len(moments) == len(set(moments))
    assert 0 < len(moments) <= answered + failed  # one that is interrupted while it is logged has none
    assert all(json.loads(line) for line in (tmp_path / "log").read_text().splitlines())


def test_counting_is_right_wherever_it_is_interrupted() -> None:
    metrics = Metrics({"big": 0.9, "small": 0.8})
    expected = 0

    def many() -> None:
        nonlocal expected
        for _ in range(MOST_NOTED):
            metrics.begin(ANSWERED, None)
            expected += 1
        metrics.begin(replace(ANSWERED, error="shed"), None)

    for sheds, point in enumerate(range(0, 4000, 23), start=1):
        many()
        handled = at_point(point, raising(Interrupt), metrics.count)
        stats = metrics.stats()
        assert (stats["requests"], stats["failed"]) == (expected, sheds)
        metrics.count()
        assert metrics.stats() == stats
        if not handled.reached:
            return
    raise AssertionError("the count has too many points")


@pytest.mark.parametrize(("kind", "every"), [(Interrupt, 1), (ValueError, 5)])
def test_an_exception_at_any_point_of_the_first_submit_leaves_an_engine_that_answers(
    bundle: Bundle, session: ElasticSession, kind: type[BaseException], every: int
) -> None:
    """The first one starts the thread."""
    loaded = Loaded.of(bundle, session, _table(bundle))
    for point in range(0, 1000, every):
        engine = Engine(loaded)
        handled = at_point(point, raising(kind), functools.partial(engine.submit, TEXT))
        assert not handled.reached or type(handled.raised) is kind
        assert engine.submit(TEXT).result(30).label
        answered, failed, _ = counts(engine)
        assert (answered in (1, 2), failed, len(engine._worker)) == (True, 0, 0)
        assert engine._worker.close(30)
        if not handled.reached:
            return
    raise AssertionError("submit has too many points")


@pytest.mark.parametrize("what", ["submit", "result", "cancel", "stats", "metrics", "steer", "pin"])
def test_after_an_exception_at_any_point_of_another_call_the_next_request_is_answered_and_the_engine_closes(
    make: Make, what: str
) -> None:
    with make() as engine:
        calls: dict[str, Callable[[], object]] = {
            "submit": lambda: engine.submit(TEXT),
            "result": lambda: engine.submit(TEXT).result(30),
            "cancel": lambda: engine.submit(TEXT).cancel(),
            "stats": engine.stats,
            "metrics": engine.metrics,
            "steer": lambda: engine.steer(target=0.9),
            "pin": lambda: engine.pin(engine.ladder[-1]),
        }
        engine.submit(TEXT).result(30)
        calls[what]()  # a first call imports modules
        for handled in at_each_point(raising(Interrupt), calls[what], every=29 if what == "metrics" else 1):
            # `threading.Condition.wait` itself may find its lock free then, which it says as RuntimeError.
            interrupted = Interrupt in (type(handled.raised), type(getattr(handled.raised, "__context__", None)))
            assert interrupted == handled.reached
            assert engine.submit(TEXT).result(30).label
        assert engine.submit(TEXT).result(30).label
        assert len(engine._worker) == 0
        assert len(engine._in_flight) == 0
        assert engine.close(30)


def test_an_exception_at_any_point_of_close_is_made_good_by_the_next_close(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the warning of `close`: `logging` itself keeps a lock when it is interrupted."""
    monkeypatch.setattr(logging.getLogger("gearshift.runtime.serving.lifetime"), "disabled", True)
    for point in itertools.count(0, 4):
        engine = make(log=DecisionLog(tmp_path / "log"))
        held, futures = Held(engine), [engine.submit(TEXT) for _ in range(4)]
        assert held.running.wait(30)
        handled = at_point(point, raising(Interrupt), functools.partial(engine.close, 0.0))
        held.go.set()
        assert not handled.reached or isinstance(handled.raised, Interrupt)
        assert engine.close(30)
        for future in futures[1:]:
            with pytest.raises(EngineClosedError):
                future.result(0)
        assert futures[0].done()
        assert engine._opened.session._session is None
        assert not engine._worker._thread.alive
        with pytest.raises(EngineClosedError):
            engine.run(TEXT)
        if not handled.reached:
            assert point > 100
            return


@pytest.mark.parametrize("what", ["run", "submit", "stats", "metrics"])
def test_a_signal_handler_may_use_the_engine_at_any_point_of_run(make: Make, what: str) -> None:
    with make(log=None) as engine:
        uses: dict[str, Callable[[], object]] = {
            "run": lambda: engine.run(TEXT),
            "submit": lambda: engine.submit(TEXT),
            "stats": engine.stats,
            "metrics": engine.metrics,
        }
        number = used = 0
        for handled in at_each_point(uses[what], functools.partial(engine.run, TEXT), every=3):
            assert handled.raised is None
            number += 1
            used += handled.reached
        engine.submit(TEXT).result(30) if what == "submit" else engine.run(TEXT)
        number += used if what in ("run", "submit") else 0
        assert counts(engine) == (number + 1, 0, 0)


def test_a_signal_handler_may_close_the_engine_at_any_point_of_run(make: Make) -> None:
    for point in itertools.count(0, 13):
        engine = make()
        handled = at_point(point, functools.partial(engine.close, 30), functools.partial(engine.run, TEXT))
        assert handled.raised is None or isinstance(handled.raised, EngineClosedError)
        assert engine.close(30)
        if not handled.reached:
            assert point > 100
            return


def test_a_callback_that_raises_system_exit_does_not_end_the_thread(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(_: object) -> None:
        raise SystemExit(1)

    held = Held(engine)
    leaving = engine.submit(TEXT)
    leaving.add_done_callback(leave)
    held.go.set()
    assert leaving.result(30).label
    assert engine.submit(TEXT).result(30).label
    assert "a callback of a request's Future raised" in caplog.text


def test_requests_that_run_are_ended_when_the_limit_of_close_is_over(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    Held(engine)
    submitted, ended = engine.submit(TEXT), list[BaseException]()

    def run() -> None:
        try:
            engine.run(TEXT)
        except EngineClosedError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while len(engine._in_flight) < 2:
        time.sleep(0.001)
    assert not engine.close(0.01)
    assert "the engine was closed after 0.01 s, with requests running, which were ended" in caplog.text
    thread.join(30)
    assert "closed while this request ran" in str(ended[0])
    with pytest.raises(EngineClosedError, match="closed while this request ran"):
        submitted.result(30)
    assert engine.close()


@pytest.mark.parametrize("timeout", ["5", True, float("nan"), 10**5000, [1]], ids=type)
def test_a_limit_of_close_that_is_no_number_is_refused_and_closes_nothing(engine: Engine, timeout: Any) -> None:
    with pytest.raises(InputError, match="timeout: expected a number of seconds or None, got"):
        engine.close(timeout)
    assert engine.run(TEXT).label


def test_ten_thousand_waiting_requests_are_taken_back_at_once(make: Make) -> None:
    with make(queue_limit=10_000) as engine:
        held, first = Held(engine), engine.submit(TEXT)
        assert held.running.wait(30)
        futures = [engine.submit("on") for _ in range(9_999)]
        assert all(future.cancel() for future in futures)
        assert len(engine._worker) == 0
        held.go.set()
        assert first.result(30).label
        with pytest.raises(CancelledError):
            futures[-1].result(30)
        assert engine.submit(TEXT).result(30).label
