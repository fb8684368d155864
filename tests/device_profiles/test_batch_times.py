"""Times of calls of several texts: what was measured, what lies between, and every way to be wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gearshift.device_profiles import LatencyTable
from gearshift.device_profiles.batch_times import BatchTimes
from gearshift.device_profiles.latency_table import predict
from gearshift.errors import ProfileError
from tests.device_profiles.test_profile import TABLE

BATCHES = BatchTimes(
    texts=(2, 4, 8),
    lengths=(16, 64),
    shares={"w100-d100": ((0.8, 0.6, 0.5), (0.9, 0.8)), "w050-d100": ((0.6, 0.4, 0.25), (0.7, 0.6))},
)


@pytest.mark.parametrize(
    ("length", "texts", "share"),
    [
        (16, 2, 0.8),
        (16, 8, 0.5),
        (16, 100, 0.5),  # beyond the largest number
        (8, 4, 0.6),  # below the shortest length
        (64, 4, 0.8),
        (64, 8, 0.8),  # so many long ones were not timed
        (500, 2, 0.9),
        (40, 2, 0.85),  # half-way between the lengths
    ],
)
def test_a_share_is_what_was_measured_and_stays_beyond_it(length: int, texts: int, share: float) -> None:
    assert BATCHES.share("w100-d100", length, texts) == pytest.approx(share)


def test_between_two_numbers_of_texts_the_time_of_the_call_lies_on_a_straight_line() -> None:
    times = [n * BATCHES.share("w100-d100", 16, n) for n in (2, 3, 4)]  # 1.6, ?, 2.4 times that of one text
    assert times == pytest.approx([1.6, 2.0, 2.4])


def test_a_table_with_shares_predicts_a_call_of_several_texts_by_them_and_one_of_one_text_as_before() -> None:
    table = dataclasses.replace(TABLE, batches=BATCHES)
    for name, length in (("w100-d100", 16), ("w050-d100", 40)):
        one = predict(TABLE, name, length)
        assert predict(table, name, length) == one
        assert predict(table, name, length, 4) == pytest.approx(4 * one * BATCHES.share(name, length, 4))
        assert predict(TABLE, name, length, 4) == 4 * one


def test_a_subnet_that_was_not_timed_so_lies_between_those_that_were_by_its_time() -> None:
    middle = (4.5 * 2.5) ** 0.5  # at 16 tokens, half-way on the log scale
    times = {**TABLE.median_ms, "w075-d100": (middle, 9.0), "tiny": (0.1, 0.2), "huge": (9.0, 20.0)}
    table = dataclasses.replace(TABLE, median_ms=times, p95_ms=times, batches=BATCHES)
    assert predict(table, "w075-d100", 16, 4) == pytest.approx(4 * middle * 0.5)
    assert predict(table, "tiny", 16, 4) == pytest.approx(4 * 0.1 * 0.4)
    assert predict(table, "huge", 16, 4) == pytest.approx(4 * 9.0 * 0.6)


def test_a_table_survives_json_with_shares_and_without() -> None:
    for table in (TABLE, dataclasses.replace(TABLE, batches=BATCHES)):
        assert LatencyTable.from_dict(table.to_dict()) == table
    assert "batches" not in TABLE.to_dict()  # as in profiles from before there were any


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"texts": (1, 2)}, "texts: expected ascending whole numbers from 2 on"),
        ({"texts": (4, 2)}, "texts: expected ascending"),
        ({"lengths": ()}, "lengths: expected ascending"),
        ({"shares": {}}, "expected at least one subnet"),
        ({"shares": {"a": ((0.5,),)}}, "expected for each of 2 lengths 1 to 3 shares"),
        ({"shares": {"a": ((0.5,), ())}}, "expected for each of 2 lengths 1 to 3 shares"),
        ({"shares": {"a": ((0.5,), (float("nan"),))}}, "expected finite ones above 0, found nan"),
        ({"shares": {"a": ((0.5,), (0.0,))}}, "expected finite ones above 0"),
    ],
)
def test_shares_that_make_no_sense_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        dataclasses.replace(BATCHES, **changes)


def test_shares_of_a_subnet_that_the_table_lacks_are_refused() -> None:
    other = dataclasses.replace(BATCHES, shares={"w025-d100": BATCHES.shares["w050-d100"]})
    with pytest.raises(ProfileError, match="expected subnets of the table"):
        dataclasses.replace(TABLE, batches=other)


def test_a_field_too_much_is_refused() -> None:
    with pytest.raises(ProfileError, match="more"):
        BatchTimes.from_dict({**BATCHES.to_dict(), "more": 1})
