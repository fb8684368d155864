from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.device_profiles.latency_table import predict
from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.policy.slow_down import STATE_RANGE, SlowDown


def _table(lengths: tuple[int, ...], times: tuple[float, ...]) -> LatencyTable:
    return LatencyTable(
        bundle_hash="0" * 64,
        precision="fp32",
        provider="CPUExecutionProvider",
        threads=1,
        lengths=lengths,
        median_ms={"s": times},
        p95_ms={"s": times},
        runs=1,
        method="by hand",
        date="2026-01-31",
    )


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, 2.0), (8, 2.0), (12, 3.0), (16, 4.0), (32, 6.0), (48, 8.0), (64, 10.0), (128, 18.0)],
)
def test_a_prediction_lies_on_the_lines_between_the_measured_lengths(length: int, expected: float) -> None:
    table = _table((8, 16, 64), (2.0, 4.0, 10.0))
    assert predict(table, "s", length) == pytest.approx(expected)


def test_a_batch_costs_its_number_of_texts() -> None:
    assert predict(_table((8, 16), (2.0, 4.0)), "s", 16, batch=3) == 12.0


def test_a_falling_measurement_is_noise_and_not_followed_beyond_the_last_length() -> None:
    table = _table((8, 16), (2.0, 1.9))
    assert predict(table, "s", 64) == 2.0
    assert predict(table, "s", 16) == 2.0


def test_one_measured_length_is_enough() -> None:
    table = _table((16,), (4.0,))
    assert predict(table, "s", 8) == 4.0
    assert predict(table, "s", 32) == 8.0


@given(
    st.lists(st.integers(1, 512), min_size=1, max_size=5, unique=True).map(sorted),
    st.lists(st.floats(0.01, 100), min_size=5, max_size=5),
    st.integers(1, 1024),
)
def test_a_prediction_is_never_below_that_of_the_shortest_length(
    lengths: list[int], times: list[float], length: int
) -> None:
    predicted = predict(_table(tuple(lengths), tuple(times[: len(lengths)])), "s", length)
    assert math.isfinite(predicted)
    assert predicted >= times[0]


def _feed(slow_down: SlowDown, ratios: list[float], start: float = 0.0, step_s: float = 0.05) -> float:
    now = start
    for ratio in ratios:
        now += step_s
        slow_down.update(ratio, now)
    return now


def _noisy(level: float, count: int, seed: int = 0, deviation: float = 0.05) -> list[float]:
    noise = random.Random(seed)
    return [level * math.exp(noise.gauss(0, deviation)) for _ in range(count)]


def test_before_anything_was_seen_the_table_is_believed_with_a_margin() -> None:
    slow_down = SlowDown()
    assert slow_down.value == 1.0
    assert 1.2 < slow_down.tail_factor(0.0) < 2.0


@pytest.mark.parametrize("level", [0.5, 1.0, 1.7, 10.0])
def test_a_constant_load_is_learnt(level: float) -> None:
    slow_down = SlowDown()
    now = _feed(slow_down, _noisy(level, 60))
    assert slow_down.value == pytest.approx(level, rel=0.05)
    assert level < slow_down.tail_factor(now) < 1.3 * level


@pytest.mark.parametrize(("before", "after"), [(1.0, 2.5), (2.5, 1.0), (1.0, 20.0)])
def test_a_step_of_the_load_is_followed_by_the_fourth_request(before: float, after: float) -> None:
    slow_down = SlowDown()
    now = _feed(slow_down, _noisy(before, 100))
    _feed(slow_down, _noisy(after, 3, seed=1), now)
    assert slow_down.value == pytest.approx(after, rel=0.15)


def test_one_outlier_hardly_moves_it() -> None:
    slow_down = SlowDown()
    now = _feed(slow_down, _noisy(1.0, 100))
    _feed(slow_down, [30.0], now)
    assert slow_down.value < 1.2


def test_outliers_on_both_sides_are_no_step() -> None:
    slow_down = SlowDown()
    now = _feed(slow_down, _noisy(1.0, 100))
    _feed(slow_down, [8.0, 0.125] * 3, now)
    assert 0.6 < slow_down.value < 1.6


