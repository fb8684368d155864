"""Intervals of metrics and of their differences, by drawing the test rows again (the bootstrap; Efron 1979).

Differences are paired: both nets are measured on the same drawn rows, so that what is hard for both cancels out (Koehn
2004, Statistical significance tests for machine translation evaluation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.training.row_scores import Floats, RowScores

DRAWS = 1000
SEED = 0
ENDS = (2.5, 97.5)
"""Percentiles of a 95 % interval."""


@dataclass(frozen=True)
class Difference:
    """Difference of two nets' metrics, the first less the second, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def told(self) -> bool:
        """Whether the rows are enough to tell the nets apart."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{100 * self.value:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def half_width(seeds: Sequence[RowScores]) -> float:
    """Return half the width of the 95 % interval that the choice of the rows gives to a mean over seeds."""
    drawn = _means(seeds, _draws(len(seeds[0])))
    low, high = np.percentile(drawn, ENDS)
    return float(high - low) / 2


def paired_difference(one: Sequence[RowScores], other: Sequence[RowScores]) -> Difference:
    """Return the difference of two nets, each trained with the same seeds and measured on the same rows.

    Raises ValueError for numbers of seeds or rows that differ.
    """
    counts = {len(scores) for scores in (*one, *other)}
    if len(one) != len(other) or len(counts) != 1:
        raise ValueError(
            f"expected as many seeds of both nets, on the same rows, got {len(one)}, {len(other)} {counts}"
        )
    draws = _draws(counts.pop())
    low, high = np.percentile(_means(one, draws) - _means(other, draws), ENDS)
    value = np.mean([scores.metric() for scores in one]) - np.mean([scores.metric() for scores in other])
    return Difference(float(value), float(low), float(high))


def _draws(rows: int) -> NDArray[np.int64]:
    """Return DRAWS choices of as many rows, with replacement; the same for all nets."""
    return np.random.default_rng(SEED).integers(rows, size=(DRAWS, rows))


def _means(seeds: Sequence[RowScores], draws: NDArray[np.int64]) -> Floats:
    return np.asarray(np.mean([scores.metrics(draws) for scores in seeds], axis=0))
