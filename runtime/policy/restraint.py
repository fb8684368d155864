"""Restraints on the choice of a subnet, learnt from past requests.

`Backoff` holds back work as long as the work that just missed deadlines. `Probing` paces exploration of the subnet
above a DAN. `Arrivals` counts the later requests that a long run makes late. The caller passes in times, in seconds
from any fixed moment. None of these is safe for several threads by itself.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_HOLD_S = 0.5
LONGEST_HOLD_S = 4.0
"""Shortest and longest hold in seconds; each failed try doubles it. Under a load that stays, one or two answers are
late every few seconds; after a load that ended, a hold lasts at most the longest."""

MISSES_TOGETHER_S = 0.5
MISSES_TOGETHER = 6
"""Seconds and number of requests within which two misses count as a load. The target allows one miss; a second one so
soon is hardly chance: at a target of 99 %, one case in sixteen."""


class Backoff:
    """Back-off after missed deadlines: down at the second miss, up one try at a time, later after each failed try.

    The latency model multiplies. Where the machine takes the processor away in slices, only a long run is interrupted,
    and a slow-down learnt on small subnets is too optimistic for large ones. Whatever the reason, work as long as the
    work that just failed is not tried again at once. Work is measured by its expected time on the unloaded device, so
    that texts of all lengths share what was learnt.
    """

    def __init__(self) -> None:
        self._limit_ms = math.inf
        self._top_ms = 0.0
        self._hold_s = FIRST_HOLD_S
        self._until = -math.inf
        self._missed_at = -math.inf
        self._since_miss = MISSES_TOGETHER

    def limit_ms(self, now: float) -> float:
        """Return the shortest expected time in ms that is held back; it doubles each time a hold ends."""
        if self._until - now > LONGEST_HOLD_S:  # the clock was set back
            self._until = now
        if self._limit_ms < math.inf and now >= self._until:
            self._limit_ms *= 2
            if self._limit_ms > self._top_ms:
                self._limit_ms = math.inf
            self._until = now + FIRST_HOLD_S  # on trial: a miss before that is a failed try
        return self._limit_ms

    def record(self, expected_ms: float, *, met: bool, now: float) -> None:
        """Take in whether work kept a deadline that it was expected to keep."""
        self._since_miss += 1
        if met or expected_ms >= self._limit_ms:  # decided before the last step down: it tells nothing new
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
"""Bounds of the pause between two tries in seconds; it starts at the longest."""

FASTER = 0.8
SLOWER = FASTER**-10
"""Factors on the pause: a try that is in time shortens it, a late one undoes ten of those."""

MARGIN = 1.5
"""Safety factor of a try: it must fit even if it takes this multiple of its expected time."""


class Probing:
    """Pace of exploration: the pause between tries is shorter after each one in time, much longer after a late one.

    A subnet that does not run becomes uncertain, an uncertain one does not fit, and one that does not fit does not run:
    without exploration an engine that an overload drove down to its DAN would stay there.
    """

    def __init__(self) -> None:
        self._pause_s = LONGEST_S
        self._tried_at: float | None = None

    def due(self, now: float) -> bool:
        """Return whether the pause is over."""
        return self._tried_at is None or not 0 <= now - self._tried_at < self._pause_s

    def begins(self, now: float) -> None:
        """Record the start of a try."""
        self._tried_at = now

    def ended(self, *, met: bool) -> None:
        """Adapt the pause to whether the try was in time."""
        pause_s = self._pause_s * (FASTER if met else SLOWER)
        self._pause_s = max(SHORTEST_S, min(LONGEST_S, pause_s))


EVERY = 3
FOLLOWED = 10
"""Runs that are followed, to count the requests that they would have made late by taking longer: every third one, and
the last ten of those. A burst of 30 requests is seen whole."""

MEMORY = 0.997
"""Share of the counts that remains after each followed run: about the last 1000 runs."""

PER_OCTAVE = 4
PER_LOG = PER_OCTAVE / math.log(2)
LEAST_MS = 0.05
STEPS = 80
"""Bins of times: steps of a quarter of an octave, from 0.05 ms to some 50 seconds."""

LARGEST_WEIGHT = 1e12
"""Weight at which all counts are scaled back: old counts fade because new ones weigh more."""


class Late:
    """Average number of later requests that runs make late: `scale` x the sum of the bin of a run's time."""

    __slots__ = ("scale", "sums")

    def __init__(self) -> None:
        self.sums: Sequence[float] = (0.0,) * (STEPS + 1)
        self.scale = 0.0

    def sum_at(self, log: float) -> float:
        """Return the sum of the bin of a time, by the log of the time over LEAST_MS."""
        place = int(PER_LOG * log)
        return self.sums[0 if place < 0 else min(place, STEPS - 1)]


