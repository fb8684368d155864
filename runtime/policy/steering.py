"""What is asked of the engine, beside the deadlines of the requests."""

from __future__ import annotations

from dataclasses import dataclass

from gearshift.errors import InputError
from gearshift.runtime.policy.slow_down import ADAPTATION


@dataclass(frozen=True)
class Steering:
    """What the controller steers by; the defaults of the last three were tuned (`benchmarks.policies`).

    Raises InputError, which names what is out of its range.
    """

    target: float = 0.99
    """Share of the requests that take no longer than predicted, from .5 to below 1."""
    min_accuracy: float | None = None
    """No subnet below is used. Without a deadline the fastest from there on is."""
    max_cpu_share: float | None = None
    """Without a deadline: share of the CPUs, 0 to 1, that requests may take on average."""
    reject: bool = False
    """Whether a request that nothing fits gets the reason `rejected` in place of `best_effort`."""
    margin: float = 0.8
    """The factor that times are predicted with falls at once, after a dwell, where it falls below this share."""
    tolerance: float = 1.1
    """It rises at once where it rises by more than this."""
    adaptation: float = ADAPTATION
    """Step of the tail, in deviations, at a request that took longer than predicted."""

    def __post_init__(self) -> None:
        if not _is_number(self.target) or not 0.5 <= self.target < 1:
            raise InputError(f"target: expected a share of deadlines from 0.5 to below 1, got {self.target!r}")
        for name in ("min_accuracy", "max_cpu_share"):
            share = getattr(self, name)
            if share is not None and not (_is_number(share) and 0 < share <= 1):
                raise InputError(f"{name}: expected a share above 0 and up to 1, got {share!r}")
        if not isinstance(self.reject, bool):
            raise InputError(f"reject: expected True or False, got {self.reject!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


DEFAULT_STEERING = Steering()


ON_MISS = ("best_effort", "reject")


def rejects(on_miss: object) -> bool:
    if on_miss not in ON_MISS:
        raise InputError(f"on_miss: expected {' or '.join(ON_MISS)}, got {on_miss!r}")
    return on_miss == "reject"
