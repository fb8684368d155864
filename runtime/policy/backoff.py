"""Holds back work of a size that missed deadlines which it was expected to keep."""

from __future__ import annotations

import math

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
    Not safe for several threads by itself; time is passed in, in seconds from any fixed moment.
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
    without tries an engine that an overload drove down to its DAN would stay there. Not safe for several threads by
    itself; time is passed in, in seconds from any fixed moment.
    """

    def __init__(self) -> None:
        self._pause_s = LONGEST_S
        self._tried_at: float | None = None

    def due(self, now: float) -> bool:
        """Whether the pause is over."""
        return self._tried_at is None or not 0 <= now - self._tried_at < self._pause_s

    def begins(self, now: float) -> None:
        """A try begins."""
        self._tried_at = now

    def ended(self, *, met: bool) -> None:
        """Take in whether it was in time."""
        pause_s = self._pause_s * (FASTER if met else SLOWER)
        self._pause_s = max(SHORTEST_S, min(LONGEST_S, pause_s))
