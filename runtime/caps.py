"""How large a subnet may be at most: what heat, battery, memory and a power budget ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
