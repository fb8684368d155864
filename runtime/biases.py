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

FIRST_CALL = {"load": 0.1, "idle": 0.1}
"""Log of what a first call costs on top, before one was seen: of a subnet after loading (its weights and code are
in no cache), and of any subnet after a pause."""

FIRST_CALL_MEMORY = 0.2


class Biases:
    """Factors on the expected time of each rung of a ladder, beside the slow-down that all have in common.

    Rungs are numbers from 0. Not safe for several threads by itself.
    """

    def __init__(self, rungs: int) -> None:
        self._logs = [0.0] * rungs
        self._fresh = [True] * rungs
        self._last: int | None = None
        self._first_call = dict(FIRST_CALL)
        self.factors = [math.exp(FIRST_CALL["load"])] * rungs
        """What to multiply a rung's time with, its first call after loading included."""

    def idle_factor(self, gap_s: float) -> float:
        """What to multiply every time with after a pause of that length."""
        return math.exp(self._first_call["idle"]) if gap_s >= IDLE_S else 1.0

    def learn(self, rung: int, residual: float, gap_s: float) -> None:
        """Take in the log of observed / predicted time of one request (0: as predicted)."""
        residual = max(-LARGEST_RESIDUAL, min(LARGEST_RESIDUAL, residual))
        if self._fresh[rung]:
            self._learn_first_call("load", residual)
            self._fresh[rung] = False
            for other, fresh in enumerate(self._fresh):
                if fresh:
                    self.factors[other] = math.exp(self._logs[other] + self._first_call["load"])
        elif gap_s >= IDLE_S:
            self._learn_first_call("idle", residual)
        else:
            switched = self._last not in (None, rung)
            log = (1 - BIAS_SHRINK) * self._logs[rung] + (BIAS_MEMORY * residual if switched else 0.0)
            self._logs[rung] = max(-LARGEST_BIAS, min(LARGEST_BIAS, log))
        self._last = rung
        self.factors[rung] = math.exp(self._logs[rung])

    def _learn_first_call(self, kind: str, residual: float) -> None:
        log = self._first_call[kind] + FIRST_CALL_MEMORY * residual
        self._first_call[kind] = max(0.0, min(LARGEST_BIAS, log))
