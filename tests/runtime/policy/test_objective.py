"""Tests of what may be asked of the engine, and of what may not."""

from __future__ import annotations

import math
from typing import Any, get_type_hints

import pytest

from gearshift.runtime import InputError, Objective
from gearshift.runtime.policy.objective import Wanted


@pytest.mark.parametrize("target", [0, 1, 1.5, 0.2, -1, math.nan, "0.95", True])
def test_a_target_that_is_no_share_is_refused(target: Any) -> None:
    with pytest.raises(InputError, match=r"target: expected a share of deadlines from 0\.5 to below 1"):
        Objective(target=target)


@pytest.mark.parametrize("name", ["min_accuracy", "max_cpu_share"])
@pytest.mark.parametrize("share", [0, -0.1, 1.01, math.nan, "half", True])
def test_a_share_that_is_none_is_refused(name: str, share: Any) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a share above 0 and up to 1"):
        Objective(**{name: share})


@pytest.mark.parametrize("late_value", [-0.1, 1.1, math.nan, "all", None, True])
def test_a_value_of_late_answers_that_is_none_is_refused(late_value: Any) -> None:
    with pytest.raises(InputError, match="late_value: expected a share from 0 to 1"):
        Objective(late_value=late_value)


def test_a_bound_covers_the_target_or_99_percent() -> None:
    assert (Objective().share, Objective(target=0.9).share) == (0.99, 0.9)


def test_a_miss_is_answered_or_refused() -> None:
    with pytest.raises(InputError, match="on_miss: expected best_effort or reject, got 'never'"):
        Objective(on_miss="never")


def test_the_keyword_arguments_of_the_engine_are_its_fields() -> None:
    assert get_type_hints(Wanted) == get_type_hints(Objective)
