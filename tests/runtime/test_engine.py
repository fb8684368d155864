from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.device_profiles.profile import LatencyTable, load_profile
from gearshift.errors import (
    BundleError,
    DeadlinePassedError,
    DeadlineTooShortError,
    EngineClosedError,
    InputError,
    IntegrityError,
    ProfileError,
    SchemaError,
    StorageError,
    UnknownSubnetError,
)
from gearshift.runtime import Classification, Engine
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import Text
from gearshift.runtime.policy.objective import Objective
from gearshift.runtime.serving.decision_log import DecisionLog, read_log
from gearshift.runtime.startup import Loaded
from tests.runtime.altered import change_manifest
from tests.runtime.replay import replay

TEXT = "turn the lights off"


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    """A real engine for what does not depend on how fast this machine is."""
    with Engine.load(tiny_bundle, threads=1) as loaded:
        yield loaded


def _table(bundle: Bundle) -> LatencyTable:
    """Every subnet a millisecond faster than the more accurate one before it, at every length."""
    ranked = sorted(bundle.pool("fp32").values(), key=lambda entry: -entry.accuracy)
    times: dict[str, tuple[float, ...]] = {
        entry.name: (float(len(ranked) - rank),) * 2 for rank, entry in enumerate(ranked)
    }
    lengths = (8, bundle.manifest.max_length)
    return LatencyTable(bundle.hash, "fp32", CPU[0], 1, lengths, times, times, 1, "by hand", "2026-01-31")


def _stepping(step_ms: float) -> Callable[[], float]:
    """A clock that goes on by this much whenever it is read: `run` reads it at its start, before the graph,
    after it, when the answer is ready, and when it is noted."""
    ticks = itertools.count()
    return lambda: next(ticks) * step_ms / 1e3


@pytest.fixture
def timed(bundle: Bundle, session: ElasticSession) -> Callable[..., Engine]:
    """Makes engines over the real graph with latencies and a clock that are made up."""

    def make(step_ms: float = 0.0, **others: Any) -> Engine:
        return Engine(Loaded.of(bundle, session, _table(bundle)), clock=_stepping(step_ms), **others)

    return make


def test_an_answer_is_a_label_of_the_bundle_with_the_facts_of_the_run(engine: Engine) -> None:
    answer = engine.run(TEXT, deadline_ms=60_000)
    assert isinstance(answer, Classification)
    assert answer.label in engine.labels
    assert tuple(answer.scores) == engine.labels
    assert sum(answer.scores.values()) == pytest.approx(1)
    assert answer.score == answer.scores[answer.label] == max(answer.scores.values())
    assert answer.subnet == engine.ladder[0]
    assert answer.reason == "fits"
    assert answer.deadline_ms == 60_000
    assert answer.deadline_met is True
    assert answer.latency_ms > 0
    assert answer.predicted_ms > 0
    assert answer.tokens >= 4
    assert answer.truncated is False


def test_without_a_deadline_the_most_accurate_answers(engine: Engine) -> None:
    answer = engine.run(TEXT)
    assert (answer.subnet, answer.reason) == (engine.ladder[0], "no_deadline")
    assert (answer.deadline_ms, answer.deadline_met) == (None, None)


def test_a_deadline_that_nothing_keeps_gets_the_fastest_and_says_so(engine: Engine) -> None:
    answer = engine.run(TEXT, deadline_ms=1e-6)
    assert answer.reason == "best_effort"
    assert answer.deadline_met is False


def test_every_subnet_can_be_pinned_and_answers_with_its_own_logits(engine: Engine) -> None:
    answers = {}
    for name in engine.subnets:
        engine.pin(name)
        answer = engine.run(TEXT, deadline_ms=1e-6)
        assert (answer.subnet, answer.reason) == (name, "pinned")
        answers[name] = tuple(answer.scores.values())
    engine.pin(None)
    assert len(set(answers.values())) == len(engine.subnets) == 12
    assert engine.run(TEXT).reason == "no_deadline"


