"""How many of those that come after a request will be late because of it; learnt from who came after those before."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

FOLLOWED = 8
"""So many of the last runs are followed: whom they would make late, had they taken longer."""


MEMORY = 0.995
"""Share of the counts that each run leaves: about the last 200 runs."""


PER_OCTAVE = 4


LEAST_MS = 0.05


STEPS = 80
"""Times are counted in steps of a quarter of an octave, from 0.05 ms to some 50 seconds."""


LARGEST_WEIGHT = 1e12
"""Old counts fade because new ones weigh more; beyond this weight all are scaled back."""


class Arrivals:
    """Expected number of later requests that a run of some length makes late.

    A run that begins at S and takes R is followed by those that were served next, each, say, for the time f of the
    fastest subnet. The k-th of them came at a, has the deadline d, and is late if

        S + R + f_1 + ... + f_k > a + d,    that is for every R above the limit a + d - S - f_1 - ... - f_k.

    The limits of those that came after S are counted; the share of them below R, over the runs, is what a run of R
    costs. Runs that begin with others waiting have counts of their own: they are within a burst.
    Not safe for several threads by itself; times are passed in, in seconds from any fixed moment.
    """

    def __init__(self) -> None:
        self._runs: deque[_Run] = deque(maxlen=FOLLOWED)
        self._limits = ([0.0] * STEPS, [0.0] * STEPS)
        self._counts = [0.0, 0.0]
        self._weight = 1.0

    def came(self, arrival_s: float, deadline_ms: float, fastest_ms: float) -> None:
        """Take in one whose turn has come: when it arrived, its deadline from then on, and its time on the fastest."""
        for run in self._runs:
            run.served_ms += fastest_ms
            after_ms = (arrival_s - run.began_s) * 1e3
            if after_ms > 0:
                self._limits[run.queued][_step(after_ms + deadline_ms - run.served_ms)] += self._weight

    def begins(self, now: float, *, queued: bool) -> None:
        """A run begins, with others waiting or not."""
        self._weight /= MEMORY
        if self._weight > LARGEST_WEIGHT:
            self._counts = [count / self._weight for count in self._counts]
            self._limits = tuple([count / self._weight for count in limits] for limits in self._limits)  # type: ignore[assignment]
            self._weight = 1.0
        self._counts[queued] += self._weight
        self._runs.append(_Run(now, queued))

    def made_late(self, run_ms: float, *, queued: bool) -> float:
        """Requests that a run of that length makes late, on average; never fewer for a longer one."""
        count = self._counts[queued]
        return sum(self._limits[queued][: _step(run_ms)]) / count if count else 0.0


@dataclass(slots=True)
class _Run:
    """One that is followed."""

    began_s: float
    queued: bool
    served_ms: float = 0.0
    """Of those behind it, at the fastest subnet's time."""


def _step(ms: float) -> int:
    if ms <= LEAST_MS:
        return 0
    return min(STEPS - 1, int(PER_OCTAVE * math.log2(ms / LEAST_MS)))
