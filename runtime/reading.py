"""One signal: a value with its age, or unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """One signal: its value and how old that is, or both None where it is unknown."""

    value: float | None = None
    age_s: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


UNKNOWN = Reading()


def reading(read: Callable[[], float], *, least: float = 0.0, most: float = math.inf) -> Reading:
    """What `read` gives now; unknown where it raises, or gives no finite number from `least` to `most`."""
    try:
        value = float(read())
    except Exception:
        return UNKNOWN
    return Reading(value, 0.0) if math.isfinite(value) and least <= value <= most else UNKNOWN