def test_an_unknown_subnet_is_not_pinned(engine: Engine) -> None:
    with pytest.raises(UnknownSubnetError, match=r"unknown subnet 'huge'; this bundle has .*w100-d100"):
        engine.pin("huge")
    assert engine.run(TEXT).reason == "no_deadline"


def test_a_list_gives_an_answer_for_each_text_in_order(engine: Engine) -> None:
    texts: list[Text] = [TEXT, "play some music please", ("turn the lights off", "now")]
    answers = engine.run(texts, deadline_ms=60_000)
    assert len(answers) == 3
    for text, answer in zip(texts, answers, strict=True):
        alone = engine.run(text)
        assert answer.tokens == alone.tokens
        if engine.precision == "fp32":  # int8 quantizes a batch as a whole
            assert answer.scores == pytest.approx(alone.scores, abs=1e-4)
    assert len({(answer.subnet, answer.latency_ms, answer.deadline_met) for answer in answers}) == 1


def test_a_list_of_texts_of_all_lengths_gets_the_answers_of_its_texts_alone(engine: Engine) -> None:
    texts = ["off", "off " * 9, "turn the lights off", "on", "please turn the lights in the hall off", "on " * 8]
    answers = engine.run([*texts], deadline_ms=60_000)
    assert len({answer.subnet for answer in answers}) == 1
    for text, answer in zip(texts, answers, strict=True):
        alone = engine.run(text, deadline_ms=60_000)
        assert (answer.label, answer.tokens) == (alone.label, alone.tokens)
        # int8 scales are those of a call: scores of one text were .012 apart.
        assert answer.scores == pytest.approx(alone.scores, abs=1e-4 if engine.precision == "fp32" else 3e-2)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_without_batches_a_text_in_a_list_gets_exactly_the_answer_that_it_gets_alone(
    bundle: Bundle, precision: str
) -> None:
    texts: list[Text] = [
        TEXT,
        "off",
        "off " * 9,
        "off " * 8,
        "turn the lights in the kitchen off",
        ("turn the lights", "now"),
        TEXT,
    ]
    table = dataclasses.replace(_table(bundle), precision=precision)
    with contextlib.closing(ElasticSession(bundle, precision, threads=1)) as session:
        engine = Engine(Loaded.of(bundle, session, table, batch=False))
        for name in engine.pool:
            engine.pin(name)
            for text, answer in zip(texts, engine.run([*texts]), strict=True):
                alone = engine.run(text)
                assert (answer.scores, answer.label, answer.tokens) == (alone.scores, alone.label, alone.tokens)


def test_loading_without_batches_reaches_the_tokens(tiny_bundle: Path, tmp_path: Path) -> None:
    with Engine.load(tiny_bundle, threads=1, precision="fp32", sensors=False) as engine:
        engine.save_profile(tmp_path / "times.json")
    log = tmp_path / "log.jsonl"
    profile = tmp_path / "times.json"
    with Engine.load(tiny_bundle, threads=1, precision="fp32", profile=profile, batch=False, log=log) as engine:
        engine.run([TEXT, TEXT, "off"])
    (record,) = read_log(log)[0].records
    assert (record.batched, len(record.work)) == (False, 3)


def test_a_list_of_one_gives_a_list(engine: Engine) -> None:
    (answer,) = engine.run([TEXT])
    assert answer.scores == pytest.approx(engine.run(TEXT).scores, abs=1e-6)


def test_an_empty_list_gives_an_empty_list_and_is_no_request(engine: Engine) -> None:
    before = engine.stats()
    assert engine.run([]) == []
    assert engine.stats() == before


def test_100_000_characters_are_answered_and_said_to_be_truncated(engine: Engine) -> None:
    answer = engine.run("turn the lights off " * 5000, deadline_ms=60_000)
    assert answer.truncated is True
    assert answer.tokens == engine.bundle.manifest.max_length


@pytest.mark.parametrize("text", ["", "   ", 3, None, b"off", ("a",), ["a", ""], [["a"]], {"a": 1}])
def test_what_is_no_text_is_refused_and_counts_as_no_request(engine: Engine, text: Any) -> None:
    before = engine.stats()
    with pytest.raises(InputError):
        engine.run(text, deadline_ms=10)
    assert engine.stats() == before


