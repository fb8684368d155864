"""How good the answers to held-out rows are: one number from 0 to 1 for each task, more is better.

Every metric takes what the model gave for each row, in their order and without padding, and the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray
from scipy.stats import spearmanr
from seqeval.metrics import f1_score
from transformers.data.metrics.squad_metrics import compute_f1

from gearshift.runtime.spans import OUTSIDE, best_span
from gearshift.trainer.batches import EncodedRows
from gearshift.trainer.rows import Tags

Array = NDArray[np.float32]


def accuracy(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Share of rows whose largest logit, of (labels,), is that of their label."""
    right = sum(int(output.argmax()) == int(label) for output, label in zip(outputs, rows.labels, strict=True))
    return right / len(rows)


def micro_f1(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """F1 of all labels of all rows together, a label being given from a probability of 1/2 on; logits (labels,)."""
    found = np.stack([output > 0 for output in outputs])
    return float(sklearn.metrics.f1_score(np.asarray(rows.labels) > 0, found, average="micro", zero_division=0))


def spearman(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Rank correlation of the numbers, (1,), with the labels; 0 where it is below, or all numbers are equal."""
    found = np.array([float(output[0]) for output in outputs])
    expected = np.asarray(rows.labels)
    if np.ptp(found) == 0 or np.ptp(expected) == 0:
        return 0.0
    return max(0.0, float(spearmanr(found, expected).statistic))


def entity_f1(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """F1 of whole entities, as CoNLL counts them (`seqeval`); logits (tokens, labels).

    Each word has the label of its first token, and none where it is cut off. Of labels without `B-` or `I-`, words of
    one label in a row are an entity, as in `runtime.spans.entities`.
    """
    expected, found = [], []
    for output, row, places in zip(outputs, rows.rows, rows.places, strict=True):
        assert isinstance(row.label, Tags)
        best = output.argmax(-1)
        expected.append([_prefixed(tag) for tag in row.label.tags])
        found.append([_prefixed(rows.names[best[place]]) if place >= 0 else OUTSIDE for place in places])
    return float(f1_score(expected, found, zero_division=0))


def _prefixed(tag: str) -> str:
    return tag if tag == OUTSIDE or tag.startswith(("B-", "I-")) else f"I-{tag}"


@dataclass(frozen=True)
class _Tokens:
    """Where the tokens of a pair lie, in the form that the runtime reads."""

    sequence_ids: Sequence[int | None]
    offsets: Sequence[tuple[int, int]]


def answer_f1(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Mean F1 of the words of the answer, as the runtime reads it from logits (tokens, 2), with those of the right
    answer that it is most like (SQuAD 1.1)."""
    total = 0.0
    for output, row, places in zip(outputs, rows.rows, rows.places, strict=True):
        assert isinstance(row.label, tuple) and row.pair is not None
        offsets = [(int(start), int(end)) for start, end in places]
        start, end, _ = best_span(output, _Tokens([None if end < 0 else 1 for _, end in offsets], offsets))
        total += max(compute_f1(answer.text, row.pair[start:end]) for answer in row.label)
    return total / len(rows)


def cosine(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Mean cosine of the vectors, (hidden,), with those that stand as labels; both of length 1. 0 where it is below."""
    found = [float(output @ label) for output, label in zip(outputs, rows.labels, strict=True)]
    return float(np.clip(np.mean(found), 0, 1))
