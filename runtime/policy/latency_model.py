"""Corrections to the latency table that are learnt while running."""

from __future__ import annotations

import math

from gearshift.runtime.policy.slow_down import IDLE_S

BIAS_MEMORY = 0.1


BIAS_SHRINK = 0.01
"""Weight of a request that ran right after another subnet in the bias of its own, and the share of the bias that
each request takes away: what all subnets have in common belongs to the slow-down."""


LARGEST_RESIDUAL = 0.3


LARGEST_BIAS = 0.5
"""A residual beyond is a load that came or went, and no subnet is further off from its measured time."""


FIRST_CALL = 0.1
"""Log of what a call after loading or a pause costs on top, before one was seen."""


FIRST_CALL_MEMORY = 0.2


class Biases:
    """Factors on the expected time of each rung of a ladder, beside the slow-down that all have in common.

    Rungs are numbers from 0. Not safe for several threads by itself.
    """

    def __init__(self, rungs: int) -> None:
        self._logs = [0.0] * rungs
        self._last: int | None = None
        self._first_call = FIRST_CALL
        self.factors = [1.0] * rungs
        """What to multiply a rung's time with."""

    def idle_factor(self, gap_s: float) -> float:
        """What to multiply every time with after a pause of that length; loading ends an endless one."""
        return math.exp(self._first_call) if gap_s >= IDLE_S else 1.0

    def learn(self, rung: int, residual: float, gap_s: float) -> None:
        """Take in the log of observed / predicted time of one request (0: as predicted)."""
        residual = max(-LARGEST_RESIDUAL, min(LARGEST_RESIDUAL, residual))
        if gap_s >= IDLE_S:
            self._first_call = max(0.0, min(LARGEST_BIAS, self._first_call + FIRST_CALL_MEMORY * residual))
        else:
            switched = self._last not in (None, rung)
            log = (1 - BIAS_SHRINK) * self._logs[rung] + (BIAS_MEMORY * residual if switched else 0.0)
            self._logs[rung] = max(-LARGEST_BIAS, min(LARGEST_BIAS, log))
        self._last = rung
        self.factors[rung] = math.exp(self._logs[rung])


FIRST_REQUESTS = 8
"""At first, and after a pause, the tail is wide and narrows with each request: so many follow it as it is."""


DWELL_S = 0.2
"""A fall that is no flicker has lasted so long."""


STILL = 1.03


PERIOD_S = 2.0
"""The mean of a period counts where it is further off than this."""


class Hysteresis:
    """A tail factor without its flicker.

    1. Up at once: it is the tail factor where that is more than `tolerance` times it.
    2. Down after a dwell: it is the tail factor where that has stayed below `margin` times it for DWELL_S.
    3. In between it moves to the mean of each period of PERIOD_S, where that is off by more than STILL.
    4. At first and after a pause it is the tail factor.

    Not safe for several threads by itself; time is passed in, in seconds from any fixed moment.
    """

    def __init__(self, *, margin: float, tolerance: float) -> None:
        self.set(margin=margin, tolerance=tolerance)
        self._factor = self._sum = 0.0
        self._high_at = self._at = self._period_at = -math.inf
        self._seen = self._count = 0

    def set(self, *, margin: float, tolerance: float) -> None:
        """From now on."""
        self._margin, self._tolerance = margin, tolerance

    def smooth(self, factor: float, now: float) -> float:
        """What to use for a tail factor of that moment."""
        if now < self._at:  # the clock was set back: nothing waits until it is there again
            self._high_at = self._period_at = now
        self._seen = 0 if now - self._at >= IDLE_S else self._seen + 1
        self._at = now
        self._sum, self._count = self._sum + factor, self._count + 1
        low = factor < self._factor * self._margin
        if self._seen < FIRST_REQUESTS or factor > self._factor * self._tolerance:  # rules 4 and 1
            self._move(factor, now)
        elif low and now - self._high_at >= DWELL_S:  # rule 2
            self._move(factor, now)
            low = False
        elif not low and now - self._period_at >= PERIOD_S:  # rule 3
            mean = self._sum / self._count
            self._move(mean if max(mean / self._factor, self._factor / mean) > STILL else self._factor, now)
        if not low:
            self._high_at = now
        return self._factor

    def _move(self, factor: float, now: float) -> None:
        self._factor, self._period_at = factor, now
        self._sum, self._count = 0.0, 0
