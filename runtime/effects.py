"""What a median does not show: the call after a pause, and the memory that a session takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.runtime.cgroup import read_text

GAPS_S = (0.1, 1.0)
"""Pauses before a call: a keyboard's, and a conversation's."""

MOST_CALLS = 12
"""Calls after each pause."""


@dataclass(frozen=True)
class GapEffect:
    """Calls after a pause, against calls that follow each other."""

    gap_s: float
    median_ratio: float
    p95_ratio: float
    """Of so few calls, close to the slowest."""
    calls: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Memory:
    """Of the process, in 10^6 bytes: proportional set size (PSS), and the part of it that no file backs."""

    pss_mb: float
    anonymous_mb: float

    def less(self, other: Memory) -> Memory:
        """What came on top of another moment."""
        return Memory(self.pss_mb - other.pss_mb, self.anonymous_mb - other.anonymous_mb)


def read_memory(root: Path = Path("/")) -> Memory | None:
    """The memory of this process now (Linux, smaps_rollup); None where it is unknown."""
    fields = dict(
        line.split(":", 1) for line in read_text(root / "proc/self/smaps_rollup").splitlines()[1:] if ":" in line
    )
    try:
        return Memory(*(float(fields[name].split()[0]) * 1024 / 1e6 for name in ("Pss", "Anonymous")))
    except (KeyError, ValueError, IndexError):
        return None


def gap_effects(
    timed_ms: Callable[[], float],
    usual_ms: float,
    *,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[GapEffect, ...]:
    """Calls after each of GAPS_S, shortest pause first, for about so many seconds in all; of `usual_ms` otherwise.

    `timed_ms` makes a call and gives its milliseconds.

    A pause that there is no time to take three times is left out.
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
