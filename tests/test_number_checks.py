"""Numbers, and what only looks like one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from gearshift.number_checks import is_finite, is_number, is_whole, shown

ODD = [True, False, None, "1", [1], 1j]


@pytest.mark.parametrize("value", [*ODD, 1.0, np.int64(1)])
def test_what_is_no_integer_is_not_whole(value: object) -> None:
    assert not is_whole(value)


@pytest.mark.parametrize(("value", "inside"), [(0, False), (1, True), (5, True), (6, False), (-1, False)])
def test_a_whole_number_may_have_to_be_in_a_range(value: int, inside: bool) -> None:
    assert is_whole(value)
    assert is_whole(value, 1, 5) == inside
    assert is_whole(value, 1) == (value >= 1) and is_whole(value, most=5) == (value <= 5)


@pytest.mark.parametrize("value", [*ODD, float("nan"), float("inf"), -float("inf"), 10**400])
def test_what_is_no_number_or_has_no_end_is_not_finite(value: object) -> None:
    assert not is_finite(value)


@pytest.mark.parametrize("value", [0, -1, 2.5, np.float64(1.5)])
def test_a_finite_number_may_be_whole_or_not(value: object) -> None:
    assert is_finite(value)


@pytest.mark.parametrize("value", [*ODD, float("nan"), 10**400, np.float32("nan")])
def test_what_no_float_can_hold_is_no_number(value: object) -> None:
    assert not is_number(value)


@pytest.mark.parametrize("value", [0, -1, 2.5, np.float32(1.5), np.int64(3), Fraction(1, 3), float("inf")])
def test_a_number_may_be_of_any_type(value: object) -> None:
    assert is_number(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-5.0, "-5.0"),
        ("10", "'10'"),
        (10**5000, "a value of type int, too long to be shown"),
        ([10**5000], "a value of type list, too long to be shown"),
        (10**400, "1" + 79 * "0" + "..."),
        (np.zeros((2, 2)), "array([[0., 0.], [0., 0.]])"),
    ],
    ids=["number", "text", "digits", "list", "long", "array"],
)
def test_a_wrong_value_is_told_on_one_line(value: object, text: str) -> None:
    assert shown(value) == text
