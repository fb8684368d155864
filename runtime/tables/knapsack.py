"""Exact solver of the multiple-choice knapsack with several constraints: the best choices under given limits.

A problem has a loss and some costs for every option of every stage, and a limit for each cost. Losses and costs add
up over the stages. It is solved in two steps:

1. Find Lagrange multipliers (a price for each cost) that make the Lagrangian bound nearly as large as possible. For any
   multipliers, no completion of a partial choice has a loss below the bound that they give.
2. Merge partial choices stage by stage. A partial choice is kept if it is within the limits, and its bound is at most
   the loss of a known choice, which a first, inexact pass (a beam search) has found. If the best `count` choices are
   wanted, it must also be equalled or beaten in loss and all costs by fewer than `count` others. Several sets of
   multipliers are tried on each partial choice; the largest bound counts.

The multipliers change the number of partial choices, never the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.runtime.space.space import Choice

Array = NDArray[np.float64]

SMOOTHINGS = (0.3, 0.1, 0.03, 0.01, 0.003)
"""Temperatures of the smoothed bound, as shares of the spread of the loss; the last is low enough for a tight bound."""

NEWTON_STEPS = 4
"""Newton steps at each temperature."""

BEAM = 128
"""Partial choices that the first, inexact pass keeps at each stage. Its best loss bounds the optimum from above."""

VARIED = (0.5, 0.8, 1.25, 2.0)
"""Factors by which every price is varied as well: a partial choice that spent much or little has other good prices."""

MERGED_FROM = 256
"""Number of partial choices from which dominated ones are removed; below it, sorting costs more than it saves."""

CROWDED = 1500
STRONGEST = 512
BLOCK = 64
"""Number of partial choices from which all are compared with the STRONGEST ones, in blocks of BLOCK."""

ROUNDING = 1e-9
"""Tolerance for rounding errors of sums, as a share of a limit."""


@dataclass(frozen=True)
class Problem:
    """Knapsack problem: loss and costs of every option of every stage, and the limits of the summed costs."""

    losses: tuple[Array, ...]
    """(options,) for each stage."""
    costs: tuple[Array, ...]
    """(options, costs) for each stage."""
    limits: Array
    """(costs,)"""

    def least(self) -> Array:
        """Return the least possible sum of each cost by itself, shape (costs,)."""
        total: Array = np.sum([costs.min(axis=0) for costs in self.costs], axis=0)
        return total

    def with_fixed(self, fixed: Array) -> Problem:
        """Return the problem with fixed costs, shape (costs,), added to every choice and to the limits.

        `nearest` then scales limits that include them.
        """
        first, *others = self.costs
        return Problem(self.losses, (first + fixed, *others), self.limits + fixed)

    def totals(self, choice: Choice) -> tuple[float, Array]:
        """Return the loss of a choice, and its costs, shape (costs,)."""
        loss = math.fsum(losses[option] for losses, option in zip(self.losses, choice, strict=True))
        costs: Array = np.sum([costs[option] for costs, option in zip(self.costs, choice, strict=True)], axis=0)
        return loss, costs


def best_choices(problem: Problem, count: int = 1) -> list[Choice]:
    """Return the `count` choices of least loss within the limits, best first; fewer if there are no more."""
    prepared = _prepare(problem)
    if prepared is None:
        return []
    bounds = _bounds(prepared)
    rough = _merge(prepared, bounds, math.inf, beam=max(BEAM, 4 * count)).losses
    enough = float(np.partition(rough, count - 1)[count - 1]) if len(rough) >= count else math.inf
    return _merge(prepared, bounds, enough, count=count).best(count)


def nearest(problem: Problem) -> Choice:
    """Return the choice that needs the least factor on the positive limits, when no choice is within them.

    The factor is found by bisection, to a thousandth of it. Limits that are not positive stay as they are; raises
    InputError if they cannot be met at all.
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
    """Problem in normal form: in every stage the least cost is 0, costs are shares of their limits.

    Options that exceed a limit by themselves are left out.
    """

    losses: list[Array]
    costs: list[Array]
    limits: Array
    options: list[NDArray[np.int64]]
    """Option index of each row, for each stage."""
    stages: list[int]
    """Stage index of each entry: stages with the widest range of losses first."""


