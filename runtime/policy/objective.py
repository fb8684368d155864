"""The service objective: share of deadlines to keep, accuracy floor, share of the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from gearshift.errors import InputError
from gearshift.number_checks import is_finite, shown
from gearshift.runtime.policy.slow_down import ADAPTATION
from gearshift.settings import setting

BEST_EFFORT, REJECT = "best_effort", "reject"
USUAL_SHARE = 0.99
"""Share of the requests that a predicted bound covers where no target was asked for."""

ON_MISS = (BEST_EFFORT, REJECT)


class Wanted(TypedDict, total=False):
    """Fields of an `Objective` as keyword arguments, for `Engine.load` and `Engine.steer`."""

    target: float | None
    late_value: float
    min_accuracy: float | None
    max_cpu_share: float | None
    on_miss: str


@dataclass(frozen=True)
class Objective:
    """The service objective of an engine; deadlines come with each request.

    Raises InputError that names the field that is out of its range.
    """

    target: float | None = setting(
        None,
        "keep at least this share of the deadlines that can be kept, from .5 to below 1; by default as many as give "
        "the most right answers in time",
        unit="SHARE",
    )
    late_value: float = setting(
        0.0, "what a late answer is worth, from 0 (nothing) to 1 (as much as one in time)", unit="SHARE"
    )
    min_accuracy: float | None = setting(
        None,
        "no subnet below this accuracy, 0 to 1, answers, that on dev rows if `inspect` shows one; without a deadline "
        "the fastest above it does",
        unit="SHARE",
    )
    max_cpu_share: float | None = setting(
        None, "without a deadline: share of the CPUs, 0 to 1, that requests may take on average", unit="SHARE"
    )
    on_miss: str = setting(
        BEST_EFFORT,
        "where no subnet keeps a deadline: best_effort answers as fast as can be, reject refuses",
        choices=ON_MISS,
    )

    def __post_init__(self) -> None:
        if self.target is not None and (not is_finite(self.target) or not 0.5 <= self.target < 1):
            raise InputError(f"target: expected a share of deadlines from 0.5 to below 1, got {shown(self.target)}")
        if not is_finite(self.late_value) or not 0 <= self.late_value <= 1:
            raise InputError(f"late_value: expected a share from 0 to 1, got {shown(self.late_value)}")
        for name in ("min_accuracy", "max_cpu_share"):
            share = getattr(self, name)
            if share is not None and not (is_finite(share) and 0 < share <= 1):
                raise InputError(f"{name}: expected a share above 0 and up to 1, got {shown(share)}")
        if self.on_miss not in ON_MISS:
            raise InputError(f"on_miss: expected {' or '.join(ON_MISS)}, got {self.on_miss!r}")

    @property
    def share(self) -> float:
        """Share of the requests that a predicted bound covers."""
        return USUAL_SHARE if self.target is None else self.target


@dataclass(frozen=True)
class Tuning:
    """Constants of the latency model; the defaults were tuned (`benchmarks.serving.policies`)."""

    margin: float = 0.8
    """Share of the held tail factor: a tail factor that stays below it for a dwell replaces the held one."""
    tolerance: float = 1.1
    """Multiple of the held tail factor above which the held one rises at once."""
    adaptation: float = ADAPTATION
    """Largest step of the tail, in deviations, after a request that took longer than predicted."""


DEFAULT_OBJECTIVE = Objective()
DEFAULT_TUNING = Tuning()
