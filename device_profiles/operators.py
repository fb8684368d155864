"""Costs of single operators on a device: the part of a profile that applies to any bundle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gearshift.device_profiles.checks import check_date, check_names, mapping, require
from gearshift.number_checks import is_finite, is_whole

ANY = "*"
"""Kind whose costs stand in for operators that were never measured."""


@dataclass(frozen=True)
class Operator:
    """An execution of an operator: the arithmetic it does and the data it moves."""

    kind: str
    """Operator type by its ONNX name, such as `MatMul` or `QAttention`."""
    macs: int = 0
    """Multiply-accumulates of its matrix products."""
    weights: int = 0
    """Count of elements of its constant matrices."""
    values: int = 0
    """Count of the other elements that it reads and writes."""
    scores: int = 0
    """Count of elements that go through a softmax."""

    @property
    def amounts(self) -> tuple[float, ...]:
        """Amounts that costs refer to: one call, and millions of MACs, weights, values and scores."""
        return (1.0, self.macs / 1e6, self.weights / 1e6, self.values / 1e6, self.scores / 1e6)


AMOUNTS = ("call", "macs", "weights", "values", "scores")


@dataclass(frozen=True)
class OperatorCosts:
    """Costs in microseconds of each kind of operator, at one precision, provider and number of threads, for batch 1.

    The time of an operator is a sum over its `amounts`, each with its own non-negative rate. It is a linear form of the
    roofline (Williams, Waterman and Patterson 2009): arithmetic and memory traffic add up instead of overlapping.
    Raises ProfileError for impossible numbers.
    """

    precision: str
    provider: str
    threads: int
    microseconds: Mapping[str, tuple[float, ...]]
    """Kind -> microseconds of a call, and of a million MACs, weights, values and scores."""
    between_us: float
    """Microseconds added for each operator: the cost of getting from one to the next, less the overhead of tracing on
    each."""
    error_median: float | None
    error_p95: float | None
    """|summed / measured - 1| of whole calls of a bundle that the costs were not fitted to; None if there was none."""
    shapes: int
    """Number of distinct operators and shapes behind the costs."""
    method: str
    date: str

    def __post_init__(self) -> None:
        for name in ("precision", "provider", "method", "date"):
            value = getattr(self, name)
            require(isinstance(value, str), f"operators: {name}: expected text, found {value!r}")
        for name in ("threads", "shapes"):
            value = getattr(self, name)
            require(is_whole(value, 1), f"operators: {name}: expected a whole number from 1 on, found {value!r}")
        require(is_finite(self.between_us), f"operators: between_us: expected a number, found {self.between_us!r}")
        for name in ("error_median", "error_p95"):
            value = getattr(self, name)
            require(value is None or is_finite(value), f"operators: {name}: expected a number or null, found {value!r}")
        check_date(self.date)
        require(ANY in self.microseconds, f"operators: expected costs of {ANY!r}, for kinds never measured")
        for kind, costs in self.microseconds.items():
            usable = len(costs) == len(AMOUNTS) and all(is_finite(cost) and cost >= 0 for cost in costs)
            require(usable, f"operators: {kind}: expected {len(AMOUNTS)} numbers from 0 on, found {list(costs)}")

    def predict_ms(self, operators: Iterable[Operator]) -> float:
        """Return the milliseconds of a call that executes these operators one after another."""
        total = 0.0
        for operator in operators:
            costs = self.microseconds.get(operator.kind, self.microseconds[ANY])
            own = math.fsum(cost * amount for cost, amount in zip(costs, operator.amounts, strict=True))
            total += max(own + self.between_us, 0.0)
        return total / 1e3

    def unknown(self, operators: Iterable[Operator]) -> set[str]:
        """Return the kinds that were never measured, for which ANY stands in."""
        return {operator.kind for operator in operators} - self.microseconds.keys()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {**vars(self), "microseconds": {kind: list(costs) for kind, costs in self.microseconds.items()}}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> OperatorCosts:
        """Read the costs that `to_dict` wrote; raises ProfileError."""
        check_names("operators", raw, set(cls.__dataclass_fields__))
        kinds = mapping("operators: microseconds", raw["microseconds"])
        return cls(**{**raw, "microseconds": {kind: tuple(costs) for kind, costs in kinds.items()}})
