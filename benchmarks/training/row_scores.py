"""Scores of a net on each row of a split, kept with its figures: enough to compute its metric on any of the rows.

Two nets that are measured on the same rows can then be compared row by row (`bootstrap`).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from seqeval.metrics.sequence_labeling import get_entities

from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.learning.metrics import Array, answer_f1s, tags

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RowScores:
    """Scores of one net on the rows of a split.

    classification, question-answering: right or not, or the F1 of the answer; (rows, 1)
    regression: the net's number and the label; (rows, 2)
    token-classification: counts of right, predicted and labelled entities; (rows, 3)
    """

    task: str
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def metric(self) -> float:
        """Return the metric of the task on all rows."""
        return float(self.metrics(np.arange(len(self))[None])[0])

    def metrics(self, chosen: NDArray[np.int64]) -> Floats:
        """Return the metric of each choice of rows, (choices, rows); a row may be chosen several times."""
        values = self.values.astype(np.float64)[chosen]  # (choices, rows, columns)
        if self.task == "regression":
            return _spearman(values[..., 0], values[..., 1])
        if self.task == "token-classification":
            right, found, labelled = values.sum(1).T
            f1: Floats = 2 * right / np.maximum(found + labelled, 1)
            return f1
        return np.asarray(values[..., 0].mean(1))

    def to_dict(self) -> dict[str, Any]:
        """Return the scores in the shortest form that keeps them, for JSON: bits, small counts, or numbers."""
        values = self.values
        if np.isin(values, (0, 1)).all():
            form, content = "bits", np.packbits(values.astype(bool)).tobytes()
        elif (values == values.astype(np.uint8)).all():
            form, content = "uint8", zlib.compress(values.astype(np.uint8).tobytes(), 9)
        else:
            form, content = "float32", zlib.compress(values.astype("<f4").tobytes(), 9)
        return {"form": form, "shape": list(values.shape), "content": base64.b64encode(content).decode()}

    @classmethod
    def from_dict(cls, task: str, raw: dict[str, Any]) -> RowScores:
        """Read the scores that `to_dict` wrote."""
        content, shape = base64.b64decode(raw["content"]), tuple(raw["shape"])
        if raw["form"] == "bits":
            bits = np.unpackbits(np.frombuffer(content, np.uint8), count=int(np.prod(shape)))
            return cls(task, bits.reshape(shape).astype(np.float32))
        kind = {"uint8": "u1", "float32": "<f4"}[raw["form"]]
        return cls(task, np.frombuffer(zlib.decompress(content), kind).reshape(shape).astype(np.float32))


def row_scores(outputs: Sequence[Array], rows: EncodedRows) -> RowScores:
    """Return the scores of a net's outputs; raises KeyError for a task whose metric is not one of its rows."""
    scores = _SCORES[rows.task](outputs, rows)
    return RowScores(rows.task, np.asarray(scores, np.float32).reshape(len(rows), -1))


def _right(outputs: Sequence[Array], rows: EncodedRows) -> list[bool]:
    return [int(output.argmax()) == int(label) for output, label in zip(outputs, rows.labels, strict=True)]


def _numbers(outputs: Sequence[Array], rows: EncodedRows) -> list[tuple[float, float]]:
    return [(float(output[0]), float(label)) for output, label in zip(outputs, rows.labels, strict=True)]


def _entities(outputs: Sequence[Array], rows: EncodedRows) -> list[tuple[int, int, int]]:
    counts = []
    for expected, found in zip(*tags(outputs, rows), strict=True):
        labelled, predicted = set(get_entities(expected)), set(get_entities(found))
        counts.append((len(labelled & predicted), len(predicted), len(labelled)))
    return counts


_SCORES: dict[str, Any] = {
    "classification": _right,
    "regression": _numbers,
    "token-classification": _entities,
    "question-answering": answer_f1s,
}


def _spearman(one: Floats, other: Floats) -> Floats:
    """Return the rank correlation of each row, (choices, rows); 0 if it is negative, as the metric of the task."""
    ranks = [rankdata(values, axis=1) for values in (one, other)]
    centred = [rank - rank.mean(1, keepdims=True) for rank in ranks]
    above = (centred[0] * centred[1]).sum(1)
    below = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    found: Floats = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return np.maximum(found, 0.0)
