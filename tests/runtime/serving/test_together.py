"""Texts that wait run in one call of the graph where that keeps more deadlines; over the real graph."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from typing import Any

import pytest

from gearshift.device_profiles.batch_times import BatchTimes
from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.errors import BundleError
from gearshift.runtime import DeadlinePassedError, Engine, EngineClosedError
from gearshift.runtime.background import wait_until
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.serving.record import RequestRecord
from gearshift.runtime.startup import Loaded

TEXT = "turn the lights off"
TEXTS = ["play some jazz", TEXT, "what is the weather", "turn it off"]
SECONDS = 600.0
"""Time of any subnet for a text by the table: so long that no test waits for it."""


def table_of(bundle: Bundle, batches: BatchTimes | None) -> LatencyTable:
    """Return a table by which a text takes SECONDS, the smallest subnet a little less."""
    names = sorted(bundle.entries("fp32"), key=lambda name: bundle.entries("fp32")[name].macs, reverse=True)
    times: dict[str, tuple[float, ...]] = {name: ((SECONDS - place) * 1e3,) for place, name in enumerate(names)}
    return LatencyTable(
        "0" * 64, "fp32", "CPUExecutionProvider", 1, (8,), times, times, 1, "made up", "2026-01-01", batches
    )


@pytest.fixture
def engine(bundle: Bundle) -> Iterator[Engine]:
    session = ElasticSession(bundle, "fp32", threads=1)
    largest = max(bundle.pool("fp32").values(), key=lambda entry: entry.macs).name
    free = BatchTimes((2, 16), (8,), {largest: ((0.51, 0.07),)})  # the second text of a call costs next to nothing
    with Engine(Loaded.of(bundle, session, table_of(bundle, free))) as loaded:
        yield loaded


class Hold:
    """Holds each call of the graph back until it is let go, and notes the shapes of the calls."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._permits, self.shapes = threading.Semaphore(0), list[tuple[int, int]]()
        real = engine._opened.session.run

        def run(inputs: Any, choice: Any, options: Any = None) -> Any:
            self.shapes.append(inputs["input_ids"].shape)
            while not self._permits.acquire(timeout=0.001) and not (options is not None and options.terminate):
                pass
            return real(inputs, choice, options)

        monkeypatch.setattr(engine._opened.session, "run", run)

    def let(self, calls: int = 100) -> None:
        """Let so many calls go."""
        self._permits.release(calls)

    def until(self, calls: int) -> None:
        """Wait until so many calls have begun."""
        assert wait_until(lambda: len(self.shapes) >= calls, 30)

    @property
    def texts(self) -> list[int]:
        """Number of texts of each call."""
        return [texts for texts, _ in self.shapes]


