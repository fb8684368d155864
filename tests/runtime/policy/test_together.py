"""How many waiting texts run in one call: as many as keep more deadlines, and none where each may run alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from gearshift.runtime.batches import Work
from gearshift.runtime.policy.latency_model import Prediction
from gearshift.runtime.policy.objective import Objective
from gearshift.runtime.policy.outlook import Outlook
from gearshift.runtime.policy.restraint import Late
from gearshift.runtime.policy.together import Allowed, Queued, Together, choose_together

ACCURACIES = (0.9, 0.75)
TIMES = (4.0, 1.0)
"""Milliseconds of a text on each of two rungs."""


def medians(share: float) -> Callable[[Work], Sequence[float]]:
    """Return the median ms of each rung for a work: a text costs `share` beside others, and in proportion to 8 tokens.

    The first of a call costs all.
    """

    def of(work: Work) -> Sequence[float]:
        ((length, count),) = work
        return [ms * length / 8 * (1 + share * (count - 1)) for ms in TIMES]

    return of


def chosen(
    slacks_ms: Sequence[float],
    *,
    share: float = 0.2,
    lengths: Sequence[int] | None = None,
    rungs: Sequence[int] = (0, 1),
    objective: Objective = Objective(),  # noqa: B008 - frozen
    more: int = 0,
    slow_down: float = 1.0,
) -> Together | None:
    """Choose for texts of 8 tokens with these slacks, on a machine that takes just the expected times."""
    of = medians(share)
    times = Prediction(of(((8, 1),)), (1.0, 1.0), slow_down, slow_down, 0.0, Outlook(math.log(slow_down), 0.01))
    queued = Queued(lengths or [8] * len(slacks_ms), slacks_ms, more)
    return choose_together(ACCURACIES, times, of, queued, Allowed(rungs, float("inf"), Late()), objective)


def test_texts_that_are_in_time_one_after_another_run_alone() -> None:
    assert chosen([100.0] * 8) is None


def test_texts_that_only_a_call_of_all_keeps_in_time_run_together() -> None:
    assert chosen([3.0] * 8) == Together(1, 8)  # 1 + 7 x .2 ms, where one after another takes 8


def test_together_they_may_have_a_more_accurate_subnet_than_one_after_another() -> None:
    assert chosen([11.0] * 8) == Together(0, 8)  # 4 + 7 x .8 ms, where eight calls take 32


def test_a_call_of_several_that_saves_nothing_is_not_made() -> None:
    assert chosen([3.0] * 8, share=1.0) is None


def test_where_the_first_texts_are_urgent_the_calls_are_small() -> None:
    found = chosen([1.6, 1.7, 5.0, 5.0, 5.0, 5.0])
    assert found is not None and found.texts == 2


def test_a_long_text_pads_the_short_ones_and_is_left_out_where_that_makes_them_late() -> None:
    assert chosen([2.0] * 4 + [100.0], lengths=[8] * 4 + [64]) == Together(1, 4)


def test_the_more_wait_behind_them_the_more_run_together() -> None:
    slacks = [1.0 + place for place in range(8)]  # the first ones are in time in small calls alone
    assert [chosen(slacks, more=more) for more in (0, 200)] == [Together(1, 4), Together(1, 8)]


def test_rungs_that_are_not_allowed_are_not_chosen() -> None:
    assert chosen([11.0] * 8, rungs=(1,)) is None  # eight calls of the fast one are in time too
    assert chosen([3.0] * 8, rungs=(1,)) == Together(1, 8)


def test_with_a_target_the_first_call_keeps_its_deadline_by_the_bound() -> None:
    slacks = [2.0, *([11.0] * 7)]
    without = chosen(slacks)
    assert without is not None and without.rung == 0  # the first one late, and seven more accurate
    kept = chosen(slacks, objective=Objective(target=0.9))
    assert kept is None or TIMES[kept.rung] * (1 + 0.2 * (kept.texts - 1)) <= 2.0


@pytest.mark.parametrize("slow_down", [1.0, 2.0, 3.0])
def test_a_slow_machine_counts_as_shorter_deadlines(slow_down: float) -> None:
    assert chosen([3.0 * slow_down] * 8, slow_down=slow_down) == Together(1, 8)


def test_of_hopeless_texts_each_runs_alone() -> None:
    assert chosen([0.1] * 8) is None


def test_late_answers_that_count_fully_need_no_calls_of_several() -> None:
    assert chosen([3.0] * 8, objective=Objective(late_value=1.0)) is None
