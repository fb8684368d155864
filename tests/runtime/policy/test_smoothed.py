"""Accuracies of a pool rise with time where rows are too few to tell, and the luck of some rows chooses nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import InputError
from gearshift.runtime.batches import one
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.engine import Engine
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.ladder import expected, isotonic, ladder_of, noise, smoothed
from gearshift.runtime.policy.objective import Objective
from gearshift.runtime.sensors.caps import Caps
from gearshift.runtime.serving.decision_log import DecisionLog, read_log
from gearshift.runtime.simulate.simulator import Ladder
from gearshift.runtime.startup import Loaded

SNIPS = {
    "w025-d050": (4.2, 0.9643),
    "w025-d075": (5.4, 0.9743),
    "w050-d050": (6.0, 0.9643),
    "w025-d100": (6.5, 0.9686),
    "w050-d075": (9.2, 0.9743),
    "w100-d050": (10.1, 0.9671),
    "w050-d100": (11.4, 0.9700),
    "w075-d075": (13.3, 0.9786),
    "w075-d100": (16.4, 0.9743),
    "w100-d100": (22.0, 0.9786),
}
"""Subnets of an int8 supernet on 700 rows of SNIPS: ms and accuracy, by which a quarter-width net is the best of the
six fastest, .4 points above a half-width one."""
ACCURACIES = {name: accuracy for name, (_, accuracy) in SNIPS.items()}


def table_of(times: dict[str, float], bundle_hash: str = "0" * 64) -> LatencyTable:
    medians: dict[str, tuple[float, ...]] = {name: (ms,) for name, ms in times.items()}
    return LatencyTable(
        bundle_hash, "fp32", "CPUExecutionProvider", 1, (16,), medians, medians, 1, "by hand", "2026-01-31"
    )


TABLE = table_of({name: ms for name, (ms, _) in SNIPS.items()})


@pytest.mark.parametrize(
    ("values", "risen"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([3.0, 1.0], [2.0, 2.0]),
        ([1.0, 3.0, 2.0, 4.0], [1.0, 2.5, 2.5, 4.0]),
        ([10.0, 0.0, 6.0], [5.0, 5.0, 6.0]),
        ([4.0, 5.0, 1.0, 3.0], [3.25, 3.25, 3.25, 3.25]),  # (5 + 1) / 2 < 4, then all four
        ([2.0], [2.0]),
        ([], []),
    ],
)
def test_neighbours_that_fall_are_pooled_until_all_rise(values: list[float], risen: list[float]) -> None:
    assert isotonic(values) == pytest.approx(risen)


def test_no_other_rising_sequence_is_nearer() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        values = random.normal(size=6)
        found = np.array(isotonic(values.tolist()))
        assert (np.diff(found) >= 0).all() and found.mean() == pytest.approx(values.mean())
        others = np.sort(found + random.normal(scale=0.3, size=(500, 6)), axis=1)
        assert ((others - values) ** 2).sum(1).min() >= ((found - values) ** 2).sum()


def test_noise_is_two_standard_errors_and_more_rows_make_it_less() -> None:
    assert noise(0.5, 996) == pytest.approx(2 * (0.25 / 1000) ** 0.5)
    assert noise(0.97, 700) > noise(0.97, 7000) > 0
    assert noise(1.0, 100) > 0.02  # no wrong row among a hundred is no proof that there is none


def test_a_quarter_width_net_is_not_the_more_accurate_by_luck() -> None:
    found = smoothed(ACCURACIES, expected(TABLE), rows=700)
    values = [found[name] for name in SNIPS]  # in the order of their times
    assert values == sorted(values)
    assert found["w050-d100"] >= found["w025-d075"] and ACCURACIES["w050-d100"] < ACCURACIES["w025-d075"]
    assert ladder_of(ACCURACIES, TABLE) == ("w075-d075", "w025-d075", "w025-d050")
    assert ladder_of(found, TABLE) == ("w100-d100", "w075-d075", "w050-d075", "w025-d075", "w025-d050")


def test_with_enough_rows_what_was_measured_stays() -> None:
    found = smoothed(ACCURACIES, expected(TABLE), rows=1_000_000)
    assert ladder_of(found, TABLE) == ladder_of(ACCURACIES, TABLE)
    assert all(found[name] == pytest.approx(ACCURACIES[name]) for name in ladder_of(found, TABLE))


def test_a_slow_subnet_that_is_clearly_worse_drags_nothing_down_and_is_no_rung() -> None:
    times, accuracies = {"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 0.77, "b": 0.60, "c": 0.83}
    found = smoothed(accuracies, times, rows=1500)
    assert found == accuracies
    assert ladder_of(found, table_of(times)) == ("c", "a")


def test_of_equally_fast_subnets_the_best_stands_for_all() -> None:
    times, accuracies = {"a": 1.0, "b": 1.0, "c": 2.0}, {"a": 0.90, "b": 0.89, "c": 0.88}
    found = smoothed(accuracies, times, rows=500)
    assert found == {"a": pytest.approx(0.89), "b": pytest.approx(0.89), "c": pytest.approx(0.89)}
    assert ladder_of(found, table_of(times)) == ("a",)


def test_without_a_number_of_rows_nothing_is_smoothed() -> None:
    assert smoothed(ACCURACIES, expected(TABLE), rows=0) == ACCURACIES


@pytest.mark.parametrize("rows", [20, 200, 2000, 100_000])
def test_a_subnet_that_a_faster_one_clearly_beats_is_on_no_ladder(rows: int) -> None:
    random = np.random.default_rng(rows)
    beaten = 0
    for _ in range(100):
        accuracies = {name: float(value) for name, value in zip(SNIPS, random.uniform(0.5, 1, 10), strict=True)}
        ladder = ladder_of(smoothed(accuracies, expected(TABLE), rows), TABLE)
        for place, name in enumerate(SNIPS):
            best = max((accuracies[faster] for faster in list(SNIPS)[:place]), default=0.0)
            if accuracies[name] < best - noise(best, rows):
                beaten += 1
                assert name not in ladder
    assert beaten


def test_controller_and_simulator_have_the_same_ladder() -> None:
    controller, ladder = Controller(ACCURACIES, TABLE, rows=700), Ladder.of(ACCURACIES, TABLE, rows=700)
    assert controller.ladder == ladder.names != Controller(ACCURACIES, TABLE).ladder
    assert ladder.accuracies == tuple(controller.accuracies[name] for name in ladder.names)
    assert Controller(controller.accuracies, TABLE).ladder == controller.ladder  # as a log is replayed


def test_outcomes_are_measured_by_what_was_not_chosen_by() -> None:
    of_test = dict.fromkeys(SNIPS, 0.5)
    ladder = Ladder.of(ACCURACIES, TABLE, rows=700, reported=of_test)
    assert ladder.names == Ladder.of(ACCURACIES, TABLE, rows=700).names
    assert set(ladder.reported) == {0.5}


# The engine


def with_dev(bundle: Bundle, dev: dict[str, float], rows: int) -> Bundle:
    pool = tuple(dataclasses.replace(entry, dev_accuracy=dev[entry.name]) for entry in bundle.manifest.pool)
    manifest = dataclasses.replace(bundle.manifest, pool=pool, chosen_by="dev", dev_rows=rows)
    return dataclasses.replace(bundle, manifest=manifest)


def test_the_engine_chooses_by_dev_rows_and_shows_the_test_rows(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    names = list(bundle.pool("fp32"))
    table = table_of({name: float(len(names) - place) for place, name in enumerate(names)}, bundle.hash)
    dev = {name: 0.9 - 0.1 * (name != names[1]) for name in names}  # the second is the best by far
    ladders = []
    for opened in (bundle, with_dev(bundle, dev, rows=5000)):
        with Engine(Loaded.of(opened, ElasticSession(opened, "fp32", threads=1), table)) as engine:
            ladders.append(tuple(engine.ladder))
            assert engine.pool[names[0]].accuracy == bundle.entry(names[0], "fp32").accuracy
    assert ladders[1] == (names[1], names[-1])
    assert ladders[0] == ladder_of({name: entry.accuracy for name, entry in bundle.pool("fp32").items()}, table)


def test_a_floor_of_accuracy_is_one_on_dev_rows(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    names = list(bundle.pool("fp32"))
    table = table_of({name: float(len(names) - place) for place, name in enumerate(names)}, bundle.hash)
    dev = {name: 0.3 - 0.01 * place for place, name in enumerate(names)}
    accuracies = {name: entry.choosing_accuracy for name, entry in with_dev(bundle, dev, 10).pool("fp32").items()}
    assert accuracies == dev
    made = Controller(accuracies, table, Objective(min_accuracy=dev[names[3]]), rows=10**7)
    assert made.ladder == tuple(names)
    assert made.decide(work=one(16), slack_ms=None, now=0.0).name == names[3]


STATED = {"slow": 0.91, "twin": 0.905, "fast": 0.92, "unlucky": 0.88, "fastest": 0.80}
"""Accuracies on so few rows that slow and twin, and fast and unlucky, are taken for equal, .9075 and .9."""


@pytest.fixture
def times() -> LatencyTable:
    return table_of({"twin": 10.0, "slow": 5.0, "unlucky": 3.0, "fast": 2.5, "fastest": 2.0})


def test_a_floor_is_compared_with_what_is_shown_not_with_what_was_smoothed(times: LatencyTable) -> None:
    made = Controller(STATED, times, rows=100)
    assert made.ladder == ("slow", "fast", "fastest")
    assert made.accuracies == pytest.approx({**STATED, "slow": 0.9075, "twin": 0.9075, "fast": 0.9, "unlucky": 0.9})
    for floor, free, enough in (
        (0.80, "fastest", {"slow", "fast", "fastest"}),
        (0.905, "fast", {"slow", "fast"}),
        (0.91, "fast", {"slow", "fast"}),
        (0.915, "fast", {"fast"}),
        (0.92, "fast", {"fast"}),
    ):
        made.steer(Objective(min_accuracy=floor))
        assert made.decide(work=one(16), slack_ms=None, now=0.0).name == free
        asked = [made.decide(work=one(16), slack_ms=slack, now=0.0).name for slack in (0.01, 3.0, 4.0, 6.0, 20.0, 1e6)]
        assert set(asked) == enough, floor
        capped = made.decide(work=one(16), slack_ms=1e6, now=0.0, caps=Caps(1))
        assert STATED[capped.name] >= floor
    with pytest.raises(
        InputError, match=r"^min_accuracy: expected at most 0\.92, that of fast, the best on this device"
    ):
        made.steer(Objective(min_accuracy=0.9201))


def test_a_log_has_what_a_floor_is_compared_with(times: LatencyTable, tmp_path: Path) -> None:
    floor = Objective(min_accuracy=0.92)
    log = DecisionLog(tmp_path / "log")
    for rows in (100, 0):
        log.begin(made := Controller(STATED, times, floor if rows else Objective(), rows=rows), times)
        header = read_log(tmp_path / "log")[-1].header
        assert header.accuracies == made.accuracies
        assert header.stated == (STATED if rows else None)
        again = Controller(header.accuracies, header.table, header.objective, stated=header.stated)
        assert again.decide(work=one(16), slack_ms=None, now=0.0) == made.decide(work=one(16), slack_ms=None, now=0.0)
    log.close()
