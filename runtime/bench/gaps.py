"""Effect of pauses: calls after a pause take longer, since caches and clocks have gone down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

GAPS_S = (0.1, 1.0)
"""Pauses before a call: as between keystrokes, and as between turns of a conversation."""

MOST_CALLS = 12
"""Largest number of calls after each pause."""


@dataclass(frozen=True)
class GapEffect:
    """Times of calls after a pause, relative to calls without pauses."""

    gap_s: float
    median_ratio: float
    p95_ratio: float
    """95th percentile of the ratio; with few calls close to the slowest."""
    calls: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return asdict(self)


def gap_effects(
    timed_ms: Callable[[], float],
    usual_ms: float,
    *,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[GapEffect, ...]:
    """Time calls after each of GAPS_S, shortest pause first, for about `seconds` in all.

    `timed_ms`: function that makes a call and returns its milliseconds.
    `usual_ms`: time of a call without pauses.
    A pause is left out if there is no time for three of it.
    """
    effects = []
    for place, gap_s in enumerate(GAPS_S):
        count = min(MOST_CALLS, int(seconds / (len(GAPS_S) - place) / (gap_s + usual_ms / 1e3)))
        if count < 3:
            break
        ratios = []
        for _ in range(count):
            sleep(gap_s)
            ratios.append(timed_ms() / usual_ms)
        seconds -= count * (gap_s + usual_ms / 1e3)
        effects.append(GapEffect(gap_s, float(np.median(ratios)), float(np.percentile(ratios, 95)), count))
    return tuple(effects)