@pytest.mark.parametrize(
    "deadline", [0, -1, -0.5, float("nan"), float("inf"), True, "10", [10], 1j, 10**400, 10**5000], ids=type
)
def test_a_deadline_that_is_no_positive_number_is_refused(engine: Engine, deadline: Any) -> None:
    with pytest.raises(InputError, match="deadline_ms: expected a positive number of milliseconds or None, got"):
        engine.run(TEXT, deadline_ms=deadline)


@pytest.mark.parametrize("name", ["deadlin_ms", "truncate_dim"])
def test_an_option_that_is_not_known_is_an_error_and_no_request(engine: Engine, name: str) -> None:
    """Left out in silence, a misspelt deadline would be none."""
    before = engine.stats()["requests"]
    given: Any = {name: None}
    for asked in (engine.run, engine.submit, lambda text, **more: asyncio.run(engine.arun(text, **more))):
        with pytest.raises(TypeError, match=rf"unexpected keyword argument '{name}'; expected deadline_ms, overlap, "):
            asked("a text", **given)
    assert engine.stats()["requests"] == before


@pytest.mark.parametrize("deadline", [60_000, 60_000.0, np.float32(60_000), np.int64(60_000)])
def test_any_kind_of_number_is_a_deadline(engine: Engine, deadline: Any) -> None:
    assert engine.run(TEXT, deadline_ms=deadline).deadline_ms == 60_000


@pytest.mark.parametrize("on_miss", ["best_effort", "reject"])
@pytest.mark.parametrize(
    "deadline", [1e16, 1e300, 1e307, 1e308, sys.float_info.max, 10**308, 2**1000, np.float64(1e308), np.float32(3e38)]
)
def test_the_longest_of_deadlines_is_kept_and_every_count_is_right(
    timed: Callable[..., Engine], deadline: Any, on_miss: Any
) -> None:
    engine = timed(step_ms=1.0, objective=Objective(on_miss=on_miss))
    for _ in range(3):  # later ones are counted by how late they would be behind the earlier ones
        assert engine.run(TEXT, deadline_ms=deadline).deadline_met is True
        assert engine.submit(TEXT, deadline_ms=deadline).result(30).deadline_met is True
        assert len(engine.run([TEXT, TEXT], deadline_ms=deadline)) == 2
    engine.pin(engine.ladder[-1])
    assert engine.run(TEXT, deadline_ms=deadline).reason == "pinned"
    assert (engine.stats()["requests"], engine.stats()["met"], engine.stats()["failed"]) == (10, 10, 0)


@pytest.mark.parametrize("deadline", [5e-324, 1e-300, np.float32(1e-45)])
def test_the_shortest_of_deadlines_is_missed_and_every_count_is_right(
    timed: Callable[..., Engine], deadline: Any
) -> None:
    engine = timed(step_ms=1.0)
    assert engine.run(TEXT, deadline_ms=deadline).deadline_met is False
    with pytest.raises(DeadlinePassedError):
        engine.submit(TEXT, deadline_ms=deadline).result(30)
    assert (engine.stats()["requests"], engine.stats()["missed"], engine.stats()["failed"]) == (1, 1, 1)


def test_the_ladder_falls_in_accuracy_and_in_time(engine: Engine) -> None:
    assert set(engine.ladder) <= set(engine.subnets) == engine.pool.keys()
    accuracies = [engine.pool[name].accuracy for name in engine.ladder]
    times = [sum(engine.table.median_ms[name]) for name in engine.ladder]
    assert accuracies == sorted(accuracies, reverse=True)
    assert times == sorted(times, reverse=True)
    assert max(entry.accuracy for entry in engine.pool.values()) == accuracies[0]


def test_a_subnet_that_is_slower_and_not_more_accurate_is_not_on_the_ladder(
    bundle: Bundle, session: ElasticSession
) -> None:
    table = _table(bundle)
    names = list(table.median_ms)
    most_accurate = max(names, key=lambda name: bundle.entry(name, "fp32").accuracy)
    times = {name: (1.0, 1.0) if name == most_accurate else row for name, row in table.median_ms.items()}
    engine = Engine(Loaded.of(bundle, session, dataclasses.replace(table, median_ms=times)))
    assert engine.ladder == (most_accurate,)


