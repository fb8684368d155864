"""The outlook: the probability that a request takes at most so long, from a distribution that is calibrated online."""

from __future__ import annotations

import math
from typing import NamedTuple

SPREAD_MEMORY = 0.02
FIRST_ONES = 20
PRIOR_COUNT = 5
SPREAD_RANGE = (0.5, 6.0)
"""Weight of the newest request in the calibrated spread, larger at first: 1 / (requests + PRIOR_COUNT); number of first
requests in which large innovations count in full, since the belief may be poor; bounds of the spread."""

FIRST_CLIP = 6.0
CLIP = 3.0
MEAN_CLIPPED_SQUARE = 0.973
"""Clips of an innovation in deviations, among the first requests and later; mean square of a normal variable under the
later one. What takes longer than CLIP deviations is an outlier."""

OUTLIER_MEMORY = 0.005
OUTLIER_PRIOR = 0.005
"""Weight of the newest request in the share of slow outliers, and that share at first."""

EXCESS_MEMORY = 0.1
EXCESS_PRIOR = 0.4
"""Weight of the newest outlier in their mean log excess over the clip, and that mean at first: half as long again."""

SQRT_HALF, SQRT_THREE = math.sqrt(0.5), math.sqrt(3)


class Outlook(NamedTuple):
    """Distribution of the log of time / (median x bias) of the next request: a mixture of three parts.

    Usual requests are normal around `centre`. With the probability `step` the last request was the first of a step of
    the load, and they are normal around `stepped`. A share `outliers` takes longer, by an exponential excess.
    """

    centre: float
    deviation: float
    step: float = 0.0
    stepped: float = 0.0
    stepped_deviation: float = 1.0
    outliers: float = 0.0
    excess: float = EXCESS_PRIOR

    def within(self, log_ratio: float) -> float:
        """Return the probability that the log of time / (median x bias) is at most this."""
        off = (log_ratio - self.centre) / self.deviation
        chance = (1 - self.outliers) * 0.5 * math.erfc(-off * SQRT_HALF)
        if off > CLIP:
            chance += self.outliers * (1 - math.exp((CLIP - off) * self.deviation / self.excess))
        if self.step:
            off = (log_ratio - self.stepped) / self.stepped_deviation
            chance += self.step * (0.5 * math.erfc(-off * SQRT_HALF) - chance)
        return chance

    def ramp(self) -> tuple[float, float, float]:
        """Return a straight line in place of `within`, for a queue: the ratios of time to median at which the
        probability leaves 0 and reaches 1, and its slope between. Its deviation is the same; outliers are left out."""
        stepped = self.step >= 0.5
        centre = self.stepped if stepped else self.centre
        wide = SQRT_THREE * (self.stepped_deviation if stepped else self.deviation)
        low, high = math.exp(centre - wide), math.exp(centre + wide)
        return low, high, 1 / (high - low)


class Calibration:
    """Learner of how far requests really are from the filter's prediction: their spread, and slow outliers.

    Not safe for several threads by itself.
    """

    def __init__(self) -> None:
        self._square = 1.0
        self._count = 0
        self.spread = 1.0
        """Multiple of the filter's deviation that the innovations have."""
        self.outliers = OUTLIER_PRIOR
        """Share of requests that take longer than CLIP deviations allow."""
        self.excess = EXCESS_PRIOR
        """Mean of the log by which they do."""

    def learn(self, innovation: float, deviation: float) -> None:
        """Learn from an innovation and the deviation that the filter predicted for it."""
        self._count += 1
        clip = FIRST_CLIP**2 if self._count < FIRST_ONES else CLIP**2 * self._square
        square = min((innovation / deviation) ** 2, clip) / MEAN_CLIPPED_SQUARE
        self._square += max(SPREAD_MEMORY, 1 / (self._count + PRIOR_COUNT)) * (square - self._square)
        low, high = SPREAD_RANGE
        self._square = max(low**2, min(high**2, self._square))
        self.spread = math.sqrt(self._square)
        over = innovation - CLIP * deviation * self.spread
        self.outliers += OUTLIER_MEMORY * ((over > 0) - self.outliers)
        if over > 0:
            self.excess += EXCESS_MEMORY * (over - self.excess)
