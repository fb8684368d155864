"""Look-up of the best subnets in block tables: knapsack problems over the options, one per combination of widths.

The cost of a projection between layers depends only on the widths at its ends. For fixed widths of all stages the
costs are therefore sums over stages: one knapsack. A combination of widths whose least loss is no better than the
choices found so far is left out. All layers of an elastic encoder have one width: one knapsack.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.space.parts import projection_part
from gearshift.runtime.space.space import Choice, Option, Stage
from gearshift.runtime.space.subnet import Shape
from gearshift.runtime.tables.knapsack import Problem, best_choices, nearest
from gearshift.runtime.tables.latency import LatencyPredictor
from gearshift.runtime.tables.limits import Limits

if TYPE_CHECKING:
    from gearshift.runtime.tables.tables import Row, Tables

Floats = NDArray[np.float64]

Widths = tuple[int, ...]
"""Widths of the consecutive layers of a stage."""


class LookUp:
    """Look-up in tables: options of each stage grouped by widths, with their costs in the limited quantities."""

    def __init__(
        self,
        tables: Tables[Any, Any],
        limits: Limits,
        asked: list[str],
        latency: LatencyPredictor[Any] | None,
        shape: Shape[Any],
        first_only: bool,
    ) -> None:
        """Group the options; `asked`: names of the limited costs, `shape`: shape of the subnets to be costed."""
        self._tables, self._limits, self._asked, self._latency = tables, limits, asked, latency
        self._shape, self._first_only = shape, first_only
        stages = tables.space.stages
        self._all_skip = int(all(any(option.skips for option in stage.options) for stage in stages))
        """1 if all layers can be skipped: one more cost then ensures that some layer runs; else 0."""
        self._limit = np.array([getattr(limits, name) for name in asked], float)
        self._numbers: list[dict[Widths, list[int]]] = []
        self._losses: list[dict[Widths, Floats]] = []
        self._costs: list[dict[Widths, Floats]] = []
        for stage, rows in zip(stages, tables.rows, strict=True):
            numbers: dict[Widths, list[int]] = {}
            for number, option in enumerate(stage.options):
                numbers.setdefault(tuple(map(shape.width, option.layers)), []).append(number)
            self._numbers.append(dict(sorted(numbers.items())))
            self._losses.append({key: np.array([rows[n].loss for n in of]) for key, of in numbers.items()})
            self._costs.append({key: self._table(stage, of, rows) for key, of in numbers.items()})

    def best(self, count: int) -> list[Choice]:
        """Return the `count` choices of least loss within the limits, best first."""
        combinations = self._combinations()
        if len(combinations) == 1:
            return self._best_of(combinations[0][1], count)
        found: list[tuple[float, Choice]] = []
        for bound, widths in combinations:
            if len(found) >= count and bound >= found[count - 1][0]:
                break
            found += [(self._loss(choice), choice) for choice in self._best_of(widths, count)]
            found.sort()
        return [choice for _, choice in found[:count]]

    def _best_of(self, widths: tuple[Widths, ...], count: int) -> list[Choice]:
        """Return the choices of least loss among those of these widths."""
        problem = self._problem(widths, self._fixed(widths))
        return [self._choice(widths, choice) for choice in best_choices(problem, count)]

    def _loss(self, choice: Choice) -> float:
        return math.fsum(rows[number].loss for rows, number in zip(self._tables.rows, choice, strict=True))

    def nearest(self) -> Choice:
        """Return the choice that needs the least factor on the limits."""
        candidates: list[tuple[float, Choice]] = []
        for _, widths in self._combinations():
            fixed = self._fixed(widths)
            problem = self._problem(widths, fixed)
            choice = nearest(problem.with_fixed(np.append(fixed, np.zeros(self._all_skip))))
            total = problem.totals(choice)[1][: len(fixed)] + fixed
            candidates.append((float((total / self._limit).max()), self._choice(widths, choice)))
        return min(candidates, key=lambda one: one[0])[1]

    def _combinations(self) -> list[tuple[float, tuple[Widths, ...]]]:
        """Return (least loss, widths of the stages) for each combination of widths, least loss first."""
        return sorted(
            (math.fsum(float(losses[key].min()) for losses, key in zip(self._losses, keys, strict=True)), keys)
            for keys in itertools.product(*self._numbers)
        )

    def _problem(self, widths: tuple[Widths, ...], fixed: Floats) -> Problem:
        losses = tuple(of_stage[key] for of_stage, key in zip(self._losses, widths, strict=True))
        costs = tuple(of_stage[key] for of_stage, key in zip(self._costs, widths, strict=True))
        return Problem(losses, costs, np.append(self._limit - fixed, -np.ones(self._all_skip)))

    def _choice(self, widths: tuple[Widths, ...], choice: Choice) -> Choice:
        return tuple(numbers[key][n] for numbers, key, n in zip(self._numbers, widths, choice, strict=True))

    def _table(self, stage: Stage[Any], numbers: list[int], rows: tuple[Row, ...]) -> Floats:
        """Return the costs of these options of a stage, shape (options, costs)."""
        options = [stage.options[number] for number in numbers]
        columns = [
            [self._cost(name, stage, option, rows[number]) for option, number in zip(options, numbers, strict=True)]
            for name in self._asked
        ]
        if self._all_skip:  # the limit is -1 on minus the number of stages that run
            columns.append([-float(not option.skips) for option in options])
        return np.array(columns, float).reshape(len(columns), len(numbers)).T

    def _cost(self, name: str, stage: Stage[Any], option: Option[Any], row: Row) -> float:
        if name == "latency_ms":
            assert self._latency is not None
            place = {"first": stage.first, "of": self._tables.space.length}
            return self._latency.layers(option.layers, self._limits.length, **place, first_only=self._first_only)
        return float(row.bytes[self._limits.precision] if name == "bytes" else getattr(row, name))

    def _fixed(self, widths: tuple[Widths, ...]) -> Floats:
        """Return the costs of the embeddings and of the projections between these widths, shape (costs,)."""
        joints = self._shape.joints([width for of_stage in widths for width in of_stage])
        parts = [projection_part(*pair) for pair in joints]
        precision, tokens, length = self._limits.precision, self._tables.macs_tokens, self._limits.length
        values = []
        for name in self._asked:
            if name == "latency_ms":
                assert self._latency is not None
                between = sum(self._latency.projection(*pair, length) for pair in joints)
                values.append(self._latency.fixed(length) + between)
            elif name == "bytes":
                values.append(self._shape.embedding_bytes(precision) + sum(part.bytes(precision) for part in parts))
            elif name == "macs":
                values.append(sum(part.macs(tokens) for part in parts))
            else:
                values.append(self._shape.embedding_parameters + sum(part.parameters for part in parts))
        return np.array(values, float)
