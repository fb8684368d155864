"""A DAN as the lowest gear of an engine."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import IntegrityError, SchemaError, SelfTestError
from gearshift.runtime import Classification, Engine
from gearshift.runtime.batches import one
from gearshift.runtime.bench.plan import Plan
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.dan.model import open_dan
from gearshift.runtime.inference.executors import DanExecutor
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.self_test import check_dan
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import TextEncoder
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.startup import Loaded
from tests.runtime.altered import add_dan, change_self_test
from tests.runtime.bench.machine import DAN_MS, Machine
from tests.runtime.dans import TEXTS, made_dan, made_table


@pytest.fixture(scope="module")
def dan_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with a DAN that is less accurate than all of it."""
    path = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("dan") / "with.gearshift")
    add_dan(path, made_dan(len(open_bundle(path).manifest.labels)), TEXTS, accuracy=0.01)
    return open_bundle(path)


@pytest.fixture(scope="module")
def engine(dan_bundle: Bundle) -> Iterator[Engine]:
    """Real parts, but for times: those of the tiny graph are too near to a DAN's."""
    with contextlib.closing(ElasticSession(dan_bundle, "fp32", threads=1)) as session:
        ranked = sorted(dan_bundle.entries("fp32").values(), key=lambda entry: entry.accuracy)
        times: dict[str, tuple[float, ...]] = {entry.name: (0.02 + rank,) * 2 for rank, entry in enumerate(ranked)}
        with Engine(Loaded.of(dan_bundle, session, made_table(times, dan_bundle.hash))) as made:
            yield made


def test_loading_measures_it_beside_the_graph(dan_bundle: Bundle, tmp_path: Path) -> None:
    with Engine.load(dan_bundle.path, threads=1, sensors=False) as engine:
        assert engine.table.median_ms.keys() == engine.pool.keys() and engine.subnets[-1] == "dan"
        assert all(ms > 0 for ms in engine.table.median_ms["dan"])
        engine.save_profile(tmp_path / "profile.json")
        with Engine.load(
            dan_bundle.path, profile=tmp_path / "profile.json", precision=engine.precision, threads=1
        ) as again:
            assert again.table == engine.table


def test_it_is_the_last_rung(engine: Engine) -> None:
    assert engine.ladder[-1] == "dan" and engine.pool["dan"].accuracy == 0.01


def test_it_answers_where_nothing_else_is_in_time_and_in_the_same_shape(engine: Engine, dan_bundle: Bundle) -> None:
    answer = engine.run(TEXTS[0], deadline_ms=1e-3)
    assert isinstance(answer, Classification) and answer.subnet == "dan" and answer.reason == "best_effort"
    logits = open_dan(dan_bundle.path / "dan.safetensors").logits(TEXTS[0])[0]
    assert tuple(answer.scores) == engine.labels
    assert answer.label == engine.labels[int(logits.argmax())]
    assert list(answer.scores.values()) == pytest.approx((np.exp(logits) / np.exp(logits).sum()).tolist(), rel=1e-5)


def test_with_time_to_spare_the_transformer_answers(engine: Engine) -> None:
    assert engine.run(TEXTS[0], deadline_ms=60_000).subnet != "dan"
    assert engine.run(TEXTS[0]).subnet != "dan"


def test_it_can_be_pinned_and_answers_lists(engine: Engine) -> None:
    engine.pin("dan")
    try:
        alone = [engine.run(text) for text in TEXTS]
        together = engine.run([*TEXTS])
        queued = engine.submit(TEXTS[0]).result()
    finally:
        engine.pin(None)
    assert [answer.scores for answer in together] == [answer.scores for answer in alone]
    assert {answer.subnet for answer in (*alone, *together, queued)} == {"dan"}
    assert queued.scores == alone[0].scores
    assert engine.warm_up((4,)) == len(engine.ladder)


@pytest.mark.parametrize("text", ["zzz", "!?"])
def test_a_text_without_a_known_word_is_answered_by_the_biases(engine: Engine, text: str) -> None:
    engine.pin("dan")
    try:
        answer, other = engine.run(text), engine.run("qqq")
    finally:
        engine.pin(None)
    assert answer.scores == other.scores


def test_a_pair_is_one_text_for_a_dan_of_single_texts(dan_bundle: Bundle) -> None:
    encoder, run = TextEncoder(dan_bundle), DanExecutor(made_dan(3))
    pair = encoder.encode([("turn the lights", "off")])
    np.testing.assert_array_equal(run(pair, None), run(encoder.encode([TEXTS[0]]), None))


