"""How subnets differ from the latency table, and what a first call costs on top; learnt while running."""

from __future__ import annotations

import math

from gearshift.runtime.latency import IDLE_S

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
