"""Holds subnets back for a while after one of their size missed a deadline that it was expected to keep."""

from __future__ import annotations

FIRST_HOLD_S = 0.5
LONGEST_HOLD_S = 4.0
"""Each failed try doubles the time to the next one, up to the longest: what is left of a load that stays is one
or two late answers every few seconds, and what a load that went away costs is at most this long."""


class Backoff:
    """Down at once, up one try at a time, and later after each try that failed.

    The latency model multiplies: a slow-down learnt on small subnets is too hopeful for large ones where
    the machine takes the processor away in slices, since only a long run is interrupted. Whatever the
    reason, a rung of the ladder that just failed is not tried again at once. Rungs are counted from 0, the
    slowest. Not safe for several threads by itself; time is passed in, in seconds from any fixed moment.
    """

    def __init__(self, rungs: int) -> None:
        self._last = rungs - 1
        self._level = 0
        self._hold_s = FIRST_HOLD_S
        self._until = 0.0

    def level(self, now: float) -> int:
        """The slowest rung that may be used; half of the way up is given back each time a hold ends."""
        if self._level and now >= self._until:
            self._level //= 2
            self._until = now + FIRST_HOLD_S  # on trial: a miss until then is a failed try
        return self._level

    def record(self, rung: int, *, met: bool, now: float) -> None:
        """Take in whether a rung that was expected to keep its deadline kept it."""
        if met or rung < self._level:  # a request from before the last step down tells nothing new
            return
        if now >= self._until:
            self._hold_s = FIRST_HOLD_S
        self._level = min(rung + 1, self._last)
        self._until = now + self._hold_s
        self._hold_s = min(2 * self._hold_s, LONGEST_HOLD_S)
