"""The latency model: predicts the time of each subnet of the ladder now, and learns from each answer.

    bound of a rung = median of the latency table x bias of the rung x factor
    factor          = the slow-down with its tail, held steady by hysteresis

`LatencyModel.predict` and `LatencyModel.learn` are the only home of this rule.
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
from gearshift.runtime.policy.outlook import Outlook
from gearshift.runtime.policy.slow_down import IDLE_S, SlowDown
from gearshift.runtime.sensors.snapshot import Snapshot

KEPT_SHAPES = 1024
"""Number of works whose medians are cached: with them a decision takes a quarter of the time."""


class Prediction(NamedTuple):
    """Predicted times of all rungs of a ladder for one request. Rungs count from 0, the most accurate."""

    medians: Sequence[float]
    """Median ms of each rung on the unloaded device, by the latency table."""
    biases: Sequence[float]
    """Observed / expected time of each rung, apart from the slow-down that all rungs have in common."""
    factor: float
    """Factor on the medians: the slow-down at the tail that the target asks for."""
    usual: float
    """Estimated slow-down, without a tail."""
    silence_s: float
    """Seconds since the last answer; infinity before the first."""
    outlook: Outlook = Outlook(0.0, 1.0)
    """Distribution of the log of time / (median x bias), first calls apart."""
    first_call: float = 1.0
    """Factor on all times after a pause."""

    def bound_ms(self, rung: int) -> float:
        """Return the time in ms that a rung stays under with the target's probability."""
        return self.medians[rung] * self.biases[rung] * self.factor