def test_a_longer_deadline_never_gives_a_less_accurate_subnet(timed: Callable[..., Engine]) -> None:
    accuracies = []
    names = set()
    for deadline in (0.5, 2, 4, 6, 8, 10, 12, 15, 20, 40):
        engine = timed()
        answer = engine.run(TEXT, deadline_ms=deadline)
        accuracies.append(engine.pool[answer.subnet].accuracy)
        names.add(answer.subnet)
        assert (answer.predicted_ms <= deadline) == (answer.reason == "fits")
    assert accuracies == sorted(accuracies)
    assert len(names) > 3


def test_the_time_before_the_graph_is_taken_from_the_slack(timed: Callable[..., Engine]) -> None:
    assert timed(step_ms=0.0).run(TEXT, deadline_ms=60).subnet == timed().ladder[0]
    late = timed(step_ms=58.0).run(TEXT, deadline_ms=60)  # 58 of them gone in tokenizing
    assert late.reason in ("fits", "best_effort")
    assert late.subnet != timed().ladder[0]
    assert late.predicted_ms < 4


@pytest.mark.parametrize(("deadline", "met"), [(2.9, False), (3.1, True)])
def test_a_deadline_is_met_when_the_answer_is_ready_in_time(
    timed: Callable[..., Engine], deadline: float, met: bool
) -> None:
    answer = timed(step_ms=1.0).run(TEXT, deadline_ms=deadline)
    assert answer.latency_ms == pytest.approx(3.0)
    assert answer.deadline_met is met


def test_the_slow_down_is_observed_over_expected_time_of_the_graph(timed: Callable[..., Engine]) -> None:
    engine = timed(step_ms=36.0)
    largest = engine.ladder[0]
    engine.pin(largest)
    for _ in range(20):
        engine.run(TEXT)
    assert engine.slow_down == pytest.approx(36.0 / engine.table.median_ms[largest][0], rel=0.05)


class Machine(ElasticSession):
    """The real graph on a machine whose clock and load are made up."""

    def __init__(self, bundle: Bundle, table: LatencyTable) -> None:
        super().__init__(bundle, "fp32", threads=1)
        self.load = 1.0
        self.now = 0.0
        self._seconds = {entry.choice: table.median_ms[name][0] / 1e3 for name, entry in bundle.pool("fp32").items()}

    def run(self, inputs: Any, choice: Any, options: Any = None) -> Any:
        self.now += self.load * self._seconds[tuple(choice)]
        return super().run(inputs, choice, options)


def test_the_size_follows_the_load_down_and_up(bundle: Bundle) -> None:
    table = _table(bundle)
    machine = Machine(bundle, table)
    engine = Engine(Loaded.of(bundle, machine, table), clock=lambda: machine.now)

    def serve(load: float, *, pause_s: float = 0.0) -> list[Classification]:
        machine.load = load
        answers = []
        for _ in range(25):
            machine.now += pause_s
            answers.append(engine.run(TEXT, deadline_ms=20))
        return answers

    # The way up takes seconds, not requests: a size that failed is held back for a while.
    quiet, busy, quiet_again = serve(1.0), serve(4.0), serve(1.0, pause_s=0.5)
    settled = [answers[10:] for answers in (quiet, busy, quiet_again)]
    assert all(answer.deadline_met for answers in settled for answer in answers)
    assert {answer.subnet for answer in settled[0]} == {engine.ladder[0]}
    # Its subnets are nearly as accurate as one another: after three late answers a surer one is worth more.
    assert min(table.median_ms[answer.subnet][0] for answer in settled[2]) > 4.0
    # Under that load 20 ms are worth 5: the subnets of up to 4 ms can be sure to fit.
    assert max(table.median_ms[answer.subnet][0] for answer in settled[1]) <= 4.0
    assert {answer.reason for answer in settled[1]} == {"fits"}
    assert sum(answer.deadline_met is False for answer in busy) <= 3
    assert engine.slow_down == pytest.approx(1.0, rel=0.1)


