"""The engine's queue, over the real graph."""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.errors import BundleError
from gearshift.runtime import DeadlinePassedError, Engine, EngineClosedError, InputError, QueueFullError

TEXT = "turn the lights off"


@pytest.fixture
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine.load(tiny_bundle, threads=1, precision="fp32", queue_limit=8) as loaded:
        yield loaded


class Hold:
    """Holds the graph back until it is let go, and notes what ran."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running, self.go, self.lengths = threading.Event(), threading.Event(), list[int]()
        real = engine._opened.session.run

        def run(inputs: Any, choice: Any, options: Any = None) -> Any:
            self.lengths.append(inputs["input_ids"].shape[1])
            self.running.set()
            while not self.go.is_set() and not (options is not None and options.terminate):
                time.sleep(0.001)
            return real(inputs, choice, options)

        monkeypatch.setattr(engine._opened.session, "run", run)


@pytest.fixture
def hold(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    held = Hold(engine, monkeypatch)
    yield held
    held.go.set()  # so that the engine can be closed


def test_a_submitted_text_gets_the_answer_that_run_gives(engine: Engine) -> None:
    submitted, given = engine.submit(TEXT, deadline_ms=60_000).result(30), engine.run(TEXT)
    assert (submitted.label, submitted.scores) == (given.label, given.scores)
    assert submitted.deadline_met is True


def test_a_list_is_one_request_and_an_empty_one_has_no_answers(engine: Engine) -> None:
    texts = [TEXT, "play some jazz"]
    assert [one.label for one in engine.submit(texts).result(30)] == [one.label for one in engine.run(texts)]
    assert engine.submit([]).result(0) == []


def test_the_earliest_deadline_is_answered_first(engine: Engine, hold: Hold) -> None:
    first = engine.submit(TEXT)
    assert hold.running.wait(30)
    words = {9: "a b c d e f g", 3: "a", 5: "a b c"}  # tokens with those at both ends: text
    deadlines = {9: None, 3: 50_000, 5: 40_000}
    futures = [engine.submit(words[n], deadline_ms=deadlines[n]) for n in words]
    hold.go.set()
    wait([first, *futures], 30)
    answers = [future.result(0) for future in futures]
    by_tokens = {answer.tokens: number for number, answer in enumerate(answers)}
    order = [by_tokens[length] for length in hold.lengths[1:]]
    assert order == [2, 1, 0]


def test_the_time_in_the_queue_counts(engine: Engine, hold: Hold) -> None:
    first, second = engine.submit(TEXT), engine.submit(TEXT, deadline_ms=30_000)
    assert hold.running.wait(30)
    time.sleep(0.05)
    hold.go.set()
    assert second.result(30).latency_ms >= 50
    first.result(30)


def test_a_request_whose_deadline_goes_by_in_the_queue_is_dropped_and_counted(engine: Engine, hold: Hold) -> None:
    first = engine.submit(TEXT)
    assert hold.running.wait(30)
    late = engine.submit(TEXT, deadline_ms=1)
    time.sleep(0.01)
    hold.go.set()
    with pytest.raises(DeadlinePassedError, match="deadline of 1 ms went by"):
        late.result(30)
    first.result(30)
    assert len(hold.lengths) == 1
    assert engine.stats()["failed"] == 1


def test_a_full_queue_sheds_with_a_clear_error_and_the_others_are_answered(engine: Engine, hold: Hold) -> None:
    first = engine.submit(TEXT)
    assert hold.running.wait(30)
    waiting = [engine.submit(TEXT) for _ in range(8)]
    with pytest.raises(QueueFullError, match="8 requests wait already"):
        engine.submit(TEXT)
    hold.go.set()
    assert all(future.result(30).label for future in [first, *waiting])


def test_a_cancelled_request_leaves_the_queue(engine: Engine, hold: Hold) -> None:
    first = engine.submit(TEXT)
    assert hold.running.wait(30)
    waiting = [engine.submit(TEXT) for _ in range(8)]
    assert waiting[3].cancel()
    assert wait(waiting, 0).done == {waiting[3]}
    engine.submit(TEXT)  # there is room again
    hold.go.set()
    assert sum(future.result(30) is not None for future in [first, *waiting] if future is not waiting[3]) == 8
    with pytest.raises(CancelledError):
        waiting[3].result(0)


def test_a_running_request_is_ended_and_the_next_one_is_answered(engine: Engine, hold: Hold) -> None:
    first, second = engine.submit(TEXT), engine.submit(TEXT)
    assert hold.running.wait(30)
    assert not first.cancel()
    with pytest.raises(CancelledError):
        first.result(30)
    hold.go.set()
    assert second.result(30).label


def test_a_request_that_fails_says_so_and_the_next_one_is_answered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = engine._opened.session.run, []

    def run(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise BundleError("planted")
        return real(*arguments)

    monkeypatch.setattr(engine._opened.session, "run", run)
    failing, fine = engine.submit(TEXT), engine.submit(TEXT)
    with pytest.raises(BundleError, match="planted"):
        failing.result(30)
    assert fine.result(30).label


def test_close_finishes_what_runs_and_refuses_what_waits(engine: Engine, hold: Hold) -> None:
    first = engine.submit(TEXT)
    assert hold.running.wait(30)
    waiting = [engine.submit(TEXT) for _ in range(3)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    for future in waiting:
        with pytest.raises(EngineClosedError, match="before this request's turn"):
            future.result(30)
    hold.go.set()
    closing.join(30)
    assert not closing.is_alive()
    assert first.result(0).label
    with pytest.raises(EngineClosedError, match="load another one"):
        engine.submit(TEXT)


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), "soon", True])
def test_a_wrong_deadline_is_refused_before_any_work(engine: Engine, deadline: Any) -> None:
    with pytest.raises(InputError, match="deadline_ms"):
        engine.submit(TEXT, deadline_ms=deadline)


def test_an_event_loop_can_wait_for_many_answers_at_once(tiny_bundle: Path) -> None:
    async def ask(engine: Engine) -> list[Any]:
        return await asyncio.gather(*(engine.arun(TEXT, deadline_ms=60_000) for _ in range(50)))

    with Engine.load(tiny_bundle, threads=1, precision="fp32") as engine:
        assert len({answer.label for answer in asyncio.run(ask(engine))}) == 1


def test_a_task_that_is_cancelled_takes_its_request_back(engine: Engine, hold: Hold) -> None:
    async def give_up() -> None:
        await asyncio.wait_for(engine.arun(TEXT), timeout=0.05)

    first = engine.submit(TEXT)
    assert hold.running.wait(30)
    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    hold.go.set()
    first.result(30)
    assert len(hold.lengths) == 1


def test_64_threads_get_their_own_answers(tiny_bundle: Path) -> None:
    texts = [TEXT, "play some jazz", "what is the weather in paris", "set an alarm for six"]
    found: dict[int, Any] = {}
    with Engine.load(tiny_bundle, threads=1, precision="fp32") as engine:
        engine.pin(engine.ladder[0])
        expected = [engine.run(text).scores for text in texts]

        def ask(number: int) -> None:
            found[number] = engine.submit(texts[number % 4]).result(60).scores

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found == {number: expected[number % 4] for number in range(64)}


def test_ten_thousand_requests_can_wait(tiny_bundle: Path) -> None:
    with Engine.load(tiny_bundle, threads=1, precision="fp32", queue_limit=10_000) as engine:
        futures = [engine.submit("on") for _ in range(10_000)]
        assert len({future.result(120).label for future in futures}) == 1
        assert engine.stats()["requests"] == 10_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_fork_is_told_to_load_its_own_engine(engine: Engine) -> None:
    child = os.fork()
    if not child:
        status = 1
        try:
            engine.run(TEXT)
        except EngineClosedError as error:
            status = 0 if "load an engine after the fork" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert engine.run(TEXT).label


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_fork_does_not_wait_for_what_ran_in_its_parent(engine: Engine, hold: Hold) -> None:
    first = engine.submit(TEXT)
    assert hold.running.wait(30)
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends it where it waits
        engine.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    hold.go.set()
    assert first.result(30).label


def test_a_system_without_threads_to_give_refuses_and_nothing_waits(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", start)
        with pytest.raises(RuntimeError, match="can't start"):
            engine.submit(TEXT)
    assert len(engine._worker) == 0
    assert engine.submit(TEXT).result(30).label


def test_a_program_may_end_without_close_while_requests_run(tiny_bundle: Path) -> None:
    code = (
        "import sys; from gearshift.runtime import Engine; engine = Engine.load(sys.argv[1], threads=1)\n"
        "for _ in range(50): engine.submit(['turn the lights off'] * 400)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tiny_bundle)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_is_no_text_is_not_submitted(engine: Engine) -> None:
    with pytest.raises(InputError, match="expected a text"):
        engine.submit(np.array([TEXT, TEXT]))


def test_warm_up_runs_every_size_at_every_length_within_its_time(engine: Engine, hold: Hold) -> None:
    hold.go.set()
    assert engine.warm_up((4, 8), budget_s=60) == 2 * len(engine.ladder)
    assert sorted(set(hold.lengths)) == [4, 8]
    assert engine.warm_up(budget_s=0) == 0
    with pytest.raises(InputError, match="lengths: expected numbers of tokens"):
        engine.warm_up((0,))
    with pytest.raises(InputError, match="lengths: expected numbers of tokens"):
        engine.warm_up((True,))
