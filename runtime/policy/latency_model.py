"""The latency model: how long each subnet of the ladder takes now, and what each answer teaches about it.

    bound of a rung = median of the latency table x bias of the rung x factor
    factor          = the slow-down with its tail, held steady by hysteresis

`LatencyModel.predict` and `LatencyModel.learn` are the one home of that rule.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gearshift.device_profiles.latency_table import LatencyTable, predict
from gearshift.runtime.batches import Work, is_single
from gearshift.runtime.policy.feed_forward import FeedForward
from gearshift.runtime.policy.objective import DEFAULT_OBJECTIVE, DEFAULT_TUNING, Objective, Tuning
from gearshift.runtime.policy.slow_down import IDLE_S, SlowDown
from gearshift.runtime.sensors.snapshot import Snapshot

KEPT_SHAPES = 1024
"""Works whose medians are kept: a decision then takes a quarter of the time."""


class Prediction(NamedTuple):
    """Times of all rungs of a ladder for one request. Rungs count from 0, the most accurate."""

    medians: Sequence[float]
    """Median ms of each rung on the unloaded device, by the latency table."""
    biases: Sequence[float]
    """Observed / expected time of each rung beside the slow-down that all have in common."""
    factor: float
    """Factor on the medians: the slow-down with its tail."""
    usual: float
    """The slow-down as it is believed to be, without a tail."""
    silence_s: float
    """Seconds since the last answer; endless before the first."""

    def bound_ms(self, rung: int) -> float:
        """Time that a rung stays under with the target's probability."""
        return self.medians[rung] * self.biases[rung] * self.factor


class LatencyModel:
    """Predicts the time of every rung of a ladder, and learns from what the requests took.

        times = model.predict(work, now)
        ...                                   # run a rung
        model.learn(name, run_ms=7.1, expected_ms=6.2, predicted_ms=9.0, now=now, single=True)

    Single texts and lists have a slow-down of their own: several texts at once take less than n times one. `target` of
    the objective is the share of requests that a bound covers. Not safe for several threads by itself; time is passed
    in, in seconds from any fixed moment.
    """

    def __init__(
        self,
        table: LatencyTable,
        ladder: Sequence[str],
        objective: Objective = DEFAULT_OBJECTIVE,
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        self._table = table
        self._ladder = tuple(ladder)
        self._rungs: Mapping[str, int] = {name: rung for rung, name in enumerate(ladder)}
        self._adaptation = tuning.adaptation
        self._medians = functools.lru_cache(KEPT_SHAPES)(self._looked_up)
        both = (True, False)
        self._slow_downs = {single: SlowDown(target=objective.target, adaptation=tuning.adaptation) for single in both}
        self._hysteresis = {single: Hysteresis(margin=tuning.margin, tolerance=tuning.tolerance) for single in both}
        self._ahead = FeedForward()
        self._biases = Biases(len(self._ladder))

    def aim(self, objective: Objective) -> None:
        """Cover the target of another objective from now on; what was learnt stays."""
        for slow_down in self._slow_downs.values():
            slow_down.aim(objective.target, adaptation=self._adaptation)

    def sense(self, snapshot: Snapshot, now: float) -> None:
        """Take in the signals of the machine at that moment."""
        self._ahead.sense(snapshot, now, self._slow_downs[True].updated_at)

    def predict(self, work: Work, now: float) -> Prediction:
        """Predict the times of all rungs for a request that begins now."""
        medians, single = self._medians(work)
        slow_down = self._slow_downs[single]
        silence_s = _silence(slow_down, now)
        first_call = self._biases.idle_factor(silence_s)
        tail = slow_down.tail_factor(now, self._ahead.ahead) * first_call
        factor = max(self._hysteresis[single].smooth(tail, now), slow_down.suspected * first_call)
        return Prediction(medians, self._biases.factors, factor, slow_down.value, silence_s)

    def medians(self, work: Work) -> Sequence[float]:
        """Median ms of each rung on the unloaded device."""
        return self._medians(work)[0]

    def tail_factor(self, work: Work, now: float) -> float:
        """The slow-down with its tail, for an answer that was not chosen by it."""
        return self._slow_downs[is_single(work)].tail_factor(now, self._ahead.ahead)

    def times_of(self, name: str, work: Work, factor: float) -> tuple[float, float]:
        """Median and bound in ms of any subnet of the table, also one that is not on the ladder."""
        median = self._median(name, work)
        rung = self._rungs.get(name)
        return median, median * factor * (1.0 if rung is None else self._biases.factors[rung])

    def usual_ms(self, rung: int, work: Work) -> float:
        """Time that a rung is expected to take now, without a tail."""
        medians, single = self._medians(work)
        return medians[rung] * self._slow_downs[single].value

    def learn(
        self, name: str, *, run_ms: float, expected_ms: float, predicted_ms: float, now: float, single: bool
    ) -> None:
        """Take in how long an answer took that was expected to take `expected_ms` on the unloaded device."""
        slow_down = self._slow_downs[single]
        rung = self._rungs.get(name)
        silence_s = _silence(slow_down, now - run_ms / 1e3)
        known = self._biases.idle_factor(silence_s) * (1.0 if rung is None else self._biases.factors[rung])
        ratio = run_ms / expected_ms
        ahead = self._ahead.ahead
        innovation = math.log(ratio / known / slow_down.value) - ahead
        slow_down.update(ratio / known, now, ahead=ahead, late=run_ms > predicted_ms)
        if self._ahead.changed:
            self._ahead.learn(innovation)
        if rung is not None:
            self._biases.learn(rung, innovation, silence_s)

    @property
    def slow_down(self) -> float:
        """Observed / expected latency of single texts: 1 is the machine as it was when it was timed."""
        return self._slow_downs[True].value

    @property
    def suspected(self) -> float:
        """Factor that covers a step of the load to the last single text, where it may have been one; else 0."""
        return self._slow_downs[True].suspected

    @property
    def steady_factor(self) -> float:
        """Tail factor of single texts as hysteresis held it at the last prediction."""
        return self._hysteresis[True].factor

    @property
    def biases(self) -> tuple[float, ...]:
        """Factor of each rung beside the slow-down."""
        return tuple(self._biases.factors)

    def _looked_up(self, work: Work) -> tuple[tuple[float, ...], bool]:
        """Median ms of each rung for such texts, and whether they are a single one."""
        return tuple(self._median(name, work) for name in self._ladder), is_single(work)

    def _median(self, name: str, work: Work) -> float:
        return sum(predict(self._table, name, length, count) for length, count in work)


def _silence(slow_down: SlowDown, now: float) -> float:
    """Seconds since the last answer; endless before the first."""
    return math.inf if slow_down.updated_at is None else now - slow_down.updated_at


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
        self._margin, self._tolerance = margin, tolerance
        self._factor = self._sum = 0.0
        self._high_at = self._at = self._period_at = -math.inf
        self._seen = self._count = 0

    @property
    def factor(self) -> float:
        """The factor that was given last."""
        return self._factor

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
