"""Costs of operators: what a call is predicted to take, and what is refused."""

import dataclasses
from typing import Any

import pytest

from gearshift.device_profiles import Operator, OperatorCosts
from gearshift.errors import ProfileError
from tests.device_profiles.test_profile import OPERATORS

PRODUCT = Operator("MatMul", macs=2_000_000, weights=500_000, values=10_000, scores=0)


def test_a_call_is_the_sum_of_its_operators_each_a_sum_of_its_amounts() -> None:
    add = Operator("Add", values=1_000_000)
    unknown_us = 3.0 + 2 * 9.0 + 0.5 * 100.0 + 0.01 * 50.0 - 1.5
    assert OPERATORS.predict_ms([PRODUCT, add]) == pytest.approx((unknown_us + 2.0 + 60.0 - 1.5) / 1e3)


def test_no_operator_takes_less_than_nothing() -> None:
    cheap = dataclasses.replace(OPERATORS, between_us=-100.0)
    assert cheap.predict_ms([Operator("Add")] * 5) == 0.0


def test_kinds_that_were_never_seen_are_named() -> None:
    assert OPERATORS.unknown([PRODUCT, Operator("Add"), Operator("Erf")]) == {"MatMul", "Erf"}


def test_what_is_written_is_read() -> None:
    assert OperatorCosts.from_dict(OPERATORS.to_dict()) == OPERATORS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "threads: expected a whole number from 1 on, found 0"),
        ({"precision": None}, "precision: expected text, found None"),
        ({"between_us": float("nan")}, "between_us: expected a number, found nan"),
        ({"error_median": "small"}, "error_median: expected a number or null, found 'small'"),
        ({"microseconds": {"Add": (1.0,) * 5}}, r"expected costs of '\*'"),
        ({"microseconds": {"*": (1.0, 2.0)}}, r"\*: expected 5 numbers from 0 on, found \[1.0, 2.0\]"),
        ({"microseconds": {"*": (1.0, -2.0, 0.0, 0.0, 0.0)}}, r"expected 5 numbers from 0 on"),
        ({"date": "soon"}, "expected ISO 8601"),
    ],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        dataclasses.replace(OPERATORS, **change)
