"""Restraints on the choice of a subnet, learnt from the requests before.

`Backoff` holds back work as long as that which just missed deadlines, `Probing` paces the tries above a DAN, and
`Arrivals` counts the later requests that a long run makes late. None is safe for several threads by itself; times are
passed in, in seconds from any fixed moment.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

FIRST_HOLD_S = 0.5
LONGEST_HOLD_S = 4.0
"""Each failed try doubles the time to the next one, up to the longest: what is left of a load that stays is one
or two late answers every few seconds, and what a load that went away costs is at most this long."""

MISSES_TOGETHER_S = 0.5
MISSES_TOGETHER = 6
"""One miss is what the target allows; a second one within this time and so few requests is hardly one of chance: at
99 %, one in sixteen."""


class Backoff:
    """Down at the second miss, up one try at a time, and later after each try that failed.

    The latency model multiplies: a slow-down learnt on small subnets is too hopeful for large ones where
    the machine takes the processor away in slices, since only a long run is interrupted. Whatever the
    reason, work as long as that which just failed is not tried again at once. Work is measured by its
    expected time on the unloaded device, so that texts of all lengths share what was learnt.
    """

    def __init__(self) -> None:
        self._limit_ms = math.inf
        self._top_ms = 0.0
        self._hold_s = FIRST_HOLD_S
        self._until = -math.inf
        self._missed_at = -math.inf
        self._since_miss = MISSES_TOGETHER

    def limit_ms(self, now: float) -> float:
        """Work of this expected time and longer is held back; the limit doubles each time a hold ends."""
        if self._until - now > LONGEST_HOLD_S:  # the clock was set back
            self._until = now
        if self._limit_ms < math.inf and now >= self._until:
            self._limit_ms *= 2
            if self._limit_ms > self._top_ms:
                self._limit_ms = math.inf
            self._until = now + FIRST_HOLD_S  # on trial: a miss until then is a failed try
        return self._limit_ms

    def record(self, expected_ms: float, *, met: bool, now: float) -> None:
        """Take in whether work that was expected to keep its deadline kept it."""
        self._since_miss += 1
        if met or expected_ms >= self._limit_ms:  # from before the last step down: it tells nothing new
            return
        on_trial = now < self._until
        together = 0 <= now - self._missed_at <= MISSES_TOGETHER_S and self._since_miss <= MISSES_TOGETHER
        self._missed_at, self._since_miss = now, 0
        if not (on_trial or together):
            return
        if not on_trial:
            self._hold_s = FIRST_HOLD_S
            self._top_ms = 0.0
        self._limit_ms, self._top_ms = expected_ms, max(self._top_ms, expected_ms)
        self._until = now + self._hold_s
        self._hold_s = min(2 * self._hold_s, LONGEST_HOLD_S)


SHORTEST_S = 0.002
LONGEST_S = 0.5
"""Bounds of the pause between two tries; the longest at first."""

FASTER = 0.8
SLOWER = FASTER**-10
"""A try that is in time shortens the pause, one that is late undoes ten of those."""

MARGIN = 1.5
"""A try must fit though it took so many times what it is believed to take."""


class Probing:
    """The pause between tries: shorter with each that is in time, much longer with one that is late.

    What is not heard from becomes uncertain, what is uncertain does not fit, and what does not fit is not heard from:
    without tries an engine that an overload drove down to its DAN would stay there.
    """

    def __init__(self) -> None:
        self._pause_s = LONGEST_S
        self._tried_at: float | None = None

    def due(self, now: float) -> bool:
        """Whether the pause is over."""
        return self._tried_at is None or not 0 <= now - self._tried_at < self._pause_s

    def begins(self, now: float) -> None:
        """Take in that a try begins."""
        self._tried_at = now

    def ended(self, *, met: bool) -> None:
        """Take in whether it was in time."""
        pause_s = self._pause_s * (FASTER if met else SLOWER)
        self._pause_s = max(SHORTEST_S, min(LONGEST_S, pause_s))


FOLLOWED = 8
"""Last runs that are followed: whom they would make late, had they taken longer."""

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
        """Take in that a run begins, with others waiting or not."""
        self._weight /= MEMORY
        if self._weight > LARGEST_WEIGHT:
            self._counts = [count / self._weight for count in self._counts]
            self._limits = tuple([count / self._weight for count in limits] for limits in self._limits)  # type: ignore[assignment]
            self._weight = 1.0
        self._counts[queued] += self._weight
        self._runs.append(_Run(now, queued))

    def made_late(self, queued: bool, run_ms: float) -> float:
        """Requests that a run of that length makes late on average; never fewer for a longer one.

        `queued`: whether others wait behind it.
        """
        count = self._counts[queued]
        return sum(self._limits[queued][: _step(run_ms)]) / count if count else 0.0


@dataclass(slots=True)
class _Run:
    """A run that is followed."""

    began_s: float
    queued: bool
    served_ms: float = 0.0
    """Time of those behind it, on the fastest subnet."""


def _step(ms: float) -> int:
    if ms <= LEAST_MS:
        return 0
    return min(STEPS - 1, int(PER_OCTAVE * math.log2(ms / LEAST_MS)))
