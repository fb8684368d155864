"""The choice of a subnet: the pure rule that the engine follows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.policy.choose import Asked, Chosen, choose
from gearshift.runtime.policy.ladder import Candidate, pareto
from gearshift.runtime.policy.latency_model import Prediction
from gearshift.runtime.policy.objective import Objective
from gearshift.runtime.policy.outlook import Outlook
from gearshift.runtime.policy.restraint import LEAST_MS, PER_OCTAVE, STEPS, Late

ACCURACIES = (0.95, 0.9, 0.8)
MEDIANS = (8.0, 4.0, 1.0)
SMALLEST = len(MEDIANS) - 1

candidate_lists = st.lists(
    st.builds(
        Candidate,
        name=st.uuids().map(str),
        # Few values, so that ties are common.
        accuracy=st.sampled_from([0.5, 0.7, 0.8, 0.9]) | st.floats(0, 1),
        expected_ms=st.sampled_from([1.0, 2.0, 3.0]) | st.floats(0.01, 1000),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda candidate: candidate.name,
)
slacks = st.floats(-10, 5000)
factors = st.floats(0.1, 20)


def predicted(
    medians: Sequence[float] = MEDIANS, *, factor: float = 1.0, biases: Sequence[float] | None = None, **others: float
) -> Prediction:
    """Times whose bound is sure: what is above it is late, what is within it is in time."""
    return Prediction(
        medians,
        biases or [1.0] * len(medians),
        factor,
        others.get("usual", factor),
        others.get("silence_s", 0.01),
        Outlook(math.log(factor) - 0.05, 0.01),
    )


def late_from(limit_ms: float, count: float) -> Late:
    """Return that a run of at least so long makes so many late."""
    late = Late()
    late.sums = [float(LEAST_MS * 2 ** (place / PER_OCTAVE) >= limit_ms) for place in range(STEPS + 1)]
    late.scale = count
    return late


def chosen(
    slack_ms: float | None,
    times: Prediction,
    *,
    accuracies: Sequence[float] = ACCURACIES,
    objective: Objective | None = None,
    first: int = 0,
    last: int | None = None,
    **others: Any,
) -> Chosen:
    asked = Asked(slack_ms, first, len(accuracies) - 1 if last is None else last)
    return choose(accuracies, times, asked._replace(**others), objective or Objective(target=0.99))


@pytest.mark.parametrize(
    ("slack_ms", "rung", "reason"),
    [
        (100.0, 0, "fits"),
        (16.0, 0, "fits"),
        (15.9, 1, "fits"),
        (8.0, 1, "fits"),
        (2.0, 2, "fits"),
        (1.9, 2, "best_effort"),
        (0.0, 2, "best_effort"),
        (-5.0, 2, "best_effort"),
        (None, 0, "no_deadline"),
    ],
)
def test_the_most_accurate_that_fits_is_taken(slack_ms: float | None, rung: int, reason: str) -> None:
    assert chosen(slack_ms, predicted(factor=2.0))[:2] == (rung, reason)


def test_a_larger_factor_gives_a_smaller_subnet() -> None:
    assert [chosen(8.0, predicted(factor=factor)).rung for factor in (1.0, 2.0, 8.0)] == [0, 1, 2]


def test_the_bias_of_a_rung_counts_as_its_median_does() -> None:
    assert chosen(8.0, predicted(biases=(1.1, 1.0, 1.0))).rung == 1
    assert chosen(8.0, predicted(biases=(0.9, 1.0, 1.0))).rung == 0


@pytest.mark.parametrize("slack_ms", [None, 0.1, 3.0, 100.0])
@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("last", range(3))
def test_nothing_outside_caps_and_floor_is_taken(slack_ms: float | None, first: int, last: int) -> None:
    if first <= last:
        choice = chosen(slack_ms, predicted(), first=first, last=last)
        assert first <= choice.rung <= last
        assert choice.level == first


@pytest.mark.parametrize("slack_ms", [None, 0.1, 3.0, 100.0])
@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("share", [None, 0.3])
@pytest.mark.parametrize("dan", [None, 2])
def test_a_rung_below_the_floor_between_others_is_not_taken(
    slack_ms: float | None, first: int, share: float | None, dan: int | None
) -> None:
    floor = Objective(min_accuracy=0.85, max_cpu_share=share)
    for below in ({0}, {1}, {0, 1}):
        given: dict[str, Any] = {"below": frozenset(below), "first": first, "dan": dan, "budget_ms": 5.0}
        for biases in ((1.0, 1.0, 1.0), (1.0, 0.1, 1.0)):
            assert chosen(slack_ms, predicted(biases=biases), objective=floor, **given).rung not in below


def test_without_a_deadline_an_accuracy_floor_takes_the_fastest_above_it() -> None:
    floor = Objective(min_accuracy=0.85)
    assert chosen(None, predicted(), objective=floor, last=1)[:2] == (1, "accuracy_floor")


@pytest.mark.parametrize(("budget_ms", "rung"), [(9.0, 0), (8.0, 0), (7.9, 1), (0.5, 2)])
def test_without_a_deadline_a_share_of_the_cpus_takes_the_most_accurate_within_it(budget_ms: float, rung: int) -> None:
    share = Objective(max_cpu_share=0.3)
    assert chosen(None, predicted(), objective=share, budget_ms=budget_ms)[:2] == (rung, "cpu_share")


@pytest.mark.parametrize(("silence_s", "reason"), [(0.5, "rejected"), (1.0, "best_effort"), (math.inf, "best_effort")])
def test_a_refusal_is_tried_all_the_same_after_a_second_of_silence(silence_s: float, reason: str) -> None:
    reject = Objective(target=0.99, on_miss="reject")
    assert chosen(0.5, predicted(silence_s=silence_s), objective=reject)[:2] == (SMALLEST, reason)


@pytest.mark.parametrize(("limit_ms", "rung", "level"), [(9.0, 0, 0), (8.0, 1, 1), (4.0, 2, 2), (0.5, 2, 2)])
def test_work_as_long_as_the_limit_is_held_back_but_the_last_rung_never(limit_ms: float, rung: int, level: int) -> None:
    assert chosen(100.0, predicted(), limit_ms=limit_ms) == (rung, "fits", level)


def test_those_behind_are_left_enough_time() -> None:
    behind = ((MEDIANS, 10.0),)
    assert chosen(100.0, predicted(), behind=behind).rung == 1  # 8 + 8 ms are over its 10, 4 + 4 are not
    assert chosen(100.0, predicted(), behind=((MEDIANS, 1.5),)).rung == 0  # late on the fastest rung too


def test_a_run_is_worth_less_by_the_later_requests_that_it_makes_late() -> None:
    assert chosen(100.0, predicted(), late=late_from(5.0, 1.0)).rung == 1
    assert chosen(100.0, predicted(), late=late_from(5.0, 0.01)).rung == 0
    assert chosen(100.0, predicted(), late=late_from(0.0, 1.0)).rung == 0  # on the fastest rung too


@pytest.mark.parametrize(
    ("slack_ms", "silence_s", "usual", "choice"),
    [
        (5.9, 0.01, 1.0, (2, "fits")),  # 4 ms with a margin of 1.5 are 6
        (6.0, 0.01, 1.0, (1, "probe")),
        (6.0, 0.01, 2.0, (2, "fits")),
        (6.0, 10.0, 2.0, (1, "probe")),  # what was believed so long ago keeps nothing from being tried
    ],
)
def test_in_place_of_a_dan_the_subnet_above_it_is_tried_now_and_then(
    slack_ms: float, silence_s: float, usual: float, choice: tuple[int, str]
) -> None:
    times = predicted(factor=5.0, usual=usual, silence_s=silence_s)
    assert chosen(slack_ms, times, dan=SMALLEST)[:2] == choice
    assert chosen(slack_ms, times)[:2] == (SMALLEST, "fits")
    assert chosen(slack_ms, times, dan=SMALLEST, behind=((MEDIANS, 1e6),))[:2] == (SMALLEST, "fits")
    assert chosen(slack_ms, times, dan=SMALLEST, first=SMALLEST)[:2] == (SMALLEST, "fits")


def ladder(candidates: Sequence[Candidate]) -> tuple[list[float], list[float]]:
    front = pareto(candidates)
    return [one.accuracy for one in front], [one.expected_ms for one in front]


@given(candidate_lists, slacks, slacks, factors)
def test_more_slack_never_gives_a_less_accurate_subnet(
    candidates: list[Candidate], one: float, other: float, factor: float
) -> None:
    accuracies, medians = ladder(candidates)
    times = predicted(medians, factor=factor)
    less = chosen(min(one, other), times, accuracies=accuracies)
    more = chosen(max(one, other), times, accuracies=accuracies)
    assert accuracies[more.rung] >= accuracies[less.rung]


@given(candidate_lists)
def test_the_ladder_keeps_what_nothing_dominates(candidates: list[Candidate]) -> None:
    front = pareto(candidates)
    for better, faster in itertools.pairwise(front):
        assert better.accuracy > faster.accuracy
        assert better.expected_ms > faster.expected_ms
    for candidate in candidates:
        assert any(kept.accuracy >= candidate.accuracy and kept.expected_ms <= candidate.expected_ms for kept in front)


@given(candidate_lists, slacks, factors)
def test_a_subnet_that_fits_is_taken_where_there_is_one(
    candidates: list[Candidate], slack_ms: float, factor: float
) -> None:
    accuracies, medians = ladder(candidates)
    times = predicted(medians, factor=factor)
    choice = chosen(slack_ms, times, accuracies=accuracies)
    fitting = [rung for rung in range(len(medians)) if times.bound_ms(rung) <= slack_ms]
    assert choice.rung == (fitting[0] if fitting else len(medians) - 1)
    assert choice.reason == ("fits" if fitting else "best_effort")


def unsure(deviation: float, factor: float = 1.3, **others: Any) -> Prediction:
    """Times whose log is normal around that of the medians."""
    return Prediction(MEDIANS, [1.0] * 3, factor, 1.0, 0.01, Outlook(0.0, deviation), **others)


EXPECTED = Objective()
"""The default: the most right answers in time, without a target."""


@pytest.mark.parametrize(
    ("slack_ms", "rung", "reason"), [(9.6, 0, "likely"), (8.4, 1, "fits"), (4.4, 2, "fits"), (11.0, 0, "fits")]
)
def test_the_highest_accuracy_times_probability_is_taken(slack_ms: float, rung: int, reason: str) -> None:
    chances = [0.5 * math.erfc(-math.log(slack_ms / median) / 0.1 / math.sqrt(2)) for median in MEDIANS]
    values = [accuracy * chance for accuracy, chance in zip(ACCURACIES, chances, strict=True)]
    assert values.index(max(values)) == rung
    assert chosen(slack_ms, unsure(0.1), objective=EXPECTED)[:2] == (rung, reason)


def test_a_target_is_a_constraint_beside_it() -> None:
    assert chosen(9.6, unsure(0.1), objective=Objective(target=0.99))[:2] == (1, "fits")


@pytest.mark.parametrize(("late_value", "rung"), [(0.0, 2), (0.4, 2), (0.9, 0), (1.0, 0)])
def test_the_more_a_late_answer_is_worth_the_more_accurate_is_the_subnet(late_value: float, rung: int) -> None:
    assert chosen(2.0, unsure(0.1), objective=Objective(late_value=late_value)).rung == rung


@pytest.mark.parametrize("slack_ms", [0.5, 0.0, -5.0, 5e-324])
def test_where_no_rung_has_a_chance_the_fastest_answers(slack_ms: float) -> None:
    assert chosen(slack_ms, unsure(0.1), objective=EXPECTED)[:2] == (SMALLEST, "best_effort")


def test_a_first_call_takes_its_extra_time() -> None:
    assert chosen(11.0, unsure(0.05, first_call=1.0), objective=EXPECTED).rung == 0
    assert chosen(11.0, unsure(0.05, first_call=1.5), objective=EXPECTED).rung == 1


def test_those_that_wait_count_with_their_own_probability() -> None:
    waiting: dict[str, Any] = {"behind": ((MEDIANS, 10.0),)}
    assert chosen(100.0, unsure(0.1), objective=EXPECTED, **waiting).rung == 1
    assert chosen(100.0, unsure(0.1), objective=EXPECTED, behind=((MEDIANS, 0.2),)).rung == 0  # lost in any case
    assert chosen(100.0, unsure(0.1), objective=Objective(late_value=1.0), **waiting).rung == 0


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(-5, 200)), max_size=8), st.floats(-5, 200), st.floats(0.01, 2)
)
def test_the_choice_is_the_best_of_all_rungs_by_the_same_rule(
    waiting: list[tuple[float, float]], slack_ms: float, deviation: float
) -> None:
    behind = tuple(((4 * time, 2 * time, time), slack) for time, slack in waiting)
    times = unsure(deviation, factor=math.exp(3 * deviation))
    low, _, slope = times.outlook.ramp()

    def in_time(run_ms: float, its_slack: float) -> float:
        return 0.5 * math.erfc(-math.log(its_slack / run_ms) / deviation / math.sqrt(2)) if its_slack > 1e-6 else 0.0

    def value(rung: int) -> float:
        run_ms, total = MEDIANS[rung], in_time(MEDIANS[rung], slack_ms)
        for those, its_slack in behind:
            run_ms += those[rung]
            total += min(1.0, max(0.0, (its_slack / run_ms - low) * slope))
        return ACCURACIES[rung] * total

    found = chosen(slack_ms, times, objective=EXPECTED, behind=behind)
    if max(in_time(median, slack_ms) for median in MEDIANS) < 1e-3:
        assert found.reason == "best_effort"
    else:
        assert value(found.rung) >= max(map(value, range(3))) - 1e-3 * (1 + len(behind))


def test_rungs_behind_a_value_that_their_accuracy_does_not_reach_are_not_looked_at() -> None:
    """The contract has this stop: a client without it would take the rung that makes fewer late than the last one."""
    times = predicted((4.0, 1.0, 0.9), biases=(1.0, 1.0, 3.0))
    late = late_from(2.0, 1.0)  # the last rung makes one late, by its bias, and the one before it none
    assert chosen(1e3, times, late=late).rung == 0
    assert chosen(1e3, times, late=late, accuracies=(0.95, 0.949999, 0.8)).rung == 0
    assert chosen(1e3, times, late=late, first=1).rung == 1
