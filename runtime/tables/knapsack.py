"""The best choices of a table under any constraints, exactly.

A problem has a loss and some costs for every option of every stage, all of which add up, and a limit for each
cost: a multiple-choice knapsack with several constraints. It is solved in two steps:

1. Multipliers (a price for each cost) that make the Lagrangian bound nearly as large as it can be. Whatever they
   are, no completion of a partial choice has a loss below the bound that they give.
2. Partial choices are merged stage by stage. Kept are those within the limits whose bound is no more than the loss
   of a choice that is known, which a first pass found that keeps a few of each stage only; and of those, where the
   best `count` are wanted, the ones that fewer than `count` others equal or beat in loss and all costs. Several sets
   of multipliers are tried on each: the largest bound counts.

The multipliers decide how many partial choices there are, never what is found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError

Array = NDArray[np.float64]
Choice = tuple[int, ...]

SMOOTHINGS = (0.3, 0.1, 0.03, 0.01, 0.003)
"""Temperatures of the smoothed bound, as shares of the spread of the loss; the last one is sharp enough."""

NEWTON_STEPS = 4
"""Steps at each temperature."""

BEAM = 128
"""Partial choices that the first, inexact pass keeps of each stage: it finds how good the best must be at least."""

VARIED = (0.5, 0.8, 1.25, 2.0)
"""Every price is also varied by these factors: a partial choice that spent much, or little, has other good prices."""

MERGED_FROM = 256
"""Partial choices from which dominated ones are looked for: below, sorting costs more than it saves."""

CROWDED = 1500
STRONGEST = 512
BLOCK = 64
"""From CROWDED partial choices on, all are compared with the strongest ones, in blocks."""

ROUNDING = 1e-9
"""Share of a limit that sums of floats may be off by."""


@dataclass(frozen=True)
class Problem:
    """What the options of every stage cost, and what all stages together may cost."""

    losses: tuple[Array, ...]
    """(options,) for each stage."""
    costs: tuple[Array, ...]
    """(options, costs) for each stage."""
    limits: Array
    """(costs,)"""

    def least(self) -> Array:
        """(costs,) the least that each cost can be, by itself."""
        total: Array = np.sum([costs.min(axis=0) for costs in self.costs], axis=0)
        return total

    def with_fixed(self, fixed: Array) -> Problem:
        """The same with (costs,) what every choice costs in the limits too, so that these grow with it in them."""
        first, *others = self.costs
        return Problem(self.losses, (first + fixed, *others), self.limits + fixed)

    def totals(self, choice: Choice) -> tuple[float, Array]:
        """The loss and the costs (costs,) of a choice."""
        loss = math.fsum(losses[option] for losses, option in zip(self.losses, choice, strict=True))
        costs: Array = np.sum([costs[option] for costs, option in zip(self.costs, choice, strict=True)], axis=0)
        return loss, costs


def best_choices(problem: Problem, count: int = 1) -> list[Choice]:
    """The `count` choices of least loss within the limits, best first; fewer where there are no more, [] for none."""
    prepared = _prepare(problem)
    if prepared is None:
        return []
    bounds = _bounds(prepared)
    rough = _merge(prepared, bounds, math.inf, beam=max(BEAM, 4 * count)).losses
    enough = float(np.partition(rough, count - 1)[count - 1]) if len(rough) >= count else math.inf
    return _merge(prepared, bounds, enough, count=count).best(count)


def nearest(problem: Problem) -> Choice:
    """The choice for which the positive limits would have to grow by the least factor, where none is within them.

    Found by bisection of the factor, to a thousandth of it. Limits that are not positive stay as they are; raises
    InputError where they cannot be met at all.
    """
    grows = problem.limits > 0
    if not grows.any():
        raise InputError("no choice is within the limits, and none of them can grow")
    shares = tuple((costs[:, grows] / problem.limits[grows]) for costs in problem.costs)
    relative = tuple(values.sum(axis=1) for values in shares)

    def within(factor: float) -> Choice | None:
        limits = np.where(grows, problem.limits * factor, problem.limits)
        found = best_choices(Problem(relative, problem.costs, limits))
        return found[0] if found else None

    def needed(choice: Choice) -> float:
        return float(np.sum([values[option] for values, option in zip(shares, choice, strict=True)], axis=0).max())

    best = within(1 + float(np.sum([values.max(axis=0) for values in shares], axis=0).max()))
    if best is None:
        raise InputError("no choice is within the limits, however far the positive ones grow")
    low, high = 1.0, needed(best)
    while high - low > 1e-3 * low:
        found = within((low + high) / 2)
        if found is None:
            low = (low + high) / 2
        else:
            best, high = found, needed(found)
    return best


@dataclass(frozen=True)
class _Prepared:
    """A problem whose costs begin at 0 in every stage, as shares of their limits; options too costly left out."""

    losses: list[Array]
    costs: list[Array]
    limits: Array
    options: list[NDArray[np.int64]]
    """The option that each row stands for."""
    stages: list[int]
    """The stage that each entry stands for: those with the most to lose first."""


def _prepare(problem: Problem) -> _Prepared | None:
    """The problem in its normal form; None where one of the limits alone cannot be met."""
    room = problem.limits - problem.least()
    spans = np.sum([np.ptp(costs, axis=0) for costs in problem.costs], axis=0)
    allowed = ROUNDING * np.maximum(np.abs(problem.limits), spans)
    if (room < -allowed).any():
        return None
    scale = np.where(room > allowed, room, np.where(allowed > 0, allowed, 1.0))
    order = sorted(range(len(problem.losses)), key=lambda stage: -float(np.ptp(problem.losses[stage])))
    losses, costs, options = [], [], []
    for stage in order:
        shares = (problem.costs[stage] - problem.costs[stage].min(axis=0)) / scale
        kept = np.flatnonzero((shares <= 1 + ROUNDING).all(axis=1))
        if not len(kept):
            return None
        losses.append(problem.losses[stage][kept])
        costs.append(shares[kept])
        options.append(kept)
    return _Prepared(losses, costs, np.ones(len(problem.limits)) * (1 + ROUNDING), options, order)


def _prices(problem: _Prepared) -> Array:
    """(costs,) multipliers that bring the Lagrangian bound near its maximum.

    Newton's method on the bound with its minima smoothed (a log-sum-exp of temperature t) and a logarithmic
    barrier that keeps the prices positive; t falls step by step.
    """
    count = len(problem.limits)
    if not count:
        return np.zeros(0)
    widest = max(len(values) for values in problem.losses)
    losses = np.full((len(problem.losses), widest), np.inf)
    costs = np.zeros((len(problem.losses), widest, count))
    for stage, (loss, cost) in enumerate(zip(problem.losses, problem.costs, strict=True)):
        losses[stage, : len(loss)], costs[stage, : len(cost)] = loss, cost
    spread = float(sum(np.ptp(values) for values in problem.losses))
    if spread <= 0:
        return np.zeros(count)
    prices = np.full(count, 0.1 * spread / count)
    for smoothing in SMOOTHINGS:
        warmth = smoothing * spread / len(problem.losses)
        for _ in range(NEWTON_STEPS):
            values = (losses + costs @ prices) / -warmth
            weights = np.exp(values - values.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
            means = np.einsum("so,soc->sc", weights, costs)
            gradient = means.sum(axis=0) - problem.limits + warmth / prices
            second = np.einsum("so,soc,sod->cd", weights, costs, costs) - means.T @ means
            curvature = second / warmth + np.diag(warmth / prices**2)
            step = np.linalg.solve(curvature, gradient)
            prices = np.clip(prices + step, prices / 5, prices * 5)  # never through 0, nor far on a bad model
    return prices


@dataclass(frozen=True)
class _Bounds:
    """Lower bounds of the loss of all choices that a partial choice can become."""

    prices: Array
    """(bounds, costs)"""
    rest: Array
    """(stages + 1, bounds) what the stages from each on add at least, less the price of the limits."""

    def of(self, losses: Array, costs: Array, stage: int) -> Array:
        """(partial,) the largest of the bounds after `stage` stages; losses (partial,), costs (partial, costs)."""
        bound: Array = (costs @ self.prices.T + self.rest[stage]).max(axis=1) + losses
        return bound


def _bounds(problem: _Prepared) -> _Bounds:
    best = _prices(problem)
    varied = [best, np.zeros_like(best)]
    for cost in range(len(best)):
        varied += [np.where(np.arange(len(best)) == cost, best * factor, best) for factor in VARIED]
    varied += [best * factor for factor in VARIED] if len(best) > 1 else []
    prices = np.array(varied)
    added = [
        (loss[:, None] + cost @ prices.T).min(axis=0) for loss, cost in zip(problem.losses, problem.costs, strict=True)
    ]
    rest = np.zeros((len(added) + 1, len(prices)))
    rest[:-1] = np.cumsum(added[::-1], axis=0)[::-1]
    return _Bounds(prices, rest - prices @ problem.limits)


@dataclass(frozen=True)
class _Merged:
    """Whole choices, and how each came about."""

    problem: _Prepared
    losses: Array
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]]

    def best(self, count: int) -> list[Choice]:
        """The choices of least loss, best first."""
        order = np.argsort(self.losses, kind="stable")[:count]
        return [_trace(self.problem, self.steps, int(row)) for row in order]


def _merge(problem: _Prepared, bounds: _Bounds, enough: float, *, count: int = 0, beam: int = 0) -> _Merged:
    """Choices within the limits whose loss is `enough` at most.

    `count`: partial choices that as many others dominate are left out, and with them all but the best `count`. `beam`:
    only so many partial choices of each stage are kept, those with the least bounds.
    """
    enough += ROUNDING * (1 + abs(enough))
    losses, costs = np.zeros(1), np.zeros((1, len(problem.limits)))
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for stage, (own_losses, own_costs) in enumerate(zip(problem.losses, problem.costs, strict=True), start=1):
        parents = np.repeat(np.arange(len(losses)), len(own_losses))
        options = np.tile(np.arange(len(own_losses)), len(losses))
        losses = (losses[:, None] + own_losses).ravel()
        costs = costs[parents] + own_costs[options]
        within = (costs <= problem.limits).all(axis=1)
        bound = bounds.of(losses, costs, stage)
        kept = np.flatnonzero(within & (bound <= enough))
        if beam and len(kept) > beam:
            kept = kept[np.argpartition(bound[kept], beam)[:beam]]
        elif count and len(kept) >= MERGED_FROM:
            kept = kept[not_dominated(losses[kept], costs[kept], count)]
        parents, options, losses, costs = parents[kept], options[kept], losses[kept], costs[kept]
        steps.append((parents, options))
    return _Merged(problem, losses, steps)


def not_dominated(losses: Array, costs: Array, count: int) -> NDArray[np.int64]:
    """Rows that fewer than `count` others beat or equal in loss and every cost; some that more of them do may stay.

    A row that is left out has `count` such others among those that stay, so that whatever it can become, `count` others
    are as good. Rows that differ in one cost alone, as where all layers have the same shape, are compared with all of
    their kind; where many are left they are compared with the STRONGEST of all.
    """
    if not costs.shape[1]:
        return np.argsort(losses, kind="stable")[:count]
    keys = np.round(costs / ROUNDING)
    last = int(np.argmax([len(np.unique(column)) for column in keys.T]))
    others = [keys[:, column] for column in range(keys.shape[1]) if column != last]
    order = np.lexsort((losses, keys[:, last], *others))
    starts = np.zeros(len(order), bool)
    for column in others:
        starts[1:] |= column[order][1:] != column[order][:-1]
    # One running minimum for all kinds: each lies below the whole range of the one before it.
    lowered = losses[order] - starts.cumsum() * 2 * (float(np.ptp(losses)) or 1.0)
    rows = np.concatenate([order[layer] for layer in _layers(lowered, count)])
    return rows if not others or len(rows) < CROWDED else rows[_survivors(losses[rows], costs[rows], count)]


def _layers(values: Array, count: int) -> Iterator[NDArray[np.int64]]:
    """`count` times the places of what is less than all before it, each time of what is left.

    What is in none of them has one of each before it that is no greater.
    """
    left = np.arange(len(values))
    while count and len(left):
        best = np.minimum.accumulate(values[left])
        first = np.concatenate(([True], values[left][1:] < best[:-1]))
        yield left[first]
        left, count = left[~first], count - 1


def _survivors(losses: Array, costs: Array, count: int) -> NDArray[np.int64]:
    """Rows that fewer than `count` of the STRONGEST beat or equal in everything; the strongest themselves stay."""
    values = np.column_stack((losses / (float(np.ptp(losses)) or 1.0), costs))
    alive = np.argsort(values.sum(axis=1), kind="stable")  # what dominates a row has a smaller sum
    times = np.zeros(len(alive), np.int64)
    passed = 0
    while passed < min(STRONGEST, len(alive)):
        killers, rest = values[alive[passed : passed + BLOCK]], values[alive[passed + BLOCK :]]
        beaten = np.ones((len(rest), len(killers)), bool)
        for column in range(values.shape[1]):
            beaten &= killers[:, column] <= rest[:, column, None]
        times[passed + BLOCK :] += beaten.sum(axis=1)
        stays = times < count
        alive, times = alive[stays], times[stays]
        passed += BLOCK
    return alive


def _trace(problem: _Prepared, steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]], row: int) -> Choice:
    """The choice that a row of the last merge came from."""
    choice = [0] * len(steps)
    for stage, rows, (parents, options) in zip(
        reversed(problem.stages), reversed(problem.options), reversed(steps), strict=True
    ):
        choice[stage] = int(rows[options[row]])
        row = int(parents[row])
    return tuple(choice)
