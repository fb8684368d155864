"""The slow-down: observed / expected latency now, estimated from the requests. Subnet time = table x slow-down."""

from __future__ import annotations

import math
from statistics import NormalDist

from gearshift.runtime.policy.outlook import Calibration, Outlook

PRIOR_DEVIATION = 0.25
"""Standard deviation of the log slow-down before any request: mostly within a third of the latency table."""

DRIFT_PER_SECOND = 0.02
"""Variance that the log slow-down gains per second: after 10 idle seconds it may be off by half."""

DRIFT_PER_UPDATE = 0.001
"""Variance gained between two requests, however close: the filter never stops learning."""

AGILITY_RANGE = (0.01, 10.0)
AGILITY_STEP = 0.05
"""Bounds of the agility, the factor on both drifts that the innovations set, and its largest log step per request."""

CLIPPED_SQUARE = 3.0
MEAN_CLIPPED_SQUARE = 0.858
EXCESS_WEIGHT = 0.3
"""Clip of squared standardised innovations, their mean under that clip, and the weight of their excess over it."""

IDLE_S = 1.0
"""Shortest pause in seconds after which the machine may have changed: its caches, clocks and neighbours."""

LARGEST_VARIANCE = 1.0
"""Variance of the log slow-down if nothing is known: a factor of e either way."""

NOISE_RANGE = (0.02, 0.5)
"""Bounds of the standard deviation of one observation: timers and caches jitter by 2 %, and a device whose runs
differ by half is the noisiest that a filter can use."""

FIRST_NOISE = 0.02
NOISE_MEMORY = 0.05
NOISE_PRIOR_COUNT = 3
"""Variance of the noise before any request; weight of the newest request in it, about the last 20 requests; at first
the weight is 1 / (differences + NOISE_PRIOR_COUNT)."""

CALM = 0.2
"""Lower bound of the pace at which noise and tail are learnt; above it the pace is the agility (see `SlowDown`)."""

OUTLIER_DEVIATIONS = 3.0
OUTLIERS_OF_A_STEP = 3
"""Innovations beyond this many deviations are clipped; this many clipped ones on the same side are a load step."""

ALARMS_FADE_S = 120.0
LEAST_TRUST = 0.3
"""Decay time in seconds of the count of past outliers, and the share of them that must have begun a step for a lone
outlier to be treated as the first of one."""

TRUST_IN_TWO = 0.8
"""Least probability that the load has stepped after a second slow outlier in a row."""

STATE_RANGE = (math.log(0.05), math.log(200.0))
"""Bounds of the log slow-down: beyond them the latency table belongs to another device."""

ADAPTATION = 0.3
"""Step size of the tail: one late request raises it by at most this many deviations x the target."""

TAIL_RANGE = (0.5, 6.0)
"""Bounds of the tail in deviations: always in the upper half, and not so far out that nothing fits."""


