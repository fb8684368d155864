"""What a request gives back: the answer of the task, and the facts of the run that made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """How one request was run; of a list, the same for every text of it except where said."""

    subnet: str
    """Name of the subnet that ran."""
    reason: str
    """Why that one: `fits`, `best_effort`, `no_deadline` or `pinned` (see `policy.choose`)."""
    latency_ms: float
    """From the call of `run` to the finished answer, tokenizing included; of a list, for the whole list."""
    predicted_ms: float
    """The time that the graph was expected to stay under (the tail, not the median)."""
    deadline_ms: float | None
    deadline_met: bool | None
    """None where no deadline was given."""
    tokens: int
    """Tokens of this text, without padding."""
    truncated: bool
    """Whether the end of this text was cut off."""


@dataclass(frozen=True, kw_only=True)
class Classification(RunFacts):
    """One of the bundle's labels for one text."""

    label: str
    score: float
    """Probability of `label`, from 0 to 1."""
    scores: dict[str, float]
    """Probability of every label; they add up to 1."""


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the labels of logits (batch, labels)."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponents = np.exp(shifted)
    return exponents / exponents.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def classification(row: NDArray[np.float64], labels: Sequence[str], facts: RunFacts) -> Classification:
    """The answer for one text from its probabilities (labels,)."""
    best = int(row.argmax())
    scores = dict(zip(labels, row.tolist(), strict=True))
    return Classification(**vars(facts), label=labels[best], score=float(row[best]), scores=scores)
