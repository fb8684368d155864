"""Caps: the largest subnet that heat, battery, memory and a power budget allow."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Caps:
    """The largest subnet that may be used, and the reasons for the limit."""

    largest: int = 0
    """First rung of the ladder that may be used; 0, the most accurate, is no cap. A number past the last rung means the
    last one, so that a cap can be made without knowing the ladder."""
    reasons: tuple[str, ...] = ()
    """Reasons of the cap, such as `temperature` or `battery`: all that ask for one, not the strictest alone."""

    def __post_init__(self) -> None:
        if self.largest < 0:
            raise ValueError(f"largest: expected a rung of the ladder, 0 or more, got {self.largest}")


NO_CAPS = Caps()
"""Caps that allow every rung."""


def strictest(caps: Iterable[Caps]) -> Caps:
    """Combine caps: the strictest wins, and the reasons of all are kept, each once."""
    every = tuple(caps)
    return Caps(
        largest=max((cap.largest for cap in every), default=0),
        reasons=tuple(dict.fromkeys(reason for cap in every for reason in cap.reasons)),
    )


FIRST_HOLD_S = 10.0
LONGEST_HOLD_S = 160.0
"""Seconds of calm before a larger subnet is tried, at first and at most: each failed try doubles them."""

TRIAL_S = 60.0
"""Seconds within which a step down makes the try before it a failed one."""


@dataclass(frozen=True)
class Stepper:
    """Level of one cap, with hysteresis; `next` gives the one after a look. Times are in s from any fixed moment."""

    level: int = 0
    """Number of rungs, from the most accurate on, that may not be used."""
    changed_s: float = -math.inf
    """Moment of the last step, up or down."""
    calm_since_s: float | None = None
    """Moment at which the present calm began; None without calm."""
    raised_s: float = -math.inf
    """Moment of the last try of a larger subnet."""
    hold_s: float = FIRST_HOLD_S
    """Seconds of calm before the next try."""

    def next(self, *, pressed: bool, calm: bool, now: float, last: int, pause_s: float) -> Stepper:
        """Return the stepper after one look.

        `last`: rung of the fastest subnet.
        `pause_s`: least time between steps down, for the step before to take effect.
        Neither pressed nor calm (between the two thresholds): the level stays.
        """
        step = max(1, round(last / 6))
        if pressed:
            stepper = replace(self, calm_since_s=None)
            if self.level >= last or now - self.changed_s < pause_s:
                return stepper
            failed = now - self.raised_s < TRIAL_S
            hold_s = min(2 * self.hold_s, LONGEST_HOLD_S) if failed else FIRST_HOLD_S
            return replace(stepper, level=min(self.level + step, last), changed_s=now, hold_s=hold_s)
        if not calm or not self.level:
            return replace(self, calm_since_s=None)
        if self.calm_since_s is None:
            return replace(self, calm_since_s=now)
        if now - self.calm_since_s < self.hold_s:
            return self
        level = max(self.level - step, 0)
        return replace(self, level=level, changed_s=now, raised_s=now, calm_since_s=now)

    def rebased(self, now: float) -> Stepper:
        """Return the stepper at the same level, on a clock that jumped back to `now`."""
        return Stepper(level=self.level, changed_s=now, hold_s=self.hold_s)