class SlowDown:
    """Filter of observed / expected latency in the log domain, with a tail that is calibrated online.

    1. The state is the log slow-down (a Kalman filter of one number). Its variance grows with time, at a rate set by
       the innovations: those of the optimal filter are uncorrelated (Mehra 1970), so that two on the same side raise
       the agility. Two on opposite sides lower it, as do innovations smaller than expected. In pauses the full drift
       holds.
    2. The noise of an observation is learnt from the differences of successive observations. The lower the agility, the
       longer the memory: on a steady load, old observations tell as much as new ones.
    3. An innovation is clipped at 3 deviations. The third in a row on one side is a step of the load, and is followed
       at once. While a slow outlier may still be the first of a step, the tail covers a step to it.
    4. The tail, in deviations, is moved by adaptive conformal inference (Gibbs and Candes 2021, equation 2): up after a
       request that took longer than the tail, down a little after any other. In the long run a share `target` of all
       requests stays below it, whatever the true distribution. Its steps too are smaller on a steady load.

    The caller passes in the time, in seconds from any fixed moment. Not safe for several threads by itself.
    """

    def __init__(self, *, target: float = 0.99, adaptation: float = ADAPTATION) -> None:
        self._target = target
        self._state = 0.0
        self._variance = PRIOR_DEVIATION**2
        self._last_observed: float | None = None
        self._noise = FIRST_NOISE
        self._differences = 0
        self._tail = NormalDist().inv_cdf(target)
        self._adaptation = adaptation
        self._agility = 1.0
        self._last_innovation = 0.0
        self._step = (0.0, 0.0)
        self._calibration = Calibration()
        self._outliers = 0
        self._alarms = _Alarms()
        self._updated_at: float | None = None
        self.value = 1.0
        """Estimated slow-down: 1 is the unloaded device, 2 is half as fast."""
        self.suspected = 0.0
        """Factor that covers a step of the load at the last request if that was slow enough to be one; else 0."""

    def aim(self, target: float, *, adaptation: float) -> None:
        """Cover another share of the requests from now on, and keep what was learnt of the distribution."""
        quantile = NormalDist().inv_cdf
        low, high = TAIL_RANGE
        self._tail = max(low, min(high, self._tail + quantile(target) - quantile(self._target)))
        self._target, self._adaptation = target, adaptation

    @property
    def updated_at(self) -> float | None:
        """Moment of the last update in seconds; None before the first."""
        return self._updated_at

    def predict(self, now: float, ahead: float = 0.0) -> tuple[float, Outlook]:
        """Return the tail factor, and the distribution of the log of observed / expected latency, for a request at
        `now`."""
        known, centre = self._calibration, self._state + ahead
        deviation, noise = math.sqrt(self._variance_at(now) + self._noise), math.sqrt(self._noise)
        step, stepped = self._step
        outlook = Outlook(
            centre,
            known.spread * deviation,
            step,
            stepped,
            known.spread * noise,
            known.outliers,
            known.excess,
        )
        return math.exp(centre + self._tail * deviation), outlook

    def tail_factor(self, now: float, ahead: float = 0.0) -> float:
        """Return the factor on a median that gives the time which a share `target` of the requests stays under.

        `ahead`: change of the log slow-down that the signals show and past requests do not (`FeedForward`).
        """
        spread = math.sqrt(self._variance_at(now) + self._noise)
        return math.exp(self._state + ahead + self._tail * spread)

    def update(self, ratio: float, now: float, *, ahead: float = 0.0, late: bool | None = None) -> None:
        """Learn from one observed / expected latency; a ratio that is not a positive finite number is ignored.

        `late`: whether it was beyond the tail that was predicted for it; by default the tail of this moment.
        """
        if not (math.isfinite(ratio) and ratio > 0):
            return
        observed = math.log(ratio)
        if late is None:
            late = ratio > self.tail_factor(now, ahead)
        self._adapt_tail(missed=late)
        variance = self._variance_at(now)
        self._state += ahead
        deviation = math.sqrt(variance + self._noise)
        innovation = observed - self._state
        limit = OUTLIER_DEVIATIONS * deviation
        self._calibration.learn(innovation, deviation)
        self._count_outlier(innovation, limit)
        self.suspected, self._step = 0.0, (0.0, 0.0)
        self._alarms.note(self._outliers, now)
        if abs(self._outliers) >= OUTLIERS_OF_A_STEP:
            variance, self._outliers, self._last_innovation = LARGEST_VARIANCE, 0, 0.0
        else:
            if self._outliers > 1 or (self._outliers == 1 and self._alarms.trust >= LEAST_TRUST):
                self.suspected = math.exp(min(observed, STATE_RANGE[1]) + self._tail * math.sqrt(self._noise))
            if self._outliers > 0:
                trust = self._alarms.trust
                self._step = (trust if self._outliers == 1 else max(TRUST_IN_TWO, trust), min(observed, STATE_RANGE[1]))
            innovation = max(-limit, min(limit, innovation))
            self._learn_noise(observed)
            self._learn_agility(innovation, deviation)
        gain = variance / (variance + self._noise)
        low, high = STATE_RANGE
        self._state = max(low, min(high, self._state + gain * innovation))
        self._variance = (1 - gain) * variance
        self.value = math.exp(self._state)
        self._updated_at = now

    def _variance_at(self, now: float) -> float:
        """Return the variance of the state for a request at `now`, grown since the last one."""
        gap = 0.0 if self._updated_at is None else max(0.0, now - self._updated_at)
        usual = DRIFT_PER_UPDATE + DRIFT_PER_SECOND * min(gap, IDLE_S)
        grown = self._agility * usual + DRIFT_PER_SECOND * max(0.0, gap - IDLE_S)
        return min(self._variance + grown, LARGEST_VARIANCE)

    def _adapt_tail(self, *, missed: bool) -> None:
        low, high = TAIL_RANGE
        step = self._adaptation * max(CALM, min(1.0, self._agility))
        self._tail = max(low, min(high, self._tail + step * (missed - (1 - self._target))))

    def _count_outlier(self, innovation: float, limit: float) -> None:
        """Update the length of the present run of outliers; negative for outliers that were too fast."""
        if abs(innovation) <= limit:
            self._outliers = 0
        elif innovation > 0:
            self._outliers = max(self._outliers, 0) + 1
        else:
            self._outliers = min(self._outliers, 0) - 1

    def _learn_noise(self, observed: float) -> None:
        """Learn the noise: half the squared difference of successive observations, for any state (von Neumann 1941)."""
        if self._last_observed is not None:
            square = (observed - self._last_observed) ** 2 / 2
            self._differences += 1
            memory = NOISE_MEMORY * max(CALM, min(1.0, self._agility))
            memory = max(memory, 1 / (self._differences + NOISE_PRIOR_COUNT))
            self._noise += memory * (min(square, OUTLIER_DEVIATIONS**2 * self._noise) - self._noise)
            low, high = NOISE_RANGE
            self._noise = max(low**2, min(high**2, self._noise))
        self._last_observed = observed

    def _learn_agility(self, innovation: float, deviation: float) -> None:
        correlation = innovation * self._last_innovation / deviation**2
        excess = min(innovation**2 / deviation**2, CLIPPED_SQUARE) / MEAN_CLIPPED_SQUARE - 1
        low, high = AGILITY_RANGE
        self._agility *= math.exp(AGILITY_STEP * max(-1.0, min(1.0, correlation + EXCESS_WEIGHT * excess)))
        self._agility = max(low, min(high, self._agility))
        self._last_innovation = innovation


class _Alarms:
    """Record of recent slow outliers: how many began a step of the load, and how many were one slow request."""

    def __init__(self) -> None:
        self._lone = self._followed = 0.0
        self._open = False
        self._at = 0.0

    @property
    def trust(self) -> float:
        """Share of outliers that were followed by another one (Laplace's rule of succession)."""
        return (self._followed + 1) / (self._lone + self._followed + 3)

    def note(self, outliers: int, now: float) -> None:
        """Record the length of the present run of slow outliers."""
        fading = math.exp(-max(0.0, now - self._at) / ALARMS_FADE_S)
        self._at = now
        self._lone *= fading
        self._followed *= fading
        if self._open:
            if outliers > 1:
                self._followed += 1
            else:
                self._lone += 1
        self._open = outliers == 1