def test_a_single_text_is_half_a_pair_for_a_dan_of_pairs(dan_bundle: Bundle) -> None:
    dan = made_dan(3, paired=True)
    found = DanExecutor(dan)(TextEncoder(dan_bundle).encode([TEXTS[0], (TEXTS[0], TEXTS[1])]), None)
    np.testing.assert_array_equal(found, dan.run([(TEXTS[0], ""), (TEXTS[0], TEXTS[1])]))


def test_its_self_test_says_what_was_wrong(dan_bundle: Bundle, tmp_path: Path) -> None:
    check_dan(dan_bundle)
    path = shutil.copytree(dan_bundle.path, tmp_path / "copy.gearshift")
    change_self_test(path, lambda name, array: array + 1 if name == "logits.int8.dan" else array)
    with pytest.raises(SelfTestError, match=r"self-test of dan: largest difference .* found 1"):
        Engine.load(path)
    change_self_test(path, lambda name, array: None if name == "texts.int8.dan" else array)
    with pytest.raises(SchemaError, match="no self-test of dan"):
        Engine.load(path)


def test_a_dan_that_was_cut_off_is_not_loaded(dan_bundle: Bundle, tmp_path: Path) -> None:
    path = shutil.copytree(dan_bundle.path, tmp_path / "copy.gearshift")
    (path / "dan.safetensors").write_bytes((path / "dan.safetensors").read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"dan\.safetensors: expected \d+ bytes"):
        Engine.load(path)


@pytest.mark.parametrize("length", [1, 2, 5, 16, 32])
def test_it_is_timed_on_text_of_the_length_that_is_asked_for(
    dan_bundle: Bundle, session: ElasticSession, length: int
) -> None:
    opened = Opened.of(dan_bundle, session)
    ((text,),) = opened.random_text(length).parts
    assert opened.encoder.encode([text]).tokens[0] == max(3, length)


def _three(dan_ms: float) -> LatencyTable:
    return made_table({"large": (8.0,) * 2, "small": (2.0,) * 2, "dan": (dan_ms,) * 2})


ACCURACIES = {"large": 0.9, "small": 0.8, "dan": 0.7}


def test_what_it_takes_says_nothing_about_the_slow_down_of_the_transformer() -> None:
    """The interpreter's hiccups are many times the time of a DAN; the transformer must not be thought slower for it."""
    controller = Controller(ACCURACIES, _three(0.03), dan="dan")
    for request in range(200):
        decision = controller.decide(work=one(16), slack_ms=0.5, now=request / 1e3)
        assert decision.name == "dan"
        controller.record(decision, run_ms=1.0, met=True, now=request / 1e3)
    assert controller.slow_down == 1.0
    assert controller.decide(work=one(16), slack_ms=None, now=0.3).predicted_ms < 3 * 8


def test_under_overload_it_keeps_the_deadlines_that_the_transformer_misses() -> None:
    """One server, 2 ms for the smallest subnet, a request every millisecond with a deadline of 6 ms."""

    def met(accuracies: dict[str, float]) -> float:
        controller, table = Controller(accuracies, _three(0.03), dan="dan"), _three(0.03)
        free, kept, count = 0.0, 0, 2000
        for request in range(count):
            arrival = request * 1e-3
            start = max(free, arrival)
            slack = 6.0 - (start - arrival) * 1e3
            if slack <= 0:
                continue
            decision = controller.decide(work=one(16), slack_ms=slack, now=start, deadline_ms=6.0)
            took = table.median_ms[decision.name][0]
            free = start + took / 1e3
            in_time = free <= arrival + 6e-3
            controller.record(decision, run_ms=took, met=in_time, now=free)
            kept += in_time
        return kept / count

    assert met(ACCURACIES) > 0.99
    assert met({name: ACCURACIES[name] for name in ("large", "small")}) < 0.6


def test_a_calibration_times_the_dan_beside_the_graph(dan_bundle: Bundle) -> None:
    plan = Plan.of(dan_bundle, lengths=(4, 16), threads=(1,), precisions=("int8",), budget_s=1.5)
    found = Machine(dan_bundle).calibrate(dan_bundle, plan, operators=False)
    (measured,) = found.measured
    table = measured.table(dan_bundle, found.date)
    assert table.median_ms.keys() == dan_bundle.entries("int8").keys()
    assert table.median_ms["dan"] == (DAN_MS, DAN_MS)
    assert found.to_dict()["conditions"][0]["subnets"][-1]["subnet"] == "dan"