class Arrivals:
    """Estimator of the number of later requests that a run of a given time makes late.

    A run starts at S and takes R. Take each request served after it to run for the time f of the fastest subnet. The
    k-th of them arrived at a, has the deadline d, and is late if

        S + R + f_1 + ... + f_k > a + d,    which is to say for every R above the limit a + d - S - f_1 - ... - f_k.

    The limits of the requests that arrived after S are counted. The number of limits below R, divided by the number of
    runs, is the cost of a run of R. Runs that start while others wait have counts of their own: they are in a burst.

    Turns are noted in a step each, and counted by `settle`: after the run, and not while a request waits for it.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[float, float, float] | tuple[float, bool]] = []
        self._runs: deque[_Run] = deque(maxlen=FOLLOWED)
        self._limits = ([0.0] * STEPS, [0.0] * STEPS)
        self._counts = [0.0, 0.0]
        self._late = (Late(), Late())
        self._weight = 1.0
        self._number = 0

    def came(self, arrival_s: float, deadline_ms: float, fastest_ms: float) -> None:
        """Record a request at its turn: its arrival, its deadline from then on, its time on the fastest subnet."""
        self._noted.append((arrival_s, deadline_ms, fastest_ms))

    def begins(self, now: float, *, queued: bool) -> None:
        """Record the start of a run; `queued`: whether others wait behind it. One in EVERY is followed."""
        self._noted.append((now, queued))

    def settle(self) -> None:
        """Count the turns that were noted."""
        noted, self._noted = self._noted, []
        for turn in noted:
            if len(turn) == 3:
                self._count_limits(*turn)
            else:
                self._follow(*turn)

    def _count_limits(self, arrival_s: float, deadline_ms: float, fastest_ms: float) -> None:
        for run in self._runs:
            run.served_ms += fastest_ms
            after_ms = (arrival_s - run.began_s) * 1e3
            if after_ms > 0:
                self._limits[run.queued][_step(after_ms + deadline_ms - run.served_ms)] += self._weight

    def _follow(self, now: float, queued: bool) -> None:
        self._number += 1
        if self._number % EVERY:
            return
        self._weight /= MEMORY
        if self._weight > LARGEST_WEIGHT:
            self._counts = [count / self._weight for count in self._counts]
            self._limits = tuple([count / self._weight for count in limits] for limits in self._limits)  # type: ignore[assignment]
            self._weight = 1.0
        self._counts[queued] += self._weight
        late = self._late[queued]
        late.sums, late.scale = list(itertools.accumulate(self._limits[queued], initial=0.0)), 1 / self._counts[queued]
        self._runs.append(_Run(now, queued))

    def made_late(self, queued: bool, run_ms: float) -> float:
        """Return the average number of requests that a run of `run_ms` makes late; never smaller for a longer run.

        As it was at the last followed run. `queued`: whether others wait behind it.
        """
        late = self.late(queued)
        return late.scale * late.sums[_step(run_ms)]

    def late(self, queued: bool) -> Late:
        """Return those averages, for many runs."""
        if self._noted:
            self.settle()
        return self._late[queued]


@dataclass(slots=True)
class _Run:
    """A run that is followed, for the limits of the requests after it."""

    began_s: float
    queued: bool
    served_ms: float = 0.0
    """Sum in ms of the times of the requests served since, each on the fastest subnet."""


def _step(ms: float) -> int:
    if ms <= LEAST_MS:
        return 0
    return int(min(STEPS - 1, PER_LOG * math.log(ms / LEAST_MS)))  # infinite for the longest of deadlines
