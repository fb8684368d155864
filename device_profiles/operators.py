"""What single operators cost on a device: the part of a profile that is good for any bundle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gearshift.device_profiles.checks import check_date, check_names, mapping, require
from gearshift.number_checks import is_finite, is_whole

ANY = "*"
"""Kind whose costs stand in for those of an operator that was never seen."""


@dataclass(frozen=True)
class Operator:
    """One execution of an operator: what it computes, and what it moves."""

    kind: str
    """As ONNX names it, such as `MatMul` or `QAttention`."""
    macs: int = 0
    """Multiply-accumulates of its matrix products."""
    weights: int = 0
    """Numbers of its constant matrices."""
    values: int = 0
    """Numbers that it reads and writes besides."""
    scores: int = 0
    """Numbers that go through a softmax."""

    @property
    def amounts(self) -> tuple[float, ...]:
        """What costs are given for: one call, and millions of macs, weights, values and scores."""
        return (1.0, self.macs / 1e6, self.weights / 1e6, self.values / 1e6, self.scores / 1e6)


AMOUNTS = ("call", "macs", "weights", "values", "scores")


@dataclass(frozen=True)
class OperatorCosts:
    """Microseconds of every kind of operator at one precision, provider and number of threads, batch 1.

    The time of an operator is a sum over its `amounts`, each with a rate of its own that is not negative: a linear
    form of the roofline (Williams, Waterman and Patterson 2009), in which arithmetic and traffic add up instead of
    hiding each other. Raises ProfileError where a number cannot be one.
    """

    precision: str
    provider: str
    threads: int
    microseconds: Mapping[str, tuple[float, ...]]
    """Kind -> of a call, and of a million macs, weights, values and scores."""
    between_us: float
    """Added for each operator: what it costs to get from one to the next, less what tracing added to each."""
    error_median: float | None
    error_p95: float | None
    """|summed / measured - 1| of whole calls of a bundle that had no part in the costs; None where none was at hand."""
    shapes: int
    """Different operators and shapes behind the costs."""
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
        require(ANY in self.microseconds, f"operators: expected costs of {ANY!r}, for those that were never seen")
        for kind, costs in self.microseconds.items():
            usable = len(costs) == len(AMOUNTS) and all(is_finite(cost) and cost >= 0 for cost in costs)
            require(usable, f"operators: {kind}: expected {len(AMOUNTS)} numbers from 0 on, found {list(costs)}")

    def predict_ms(self, operators: Iterable[Operator]) -> float:
        """Milliseconds of one call that executes these operators, one after another."""
        total = 0.0
        for operator in operators:
            costs = self.microseconds.get(operator.kind, self.microseconds[ANY])
            own = math.fsum(cost * amount for cost, amount in zip(costs, operator.amounts, strict=True))
            total += max(own + self.between_us, 0.0)
        return total / 1e3

    def unknown(self, operators: Iterable[Operator]) -> set[str]:
        """Kinds among these that were never seen, so that ANY stands in for them."""
        return {operator.kind for operator in operators} - self.microseconds.keys()

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {**vars(self), "microseconds": {kind: list(costs) for kind, costs in self.microseconds.items()}}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> OperatorCosts:
        """The costs that `to_dict` wrote; raises ProfileError."""
        check_names("operators", raw, set(cls.__dataclass_fields__))
        kinds = mapping("operators: microseconds", raw["microseconds"])
        return cls(**{**raw, "microseconds": {kind: tuple(costs) for kind, costs in kinds.items()}})
