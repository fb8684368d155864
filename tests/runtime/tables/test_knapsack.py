"""The exact look-up against brute force, also where limits are tight, many, or met by nothing."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.errors import InputError
from gearshift.runtime.space.space import Choice
from gearshift.runtime.tables import knapsack as lookup
from gearshift.runtime.tables.knapsack import Array, Problem, best_choices, nearest, not_dominated


def all_choices(problem: Problem) -> list[tuple[float, Choice]]:
    """Every choice within the limits with its loss, best first."""
    found = []
    for choice in itertools.product(*(range(len(losses)) for losses in problem.losses)):
        loss, costs = problem.totals(choice)
        if (costs <= problem.limits + 1e-9 * np.abs(problem.limits)).all():
            found.append((loss, choice))
    return sorted(found)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Draw up to 5 stages of up to 4 options and 3 costs; whole numbers, so that there are many ties."""
    stages, costs = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    number = st.integers(-3, 9).map(float)
    losses, prices = [], []
    for _ in range(stages):
        options = draw(st.integers(1, 4))
        losses.append(np.array(draw(st.lists(number, min_size=options, max_size=options))))
        flat = draw(st.lists(number, min_size=options * costs, max_size=options * costs))
        prices.append(np.array(flat).reshape(options, costs))
    limits = np.array(draw(st.lists(st.integers(-4, 30).map(float), min_size=costs, max_size=costs)))
    return Problem(tuple(losses), tuple(prices), limits)


def random_problem(seed: int, *, stages: int, options: int, costs: int, alike: bool = False) -> Problem:
    source = np.random.default_rng(seed)
    losses = [source.exponential(size=options) for _ in range(stages)]
    prices = [source.random((options, costs)) for _ in range(stages)]
    if alike:
        prices = [prices[0]] * stages
    share = source.uniform(0.25, 0.75, costs)
    least, most = (np.sum([getattr(p, edge)(axis=0) for p in prices], axis=0) for edge in ("min", "max"))
    return Problem(tuple(losses), tuple(prices), least + (most - least) * share)


@settings(max_examples=300)
@given(problems())
def test_the_best_choice_is_that_of_brute_force(problem: Problem) -> None:
    expected, found = all_choices(problem), best_choices(problem)
    assert len(found) == min(1, len(expected))
    if found:
        loss, costs = problem.totals(found[0])
        assert loss == pytest.approx(expected[0][0])
        assert (costs <= problem.limits + 1e-6).all()


@settings(max_examples=150)
@given(problems(), st.integers(2, 12))
def test_several_best_choices_are_those_of_brute_force(problem: Problem, count: int) -> None:
    expected, found = all_choices(problem), best_choices(problem, count)
    assert len(set(found)) == len(found) == min(count, len(expected))
    assert [problem.totals(choice)[0] for choice in found] == pytest.approx([loss for loss, _ in expected[:count]])


def every_sum(sums: Array, options: Array) -> Array:
    """(partial choices x options, ...) each sum of a partial choice with each option of one more stage."""
    return (sums[:, None] + options[None]).reshape(-1, *options.shape[1:])


@pytest.mark.parametrize("count", [1, 2, 5, 40])
@pytest.mark.parametrize("seed", range(12))
def test_spaces_large_enough_for_dominance_give_the_best_choices_of_brute_force(seed: int, count: int) -> None:
    problem = random_problem(seed, stages=7, options=5, costs=1 + seed % 4, alike=seed % 2 == 0)
    losses, costs = (functools.reduce(every_sum, parts) for parts in (problem.losses, problem.costs))
    assert len(losses) == len(costs) == 5**7
    within = (costs <= problem.limits).all(axis=1)
    choices = best_choices(problem, count)
    assert len(set(choices)) == len(choices)
    found = [problem.totals(choice)[0] for choice in choices]
    assert found == pytest.approx(np.sort(losses[within])[:count])


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("costs", [0, 1, 2, 3])
def test_a_partial_choice_is_left_out_only_where_as_many_others_that_stay_are_as_good(costs: int, whole: bool) -> None:
    source = np.random.default_rng(costs)
    losses, prices = source.random(4000), source.random((4000, costs))
    if whole:  # many ties
        losses, prices = np.round(8 * losses), np.round(8 * prices)
    for count in (1, 2, 7):
        stays = not_dominated(losses, prices, count)
        assert len(set(stays.tolist())) == len(stays) < 4000 // 2
        as_good = losses[stays] <= losses[:, None]
        for cost in range(costs):
            as_good &= prices[stays, cost] <= prices[:, cost, None]
        left_out = np.setdiff1d(np.arange(4000), stays)
        assert (as_good[left_out].sum(axis=1) >= count).all()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_best_choices_stay_wherever_dominance_is_used(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(lookup, "MERGED_FROM", 1)
    for seed in range(60):
        problem = random_problem(seed, stages=5, options=4, costs=1 + seed % 3, alike=seed % 2 == 0)
        if seed % 4 > 1:  # many ties
            problem = dataclasses.replace(problem, losses=tuple(np.round(2 * losses) for losses in problem.losses))
        found = [problem.totals(choice)[0] for choice in best_choices(problem, count)]
        assert found == pytest.approx([loss for loss, _ in all_choices(problem)[:count]])


def test_several_of_a_large_space_are_found_without_listing_it() -> None:
    """All partial choices that could be among them are gigabytes."""
    problem = random_problem(28, stages=12, options=5, costs=1, alike=True)
    found = best_choices(problem, 5)
    assert len(set(found)) == 5 and found[0] == best_choices(problem)[0]
    losses = [problem.totals(choice)[0] for choice in found]
    assert losses == sorted(losses)


def test_the_nearest_is_the_choice_with_the_least_factor() -> None:
    for seed in range(8):
        loose = random_problem(seed, stages=4, options=4, costs=2)
        problem = Problem(loose.losses, loose.costs, loose.least() * [0.7, 0.95])
        factors = [
            (problem.totals(choice)[1] / problem.limits).max() for choice in itertools.product(range(4), repeat=4)
        ]
        assert best_choices(problem) == []
        found = (problem.totals(nearest(problem))[1] / problem.limits).max()
        assert found == pytest.approx(min(factors), rel=2e-3)


def test_there_is_no_nearest_where_a_limit_that_cannot_grow_is_not_met() -> None:
    problem = Problem((np.zeros(2),), (np.array([[1.0, 0.0], [2.0, 0.0]]),), np.array([0.5, -1.0]))
    with pytest.raises(InputError, match="however far"):
        nearest(problem)
    with pytest.raises(InputError, match="none of them can grow"):
        nearest(Problem(problem.losses, problem.costs, np.array([0.0, -1.0])))
