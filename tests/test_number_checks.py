"""Numbers, and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest

from gearshift.number_checks import is_finite, is_whole

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
