"""Times between the measured lengths: of parts that add up, and of whole calls."""

from __future__ import annotations

import dataclasses

import pytest

from gearshift.device_profiles.latency_table import interpolate, predict, time_at
from tests.device_profiles.test_profile import TABLE

LENGTHS = (16, 64, 128)


@pytest.mark.parametrize(
    ("length", "expected"), [(4, 10.0), (16, 10.0), (40, 25.0), (64, 40.0), (128, 72.0), (256, 136.0)]
)
def test_rising_times_lie_on_straight_lines_the_last_of_which_goes_on(length: int, expected: float) -> None:
    for rule in (interpolate, time_at):
        assert rule(LENGTHS, (10.0, 40.0, 72.0), length) == pytest.approx(expected)


def test_beyond_the_longest_no_time_falls() -> None:
    for rule in (interpolate, time_at):
        assert rule(LENGTHS, (10.0, 40.0, 36.0), 256) == 36.0


def test_a_part_is_as_it_was_measured_where_a_whole_call_takes_no_less_than_the_shortest() -> None:
    times = (10.0, 8.0, 12.0)
    assert [interpolate(LENGTHS, times, length) for length in LENGTHS] == list(times)
    assert [time_at(LENGTHS, times, length) for length in LENGTHS] == [10.0, 10.0, 12.0]


@pytest.mark.parametrize(("length", "expected"), [(4, 10.0), (16, 10.0), (32, 20.0)])
def test_of_one_length_longer_texts_cost_in_proportion(length: int, expected: float) -> None:
    for rule in (interpolate, time_at):
        assert rule((16,), (10.0,), length) == expected


def test_a_table_predicts_by_the_rule_of_whole_calls_times_the_batch() -> None:
    falling = dataclasses.replace(TABLE, median_ms={"w100-d100": (9.0, 7.0)}, p95_ms={"w100-d100": (9.0, 7.0)})
    for table in (TABLE, falling):
        for length in (4, 16, 40, 64, 100):
            expected = 3 * time_at(table.lengths, table.median_ms["w100-d100"], length)
            assert predict(table, "w100-d100", length, batch=3) == expected
