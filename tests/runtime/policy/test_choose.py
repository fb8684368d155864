"""TODO"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.errors import UnknownSubnetError
from gearshift.runtime.policy.choose import Candidate, choose, pareto

LARGE, MIDDLE, SMALL = (
    Candidate("large", 0.95, 8.0),
    Candidate("middle", 0.9, 4.0),
    Candidate("small", 0.8, 1.0),
)


THREE = (LARGE, MIDDLE, SMALL)


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


times = st.floats(-10, 5000)


factors = st.floats(0.1, 20)


@pytest.mark.parametrize(
    ("slack_ms", "name", "reason"),
    [
        (100.0, "large", "fits"),
        (16.0, "large", "fits"),
        (15.9, "middle", "fits"),
        (8.0, "middle", "fits"),
        (2.0, "small", "fits"),
        (1.9, "small", "best_effort"),
        (0.0, "small", "best_effort"),
        (-5.0, "small", "best_effort"),
        (None, "large", "no_deadline"),
    ],
)
def test_the_most_accurate_that_fits_is_taken(slack_ms: float | None, name: str, reason: str) -> None:
    decision = choose(THREE, slack_ms=slack_ms, factor=2.0)
    assert (decision.name, decision.reason) == (name, reason)


def test_the_prediction_is_the_tail_and_not_the_median() -> None:
    assert choose(THREE, slack_ms=100.0, factor=1.5).predicted_ms == 12.0


def test_a_larger_factor_gives_a_smaller_subnet() -> None:
    assert [choose(THREE, slack_ms=8.0, factor=factor).name for factor in (1.0, 2.0, 8.0)] == [
        "large",
        "middle",
        "small",
    ]


def test_of_equal_accuracy_the_faster_is_taken() -> None:
    twins = (Candidate("slow", 0.9, 4.0), Candidate("fast", 0.9, 3.0))
    assert choose(twins, slack_ms=None, factor=1.0).name == "fast"
    assert choose(twins, slack_ms=10.0, factor=1.0).name == "fast"


def test_of_equally_fast_ones_best_effort_takes_the_more_accurate() -> None:
    twins = (Candidate("worse", 0.7, 4.0), Candidate("better", 0.9, 4.0))
    assert choose(twins, slack_ms=1.0, factor=1.0).name == "better"


@pytest.mark.parametrize("slack_ms", [None, 0.1, 100.0])
def test_a_pinned_subnet_is_taken_whatever_the_deadline(slack_ms: float | None) -> None:
    decision = choose(THREE, slack_ms=slack_ms, factor=1.0, cap="small", pinned="middle")
    assert (decision.name, decision.reason, decision.predicted_ms) == ("middle", "pinned", 4.0)


def test_nothing_slower_than_the_cap_is_taken() -> None:
    assert choose(THREE, slack_ms=None, factor=1.0, cap="middle").name == "middle"
    assert choose(THREE, slack_ms=100.0, factor=1.0, cap="small").name == "small"
    assert choose(THREE, slack_ms=100.0, factor=1.0, cap="large").name == "large"


@pytest.mark.parametrize("argument", ["cap", "pinned"])
def test_an_unknown_name_is_answered_with_the_names_there_are(argument: str) -> None:
    with pytest.raises(UnknownSubnetError, match="unknown subnet 'huge'; expected one of large, middle, small"):
        choose(THREE, slack_ms=1.0, factor=1.0, **{argument: "huge"})


def test_a_slack_that_is_no_number_fits_nothing() -> None:
    assert choose(THREE, slack_ms=float("nan"), factor=1.0).reason == "best_effort"


@given(candidate_lists, times, times, factors)
def test_more_slack_never_gives_a_less_accurate_subnet(
    candidates: list[Candidate], one: float, other: float, factor: float
) -> None:
    accuracy = {candidate.name: candidate.accuracy for candidate in candidates}
    ladder = pareto(candidates)
    less = choose(ladder, slack_ms=min(one, other), factor=factor)
    more = choose(ladder, slack_ms=max(one, other), factor=factor)
    assert accuracy[more.name] >= accuracy[less.name]


@given(candidate_lists, times, factors)
def test_a_subnet_that_another_dominates_is_never_used(
    candidates: list[Candidate], slack_ms: float, factor: float
) -> None:
    chosen = choose(candidates, slack_ms=slack_ms, factor=factor)
    (taken,) = [candidate for candidate in candidates if candidate.name == chosen.name]
    for other in candidates:
        assert not (other.expected_ms < taken.expected_ms and other.accuracy >= taken.accuracy)
        assert not (other.expected_ms <= taken.expected_ms and other.accuracy > taken.accuracy)


@given(candidate_lists, times, factors)
def test_what_is_said_to_fit_does_fit(candidates: list[Candidate], slack_ms: float, factor: float) -> None:
    decision = choose(candidates, slack_ms=slack_ms, factor=factor)
    fitting = [candidate for candidate in candidates if candidate.expected_ms * factor <= slack_ms]
    assert (decision.reason == "fits") == bool(fitting)
    assert (decision.predicted_ms <= slack_ms) == bool(fitting)


@given(candidate_lists)
def test_the_ladder_keeps_what_nothing_dominates(candidates: list[Candidate]) -> None:
    ladder = pareto(candidates)
    for better, faster in itertools.pairwise(ladder):
        assert better.accuracy > faster.accuracy
        assert better.expected_ms > faster.expected_ms
    for candidate in candidates:
        assert any(kept.accuracy >= candidate.accuracy and kept.expected_ms <= candidate.expected_ms for kept in ladder)
