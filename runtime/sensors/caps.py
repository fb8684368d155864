"""How large a subnet may be at most: what heat, battery, memory and a power budget ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Caps:
    """The largest subnet that may be used, and why it is no larger one."""

    largest: int = 0
    """First rung of the ladder that may be used; 0, the most accurate, is no cap. A number past the last
    rung means the last one: who makes a cap need not know the ladder."""
    reasons: tuple[str, ...] = ()
    """What asked for it, such as `temperature` or `battery`; every one that capped, not the strictest alone."""

    def __post_init__(self) -> None:
        if self.largest < 0:
            raise ValueError(f"largest: expected a rung of the ladder, 0 or more, got {self.largest}")

    def rung(self, rungs: int) -> int:
        """The first rung that may be used on a ladder of so many (1 or more)."""
        return min(self.largest, rungs - 1)


NO_CAPS = Caps()
"""Every rung may be used."""


def strictest(caps: Iterable[Caps]) -> Caps:
    """All of the caps at once: the smallest subnet wins, and the reasons of all are kept, each once."""
    every = tuple(caps)
    return Caps(
        largest=max((cap.largest for cap in every), default=0),
        reasons=tuple(dict.fromkeys(reason for cap in every for reason in cap.reasons)),
    )


FIRST_HOLD_S = 10.0
LONGEST_HOLD_S = 160.0
"""How long it must be calm before a larger subnet is tried; doubled by each try that failed."""

TRIAL_S = 60.0
"""A try that is pressed back within this time has failed."""


@dataclass(frozen=True)
class Stepper:
    """Where the cap stands; `next` gives the one after. Time is in seconds from any fixed moment."""

    level: int = 0
    """Rungs of the ladder that may not be used."""
    changed_s: float = -math.inf
    calm_since_s: float | None = None
    raised_s: float = -math.inf
    hold_s: float = FIRST_HOLD_S

    def next(self, *, pressed: bool, calm: bool, now: float, last: int, pause_s: float) -> Stepper:
        """The stepper after one look; `last` is the smallest subnet's rung, `pause_s` the least time between steps
        down, in which the step before shows its effect. Neither pressed nor calm (between the two thresholds):
        stay."""
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
        """The same level on a clock that jumped back to `now`."""
        return Stepper(level=self.level, changed_s=now, hold_s=self.hold_s)