def test_lists_do_not_teach_the_slow_down_of_single_texts(timed: Callable[..., Engine]) -> None:
    engine = timed(step_ms=36.0)
    for _ in range(5):
        engine.run([TEXT, TEXT])
    assert engine.slow_down == 1.0


def test_the_statistics_count_requests_deadlines_and_switches(timed: Callable[..., Engine]) -> None:
    engine = timed(step_ms=1.0)
    large, small = engine.ladder[0], engine.ladder[-1]
    for name, deadline in [(large, 10), (large, 2), (small, None), (large, 10)]:
        engine.pin(name)
        engine.run(TEXT, deadline_ms=deadline)
    engine.run([TEXT, TEXT])
    stats = engine.stats()
    assert (stats["requests"], stats["met"], stats["missed"], stats["switches"]) == (5, 2, 1, 2)
    assert stats["subnets"] == {**dict.fromkeys(engine.subnets, 0), large: 4, small: 1}


def test_many_threads_get_the_answers_that_one_gets(timed: Callable[..., Engine]) -> None:
    engine = timed(step_ms=0.1)
    texts = [TEXT, "play some music please", "what is the weather", "set a timer for ten minutes"]
    engine.pin(engine.ladder[0])
    alone = {text: engine.run(text).scores for text in texts}
    engine.pin(None)
    failures: list[str] = []

    def repeat(text: str) -> None:
        for _ in range(15):
            answer = engine.run(text, deadline_ms=60_000)
            if answer.subnet != engine.ladder[0] or answer.scores != pytest.approx(alone[text], abs=1e-5):
                failures.append(text)

    workers = [threading.Thread(target=repeat, args=(text,)) for text in texts * 2]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    stats = engine.stats()
    assert stats["requests"] == 4 + 8 * 15
    assert stats["met"] == 8 * 15
    assert sum(stats["subnets"].values()) == stats["requests"]