@pytest.fixture
def hold(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    held = Hold(engine, monkeypatch)
    yield held
    held.let()


def queued(engine: Engine, hold: Hold, *, deadline_ms: float | None = 1_000_000.0) -> list[Any]:
    """Queue TEXTS behind one that is held back; return their Futures."""
    before = len(hold.shapes)
    engine.submit(TEXT)
    hold.until(before + 1)
    return [engine.submit(text, deadline_ms=deadline_ms) for text in TEXTS]


def test_texts_that_wait_run_in_one_call_where_one_after_another_would_be_late(engine: Engine, hold: Hold) -> None:
    futures = queued(engine, hold)
    hold.let()
    answers = [future.result(30) for future in futures]
    assert hold.texts == [1, 4]
    assert {answer.deadline_met for answer in answers} == {True}
    assert len({answer.subnet for answer in answers}) == 1


def test_each_gets_the_answer_to_its_own_text(engine: Engine, hold: Hold) -> None:
    futures = queued(engine, hold)
    hold.let()
    answers = [future.result(30) for future in futures]
    engine.pin(answers[0].subnet)
    for text, answer in zip(TEXTS, answers, strict=True):
        alone = engine.run(text)
        assert (answer.label, answer.tokens) == (alone.label, alone.tokens)
        assert answer.scores == pytest.approx(alone.scores, abs=1e-5)


def test_without_times_of_such_calls_each_runs_alone(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ElasticSession(bundle, "fp32", threads=1)
    with Engine(Loaded.of(bundle, session, table_of(bundle, None))) as engine:
        hold = Hold(engine, monkeypatch)
        futures = queued(engine, hold)
        hold.let()
        wait(futures, 30)
        assert hold.texts == [1] * 5


def test_a_pinned_engine_and_texts_without_a_deadline_run_one_by_one(engine: Engine, hold: Hold) -> None:
    futures = queued(engine, hold, deadline_ms=None)
    hold.let(5)
    wait(futures, 30)
    engine.pin(engine.ladder[0])
    futures = queued(engine, hold)
    hold.let()
    wait(futures, 30)
    assert set(hold.texts) == {1}


def test_with_batch_false_no_text_shares_a_call(
    bundle: Bundle, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ElasticSession(bundle, "fp32", threads=1)
    with Engine(Loaded.of(bundle, session, engine.table, batch=False)) as apart:
        hold = Hold(apart, monkeypatch)
        futures = queued(apart, hold)
        hold.let()
        wait(futures, 30)
        assert set(hold.texts) == {1}


def test_every_text_of_a_call_has_a_record_of_its_own(engine: Engine, hold: Hold) -> None:
    futures = queued(engine, hold)
    hold.let()
    wait(futures, 30)
    engine.close()
    records: list[RequestRecord] = [record for record, _ in engine._metrics._state[1]]
    assert [record.together for record in records] == [1, 4, 4, 4, 4]
    assert [record.error for record in records] == [None] * 5
    assert len({record.run_ms for record in records[1:]}) == 1
    assert [record.tokens for record in records[1:]] == [(future.result().tokens,) for future in futures]
    assert engine.stats()["requests"] == 5 and engine.stats()["met"] == 4


def test_one_that_is_taken_back_while_its_call_runs_leaves_the_others_their_answers(engine: Engine, hold: Hold) -> None:
    futures = queued(engine, hold)
    hold.let(1)
    hold.until(2)
    assert futures[1].cancel() is False  # it runs
    hold.let()
    with pytest.raises(CancelledError):
        futures[1].result(30)
    assert all(futures[place].result(30).label for place in (0, 2, 3))


def test_a_failed_call_fails_each_of_its_texts_and_nothing_is_learnt(
    engine: Engine, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    futures = queued(engine, hold)

    def fails(inputs: Any, choice: Any, options: Any = None) -> Any:
        raise BundleError("no memory")

    monkeypatch.setattr(engine._opened.session, "run", fails)
    hold.let()
    for future in futures:
        with pytest.raises(BundleError, match="no memory"):
            future.result(30)
    assert engine.stats()["failed"] == 4
    assert engine.slow_down < 1  # by the first text alone, which took no minute


def test_a_close_ends_a_call_of_several(engine: Engine, hold: Hold) -> None:
    futures = queued(engine, hold)
    hold.let(1)
    hold.until(2)
    engine.close(0.0)
    for future in futures:
        with pytest.raises(EngineClosedError):
            future.result(30)


def test_a_callback_that_raises_takes_no_answer_from_the_others(engine: Engine, hold: Hold) -> None:
    futures = queued(engine, hold)

    def interrupts(done: object) -> None:
        raise KeyboardInterrupt

    futures[0].add_done_callback(interrupts)
    hold.let()
    assert all(future.result(30).label for future in futures)


def test_a_rule_that_fails_lets_them_run_one_by_one(
    engine: Engine, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **named: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(engine._controller, "decide_together", fails)
    futures = queued(engine, hold)
    hold.let()
    assert all(future.result(30).label for future in futures)
    assert set(hold.texts) == {1}


def test_what_is_too_late_for_any_subnet_gives_way_to_what_is_not(engine: Engine, hold: Hold) -> None:
    engine.submit(TEXT)
    hold.until(1)
    late = engine.submit(TEXT, deadline_ms=10_000)  # the fastest takes minutes
    waiting = engine.submit(TEXT, deadline_ms=30_000_000)
    hold.let()
    with pytest.raises(DeadlinePassedError, match=r"ms were left of its deadline of 10000 ms at its turn, too few for"):
        late.result(30)
    assert waiting.result(30).label
    assert engine.stats()["failed"] == 1


def test_it_is_answered_where_nobody_gains_or_late_answers_have_a_value(engine: Engine, hold: Hold) -> None:
    hold.let()
    assert engine.submit(TEXT, deadline_ms=10_000).result(30).label
    engine.steer(late_value=0.5)
    first = engine.submit(TEXT)
    both = [engine.submit(TEXT, deadline_ms=deadline_ms) for deadline_ms in (10_000, 30_000_000)]
    assert all(future.result(30).label for future in (first, *both))


def test_where_all_that_wait_are_too_late_the_first_is_answered(engine: Engine, hold: Hold) -> None:
    engine.submit(TEXT)
    hold.until(1)
    futures = [engine.submit(TEXT, deadline_ms=deadline_ms) for deadline_ms in (9_000, 10_000)]
    hold.let()
    assert futures[0].result(30).reason == "best_effort"