def test_idle_time_makes_it_careful() -> None:
    slow_down = SlowDown()
    now = _feed(slow_down, _noisy(1.0, 100))
    factors = [slow_down.tail_factor(now + idle) for idle in (0.0, 1.0, 10.0, 100.0, 1e6)]
    assert factors == sorted(factors)
    assert factors[0] < factors[2]
    assert factors[3] == factors[4]  # knowing nothing is the worst there is


def test_a_clock_that_goes_back_is_no_idle_time() -> None:
    slow_down = SlowDown()
    now = _feed(slow_down, _noisy(1.0, 10))
    assert slow_down.tail_factor(now - 50) == slow_down.tail_factor(now)


# Distributions of the noise of one run, none of them the log-normal that the filter assumes.
NOISES: dict[str, Callable[[random.Random], float]] = {
    "uniform": lambda noise: noise.uniform(0.8, 1.3),
    "now and then three times as long": lambda noise: 3.0 if noise.random() < 0.08 else 1.0,
    "heavy tail": lambda noise: noise.paretovariate(3.0),
}


# Where 92 % of the runs are alike, no tail keeps 80 %.
@pytest.mark.parametrize(
    ("noise", "target"), [*((noise, 0.95) for noise in NOISES), ("uniform", 0.8), ("heavy tail", 0.8)]
)
def test_the_share_within_the_tail_is_the_target_whatever_the_noise(noise: str, target: float) -> None:
    random_source = random.Random(7)
    slow_down = SlowDown(target=target)
    now, within, count = 0.0, 0, 4000
    for _ in range(count):
        now += random_source.expovariate(10)
        level = 2.0 if int(now / 5) % 2 else 1.0  # load that comes and goes
        ratio = level * NOISES[noise](random_source)
        within += ratio <= slow_down.tail_factor(now)
        slow_down.update(ratio, now)
    assert within / count == pytest.approx(target, abs=0.015)


@pytest.mark.parametrize("ratio", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_a_ratio_that_makes_no_sense_is_ignored(ratio: float) -> None:
    slow_down = SlowDown()
    now = _feed(slow_down, _noisy(1.5, 20))
    before = slow_down.value, slow_down.tail_factor(now + 1)
    slow_down.update(ratio, now + 0.5)
    assert (slow_down.value, slow_down.tail_factor(now + 1)) == before


@given(st.lists(st.tuples(st.floats(), st.floats(0, 1e6)), max_size=60))
def test_it_stays_finite_and_in_bounds_whatever_it_is_fed(updates: list[tuple[float, float]]) -> None:
    slow_down = SlowDown()
    now = 0.0
    for ratio, idle in updates:
        now += idle
        slow_down.update(ratio, now)
    assert math.exp(STATE_RANGE[0]) * 0.999 <= slow_down.value <= math.exp(STATE_RANGE[1]) * 1.001
    assert 0 < slow_down.tail_factor(now) < math.inf


def test_a_lone_outlier_is_covered_until_the_next_request() -> None:
    slow_down, now = SlowDown(), 0.0
    for _ in range(50):
        now += 0.1
        slow_down.update(1.0, now)
    slow_down.update(3.0, now + 0.1)
    assert slow_down.suspected > 3.0 > slow_down.tail_factor(now + 0.1)
    slow_down.update(1.0, now + 0.2)
    assert slow_down.suspected == 0.0


def test_outliers_that_never_were_a_step_are_taken_for_one_no_more() -> None:
    slow_down, now = SlowDown(), 0.0
    covered = []
    for number in range(400):
        now += 0.1
        slow_down.update(3.0 if number % 40 == 39 else 1.0 + 0.02 * (number % 2), now)
        if number % 40 == 39:
            covered.append(slow_down.suspected > 0)
    assert covered[0]
    assert not any(covered[3:])


def test_another_target_moves_the_tail_and_keeps_what_was_learnt() -> None:
    slow_down, now = SlowDown(target=0.9), 0.0
    for number in range(200):
        now += 0.1
        slow_down.update(2.0 * math.exp(0.05 * math.sin(number)), now)
    value, before = slow_down.value, slow_down.tail_factor(now)
    slow_down.aim(0.99, adaptation=0.1)
    assert slow_down.value == value
    assert slow_down.tail_factor(now) > before
    slow_down.aim(0.9, adaptation=0.1)
    assert slow_down.tail_factor(now) == pytest.approx(before)
