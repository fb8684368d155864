"""Buckets of blocks of like size: shrinking deletes within each, so that no size dies out (NAS-BERT, section 3.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

NOWHERE = -1
"""Bucket of a block that is in none."""


def quantile_buckets(costs: list[Floats], count: int) -> Numbers:
    """The bucket of each block: as many blocks in each, by the mean of their ranks in all costs.

    `costs` are parameters, and where it is known latency: (blocks,) each. Equal blocks may fall into neighbours.
    """
    ranks = np.mean([rankdata(cost) for cost in costs], axis=0)
    order = np.argsort(ranks, kind="stable")
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order)) * min(count, len(order)) // len(order)
    return found


def fixed_buckets(costs: list[Floats], count: int) -> Numbers:
    """The paper's: bucket b (from 0) holds what costs more than b / B of the largest and at most (b + 1) / B.

    A block that is in different buckets by different costs is in none.
    """
    places = [np.minimum(np.ceil(cost / cost.max() * count).astype(np.int64) - 1, count - 1) for cost in costs]
    same = np.all([place == places[0] for place in places], axis=0)
    return np.where(same, np.maximum(places[0], 0), NOWHERE)
