"""Limits on the cost of a subnet: latency, parameters, bytes and MACs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import PRECISIONS


@dataclass(frozen=True)
class Limits:
    """Limits on the cost of a subnet; None: no limit. Raises InputError for one that is not positive and finite."""

    latency_ms: float | None = None
    parameters: float | None = None
    bytes: float | None = None
    macs: float | None = None
    length: int = 128
    """Length in tokens of the text that the latency limit is for."""
    precision: str = "fp32"
    """Precision that the limit of bytes is for."""

    def __post_init__(self) -> None:
        for name in COSTS:
            limit = getattr(self, name)
            if limit is not None and (not is_cost(limit) or limit <= 0):
                raise InputError(f"{name}: expected a positive number, got {limit!r}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if isinstance(self.length, bool) or not isinstance(self.length, int) or self.length < 1:
            raise InputError(f"length: expected a whole number of tokens from 1 on, got {self.length!r}")


COSTS = ("latency_ms", "parameters", "bytes", "macs")
UNITS = {"latency_ms": "ms", "parameters": "parameters", "bytes": "bytes", "macs": "MACs"}


def told(limits: Limits, names: Sequence[str]) -> str:
    """Write the named limits in words, as they were given."""
    return " and ".join(f"{getattr(limits, name):,.15g} {UNITS[name]}" for name in names)


def allow(nearest: object, names: Sequence[str]) -> str:
    """Write the advice if no subnet is within the named limits: the costs of the nearest one, rounded up."""
    costs = ((getattr(nearest, name), UNITS[name]) for name in names)
    amounts = (
        f"{cost:,} {unit}" if isinstance(cost, int) else f"{math.ceil(cost * 1e4) / 1e4:,.4f} {unit}"
        for cost, unit in costs
    )
    return f"the nearest takes {' and '.join(amounts)}: allow that much"


def is_cost(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