def _prepare(problem: Problem) -> _Prepared | None:
    """Return the problem in normal form; None if a single limit cannot be met."""
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
    """Return multipliers that bring the Lagrangian bound near its maximum, shape (costs,).

    Newton's method on the bound, with its minima smoothed (log-sum-exp at temperature t) and a logarithmic barrier that
    keeps the prices positive; t falls step by step.
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
    """Lower bounds on the loss of all completions of a partial choice."""

    prices: Array
    """Multipliers of each bound, shape (bounds, costs)."""
    rest: Array
    """Least sum that the stages from each one on add, less the price of the limits; shape (stages + 1, bounds)."""

    def of(self, losses: Array, costs: Array, stage: int) -> Array:
        """Return the largest bound of each partial choice after `stage` stages, shape (partial,).

        Shapes: `losses` (partial,), `costs` (partial, costs).
        """
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
    """Complete choices, with the steps of the merge that lead back to their options."""

    problem: _Prepared
    losses: Array
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    """(parent rows, options) of each merged stage."""

    def best(self, count: int) -> list[Choice]:
        """Return the choices of least loss, best first."""
        order = np.argsort(self.losses, kind="stable")[:count]
        return [_trace(self.problem, self.steps, int(row)) for row in order]


def _merge(problem: _Prepared, bounds: _Bounds, enough: float, *, count: int = 0, beam: int = 0) -> _Merged:
    """Return the choices within the limits whose loss is at most `enough`.

    `count`: leave out partial choices that `count` others dominate; only the best `count` choices are then complete.
    `beam`: keep only this many partial choices of each stage, those with the least bounds.
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
    """Return the rows that fewer than `count` others equal or beat in loss and every cost; some others may stay too.

    A row that is left out has `count` such others among the rows that stay: for each of its completions, `count` others
    are as good. Rows that differ in a single cost, as when all layers have the same shape, are compared with all others
    of their kind. If many rows are left, they are compared with the STRONGEST of all.
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
    # Each kind is shifted below the whole range of the one before it, so that one running minimum serves all kinds.
    lowered = losses[order] - starts.cumsum() * 2 * (float(np.ptp(losses)) or 1.0)
    rows = np.concatenate([order[layer] for layer in _layers(lowered, count)])
    return rows if not others or len(rows) < CROWDED else rows[_survivors(losses[rows], costs[rows], count)]


def _layers(values: Array, count: int) -> Iterator[NDArray[np.int64]]:
    """Yield, `count` times, the places of the strict running minima of the values that are left.

    A value that is never yielded is preceded, each time, by one that is no greater.
    """
    left = np.arange(len(values))
    while count and len(left):
        best = np.minimum.accumulate(values[left])
        first = np.concatenate(([True], values[left][1:] < best[:-1]))
        yield left[first]
        left, count = left[~first], count - 1


def _survivors(losses: Array, costs: Array, count: int) -> NDArray[np.int64]:
    """Return the rows that fewer than `count` of the STRONGEST equal or beat in loss and every cost."""
    values = np.column_stack((losses / (float(np.ptp(losses)) or 1.0), costs))
    alive = np.argsort(values.sum(axis=1), kind="stable")  # a row that dominates another has a smaller sum
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
    """Return the choice of a row of the last merge."""
    choice = [0] * len(steps)
    for stage, rows, (parents, options) in zip(
        reversed(problem.stages), reversed(problem.options), reversed(steps), strict=True
    ):
        choice[stage] = int(rows[options[row]])
        row = int(parents[row])
    return tuple(choice)