class LatencyModel:
    """Latency predictor of the rungs of a ladder, updated by the observed times of requests.

        times = model.predict(work, now)
        ...                                   # run a rung
        model.learn(name, run_ms=7.1, expected_ms=6.2, predicted_ms=9.0, now=now, single=True)

    Single texts and lists each have a slow-down of their own: n texts at once take less than n times the time of one.
    `target` of the objective is the share of requests that a bound covers. The caller passes in the time, in seconds
    from any fixed moment. Not safe for several threads by itself.
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
        self._slow_downs = {single: SlowDown(target=objective.share, adaptation=tuning.adaptation) for single in both}
        self._hysteresis = {single: Hysteresis(margin=tuning.margin, tolerance=tuning.tolerance) for single in both}
        self._ahead = FeedForward()
        self._biases = Biases(len(self._ladder))

    def aim(self, objective: Objective) -> None:
        """Cover the target of another objective from now on, and keep what was learnt."""
        for slow_down in self._slow_downs.values():
            slow_down.aim(objective.share, adaptation=self._adaptation)

    def sense(self, snapshot: Snapshot, now: float) -> None:
        """Take in the signals of the machine as they were at `now`."""
        self._ahead.sense(snapshot, now, self._slow_downs[True].updated_at)

    def predict(self, work: Work, now: float) -> Prediction:
        """Predict the times of all rungs for a request that starts at `now`."""
        medians, single = self._medians(work)
        slow_down = self._slow_downs[single]
        silence_s = _silence(slow_down, now)
        first_call = self._biases.idle_factor(silence_s)
        tail, outlook = slow_down.predict(now, self._ahead.ahead)
        tail *= first_call
        factor = max(self._hysteresis[single].smooth(tail, now), slow_down.suspected * first_call)
        return Prediction(medians, self._biases.factors, factor, slow_down.value, silence_s, outlook, first_call)

    def medians(self, work: Work) -> Sequence[float]:
        """Return the median ms of each rung on the unloaded device."""
        return self._medians(work)[0]

    def tail_factor(self, work: Work, now: float) -> float:
        """Return the slow-down with its tail, without hysteresis, for an answer that `choose` did not pick."""
        return self._slow_downs[is_single(work)].tail_factor(now, self._ahead.ahead)

    def times_of(self, name: str, work: Work, factor: float) -> tuple[float, float]:
        """Return median and bound in ms of any subnet of the table, including those that are not on the ladder."""
        median = self._median(name, work)
        rung = self._rungs.get(name)
        return median, median * factor * (1.0 if rung is None else self._biases.factors[rung])

    def learn(
        self, name: str, *, run_ms: float, expected_ms: float, predicted_ms: float, now: float, single: bool
    ) -> None:
        """Learn from an answer that took `run_ms`; `expected_ms` is its median on the unloaded device."""
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
    def knows_batches(self) -> bool:
        """Whether the table has times of calls of several texts."""
        return self._table.batches is not None

    @property
    def slow_down(self) -> float:
        """Slow-down: observed / expected latency of single texts; 1 is the machine as it was when it was timed."""
        return self._slow_downs[True].value

    @property
    def suspected(self) -> float:
        """Factor that covers a possible step of the load at the last single text; 0 if it showed none."""
        return self._slow_downs[True].suspected

    @property
    def steady_factor(self) -> float:
        """Tail factor of single texts after hysteresis, at the last prediction."""
        return self._hysteresis[True].factor

    @property
    def biases(self) -> tuple[float, ...]:
        """Factor on the time of each rung, apart from the slow-down."""
        return tuple(self._biases.factors)

    def _looked_up(self, work: Work) -> tuple[tuple[float, ...], bool]:
        """Return the median ms of each rung for a work, and whether it is a single text."""
        return tuple(self._median(name, work) for name in self._ladder), is_single(work)

    def _median(self, name: str, work: Work) -> float:
        return sum(predict(self._table, name, length, count) for length, count in work)


def _silence(slow_down: SlowDown, now: float) -> float:
    """Return the seconds since the last answer; infinity before the first."""
    return math.inf if slow_down.updated_at is None else now - slow_down.updated_at


BIAS_MEMORY = 0.1
BIAS_SHRINK = 0.01
"""Learning rate of a rung's bias, applied only to requests that ran right after another subnet; and the share by which
each request shrinks the bias: an effect that all subnets have in common belongs to the slow-down."""

LARGEST_RESIDUAL = 0.3
LARGEST_BIAS = 0.5
"""Clips of the log residual and of the log bias: a larger residual is a load that came or went, and no subnet is
further from its measured time."""

FIRST_CALL = 0.1
"""Initial estimate of the extra cost, as a log factor, of a call after loading or a pause."""

FIRST_CALL_MEMORY = 0.2


class Biases:
    """Factors on the expected time of each rung of a ladder, apart from the slow-down that all have in common.

    Rungs count from 0. Not safe for several threads by itself.
    """

    def __init__(self, rungs: int) -> None:
        self._logs = [0.0] * rungs
        self._last: int | None = None
        self._first_call = FIRST_CALL
        self.factors = [1.0] * rungs
        """Factor on the time of each rung."""

    def idle_factor(self, gap_s: float) -> float:
        """Return the factor on all times after a pause of `gap_s` seconds; infinity stands for the very first call."""
        return math.exp(self._first_call) if gap_s >= IDLE_S else 1.0

    def learn(self, rung: int, residual: float, gap_s: float) -> None:
        """Learn from the log of observed / predicted time of one request (0: as predicted)."""
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
"""Number of requests, at first and after a pause, for which the factor follows the tail without hysteresis: the tail
is wide then and narrows with each request."""

DWELL_S = 0.2
"""Time in seconds that a fall must last before it counts as more than flicker."""

STILL = 1.03
PERIOD_S = 2.0
"""Ratio by which the mean over a period of PERIOD_S seconds must be off before the factor moves to it."""


class Hysteresis:
    """A tail factor without flicker.

    1. Up at once: the held factor becomes the tail factor when that exceeds `tolerance` times the held one.
    2. Down after a dwell: the held factor becomes the tail factor when that has stayed below `margin` times the held
       one for DWELL_S.
    3. In between: the held factor moves to the mean of each period of PERIOD_S if that is off by more than STILL.
    4. At first and after a pause: the held factor is the tail factor.

    The caller passes in the time, in seconds from any fixed moment. Not safe for several threads by itself.
    """

    def __init__(self, *, margin: float, tolerance: float) -> None:
        self._margin, self._tolerance = margin, tolerance
        self._factor = self._sum = 0.0
        self._high_at = self._at = self._period_at = -math.inf
        self._seen = self._count = 0

    @property
    def factor(self) -> float:
        """Held factor, as `smooth` last returned it."""
        return self._factor

    def smooth(self, factor: float, now: float) -> float:
        """Return the held factor for the tail factor at `now`."""
        if now < self._at:  # the clock was set back: do not wait until it has caught up
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
