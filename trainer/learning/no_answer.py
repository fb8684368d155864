"""The threshold of no answer: how much likelier than the best answer none must be, chosen on dev rows.

Subnets differ in how sure they are, so each has a threshold of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.learning.metrics import Array, answers_with_scores

DEFAULT = 0.0
"""Threshold where dev rows cannot tell: no answer is given where it is likelier than any answer."""


def with_threshold(rows: EncodedRows, threshold: float | None) -> EncodedRows:
    """Return rows whose answers are read with this threshold of no answer."""
    return dataclasses.replace(rows, null_threshold=threshold)


def best_threshold(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the threshold at which outputs for question answering have the best mean F1 (SQuAD 2.0).

    Of equally good ones the one farthest from any row's score; DEFAULT unless there are rows of both kinds.
    """
    scored = list(answers_with_scores(outputs, rows))
    if len({row.label == () for row in rows.rows}) < 2 or not scored:
        return DEFAULT
    diffs, answered, silent = np.array(scored).T
    order = np.argsort(diffs, kind="stable")
    diffs, gains = diffs[order], (answered - silent)[order]
    totals = np.concatenate([[0.0], np.cumsum(gains)])  # of answering the first n, those of the lowest scores
    edges = np.concatenate([[diffs[0] - 2.0], diffs, [diffs[-1] + 2.0]])
    return float(_middle_of_widest(edges, totals))


def _middle_of_widest(edges: NDArray[np.float64], totals: NDArray[np.float64]) -> float:
    """Return the middle of the widest gap between two edges among those of the best total; one for each gap."""
    widths = np.diff(edges)
    best = np.flatnonzero((totals >= totals[widths > 0].max() - 1e-9) & (widths > 0))
    chosen = best[widths[best].argmax()]
    return float((edges[chosen] + edges[chosen + 1]) / 2)