def test_closing_waits_for_the_running_request(bundle: Bundle) -> None:
    started, proceed = threading.Event(), threading.Event()

    class Waiting(ElasticSession):
        def run(self, inputs: Any, choice: Any, options: Any = None) -> Any:
            started.set()
            assert proceed.wait(30)
            return super().run(inputs, choice, options)

    engine = Engine(Loaded.of(bundle, Waiting(bundle, "fp32", threads=1), _table(bundle)))
    answers: list[Classification] = []
    request = threading.Thread(target=lambda: answers.append(engine.run(TEXT)))
    request.start()
    assert started.wait(30)
    closing = threading.Thread(target=engine.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    proceed.set()
    closing.join(30)
    request.join(30)
    assert len(answers) == 1


def test_after_closing_nothing_runs(tiny_bundle: Path) -> None:
    with Engine.load(tiny_bundle, threads=1, precision="fp32") as engine:
        engine.run(TEXT)
    engine.close()  # a second time does nothing
    for text in (TEXT, [TEXT], []):
        with pytest.raises(EngineClosedError, match="this engine is closed; load another one"):
            engine.run(text)
    assert engine.stats()["requests"] == 1


def test_the_log_has_a_line_for_each_request(timed: Callable[..., Engine], tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    engine = timed(step_ms=1.0, log=log)
    answer = engine.run(TEXT, deadline_ms=40)
    engine.run([TEXT, "play some music"])
    log.close()
    header, single, batch = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (header["ladder"], header["table"]) == (list(engine.ladder), engine.table.to_dict())
    for name in ("subnet", "reason", "latency_ms", "predicted_ms", "deadline_ms"):
        assert single[name] == getattr(answer, name)
    assert single["tokens"] == [answer.tokens]
    assert single["slack_ms"] == pytest.approx(40 - 1 - 0.2)
    assert single["tokenizing_ms"] == pytest.approx(1.0)
    assert single["predicted_ms"] == pytest.approx(single["expected_ms"] * single["factor"])
    assert (single["met"], single["error"], single["level"]) == (True, None, 0)
    assert single["run_ms"] == pytest.approx(1.0)
    assert single["expected_ms"] == engine.table.median_ms[answer.subnet][0]
    assert single["slow_down"] == pytest.approx(engine.slow_down)
    assert (len(batch["tokens"]), batch["deadline_ms"], batch["slack_ms"]) == (2, None, None)


def test_a_log_is_written_when_asked_for_at_loading(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with Engine.load(tiny_bundle, threads=1, precision="fp32", log=path) as engine:
        engine.run(TEXT)
    assert len(path.read_text().splitlines()) == 2


def test_what_nothing_fits_is_refused_where_that_was_asked_for(timed: Callable[..., Engine], tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with contextlib.closing(DecisionLog(path)) as log:
        engine = timed(step_ms=12, objective=Objective(on_miss="reject"), log=log)
        engine.run(TEXT, deadline_ms=60_000)
        with pytest.raises(DeadlineTooShortError, match=r"refused: 0\.\d ms are left of its deadline, and the fastest"):
            engine.run(TEXT, deadline_ms=12.5)
        engine.steer(on_miss="best_effort")
        assert engine.run(TEXT, deadline_ms=12.5).reason == "best_effort"
    assert engine.stats()["failed"] == 1
    (run,) = read_log(path)
    assert [one.outcome for one in run.records] == ["in_time", "rejected", "late"]


def test_what_is_asked_can_change_while_requests_come_and_a_replay_knows_it(
    timed: Callable[..., Engine], tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    with contextlib.closing(DecisionLog(path)) as log:
        engine = timed(step_ms=0.01, log=log)
        ladder, floor = engine.ladder, engine.pool[engine.ladder[1]].accuracy
        assert engine.run(TEXT).subnet == ladder[0]
        engine.steer(min_accuracy=floor, target=0.9)
        assert engine.run(TEXT).subnet == ladder[1]
        assert engine.objective == Objective(target=0.9, min_accuracy=floor)
        engine.steer(min_accuracy=None)
        assert engine.objective == Objective(target=0.9)
        assert engine.run(TEXT).subnet == ladder[0]
        with pytest.raises(InputError, match="target"):
            engine.steer(target=2)
    (run,) = read_log(path)
    assert [after for after, _ in run.changes] == [1, 2]
    assert [decision.name for _, decision, _ in replay(run)] == [record.subnet for record in run.records]


def test_changes_of_two_threads_at_once_are_both_kept(timed: Callable[..., Engine]) -> None:
    engine = timed(step_ms=0.01)
    floor = engine.pool[engine.ladder[1]].accuracy
    change, taken = engine._answering._controller.steer, threading.Event()

    def slowly(objective: Objective) -> None:
        taken.set()
        time.sleep(0.05)  # in which the other thread comes
        change(objective)

    engine._answering._controller.steer = slowly  # type: ignore[method-assign]
    other = threading.Thread(target=lambda: engine.steer(min_accuracy=floor))
    other.start()
    assert taken.wait(30)
    engine.steer(target=0.9)
    other.join()
    assert engine.objective == Objective(target=0.9, min_accuracy=floor)


def test_a_graph_that_throws_is_counted_and_logged(
    timed: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    engine = timed(step_ms=1.0, log=log)

    def throw(*_: object) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no memory"):
        patch.setattr(ElasticSession, "run", throw)
        engine.run(TEXT, deadline_ms=40)
    engine.run(TEXT)
    log.close()
    ((failed, answered),) = (run.records for run in read_log(tmp_path / "log.jsonl"))
    assert (failed.error, failed.met, failed.run_ms) == ("RuntimeError", None, None)
    assert (answered.error, answered.outcome) == (None, "no_deadline")
    assert (engine.stats()["failed"], engine.stats()["requests"]) == (1, 1)


def test_an_output_that_cannot_be_read_is_counted_as_a_failure(
    timed: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def misread(*_: Any, **__: Any) -> None:
        raise ValueError("three logits for two labels")

    engine = timed(step_ms=0.01)
    monkeypatch.setattr("gearshift.runtime.reading.reading.read_answer", misread)
    with pytest.raises(ValueError, match="three logits"):
        engine.run(TEXT)
    assert (engine.stats()["failed"], engine.stats()["requests"]) == (1, 0)


def test_the_log_alone_gives_the_same_decisions_again(timed: Callable[..., Engine], tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    engine = timed(step_ms=4.0, log=log)
    for number in range(40):
        engine.run(TEXT, deadline_ms=13.0 + number)
    log.close()
    (logged,) = read_log(tmp_path / "log.jsonl")
    for record, decision, _ in replay(logged):
        assert (decision.name, decision.reason) == (record.subnet, record.reason)
        assert decision.predicted_ms == pytest.approx(record.predicted_ms, rel=1e-9)
    assert len({record.subnet for record in logged.records}) > 1


def test_a_log_that_cannot_be_written_is_said_at_loading(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the decision log could not be opened"):
        Engine.load(tiny_bundle, log=tmp_path)


def test_a_saved_profile_replaces_the_measuring(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with Engine.load(tiny_bundle, threads=1) as first:
        first.save_profile(path)
    assert load_profile(path).tables == (first.table,)
    with Engine.load(tiny_bundle, threads=1, profile=path) as second:
        assert second.table == first.table
        assert second.precision == first.precision
        assert second.run(TEXT).label in second.labels


def test_a_profile_for_other_threads_is_refused_with_what_to_do(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with Engine.load(tiny_bundle, threads=1, precision="fp32") as engine:
        engine.save_profile(path)
    with pytest.raises(
        ProfileError, match=r"with 2 threads on .*, found fp32 with 1 threads on .*; load the engine without"
    ):
        Engine.load(tiny_bundle, threads=2, profile=path)


def test_a_profile_of_another_bundle_is_refused(tiny_bundle: Path, bundle_copy: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    change_manifest(bundle_copy, made_by="somebody else")
    with Engine.load(bundle_copy, threads=1, precision="fp32") as engine:
        engine.save_profile(path)
    with pytest.raises(ProfileError, match="found none of this bundle"):
        Engine.load(tiny_bundle, threads=1, profile=path)


def test_an_altered_bundle_is_not_loaded(bundle_copy: Path) -> None:
    (bundle_copy / "fp32.weights").write_bytes(b"x")
    with pytest.raises(IntegrityError, match=r"fp32\.weights: expected \d+ bytes, found 1"):
        Engine.load(bundle_copy)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 0}, InputError, "threads: expected a whole number"),
        ({"threads": "2"}, InputError, "threads: expected a whole number"),
        ({"threads": 1025}, InputError, "threads: expected a whole number from 1 to 1024, got 1025"),
        ({"precision": "int4"}, BundleError, "no int4 graph"),
        ({"target": 1.0}, InputError, "target: expected a share"),
        ({"min_accuracy": 1.5}, InputError, "min_accuracy: expected a share"),
        ({"min_accuracy": 0.9999}, InputError, "min_accuracy: expected at most"),
        ({"queue_limit": 0}, InputError, "queue limit: expected a whole number"),
        ({"rules": None}, InputError, "rules: expected Rules, got None"),
        ({"batch": 8}, InputError, "batch: expected True or False, got 8"),
        ({"max_cpu_share": 0}, InputError, "max_cpu_share: expected a share"),
        ({"on_miss": "cry"}, InputError, "on_miss: expected best_effort or reject, got 'cry'"),
        ({"providers": ["Nope"]}, InputError, "providers: expected a list"),
        ({"profile": "no-such-file.json"}, ProfileError, "no-such-file.json"),
    ],
)
def test_an_option_that_cannot_be_is_refused(
    tiny_bundle: Path, options: dict[str, Any], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: Any) -> None:
        pytest.fail("it was refused after the slow part")

    monkeypatch.setattr("gearshift.runtime.startup.measure_table", measure)
    with pytest.raises(error, match=message):
        Engine.load(tiny_bundle, **options)


def test_a_task_of_a_newer_version_is_refused(bundle_copy: Path) -> None:
    change_manifest(bundle_copy, task="tagging")
    with pytest.raises(SchemaError, match=r"expected a task out of classification, .*multi-task, found 'tagging'"):
        Engine.load(bundle_copy)
