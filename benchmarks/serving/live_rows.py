"""Rows of live streams, and the score of an answer to one: a number from 0 to 1, of which those in time add up.

* Classification: whether the label is right.
* Question answering: F1 of the answer's words against the right answer most similar to it (SQuAD).
* Multi-label classification: F1 of the labels of this text.
* Token classification: F1 of the entities of this text. The task's own metric counts the entities of all texts together
  and is no sum over texts. Of a text without entities an answer without any scores 1, so that these means are higher
  than that metric, and nearer to one another.

The metrics of regression (a rank correlation) and of embeddings say nothing of a single row: they have no score.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.data.metrics.squad_metrics import compute_f1

from gearshift.errors import InputError
from gearshift.runtime import MultiLabelClassification, QuestionAnswering, TokenClassification
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.spans import Word, entities
from gearshift.trainer.data.rows import LabelSet, Row, Tags
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.data.words import words_of
from gearshift.trainer.learning.metrics import answer_score

Text = str | tuple[str, str]
"""Text of a request, or its two texts."""


@dataclass(frozen=True)
class Labelled:
    """A text, or pair of texts, and the score of an answer to it."""

    text: Text
    score: Callable[[Any], float]


def read_rows(place: Path, bundle: Bundle, *, most: int = 0) -> list[Labelled]:
    """Return the test rows of a data set of the bundle's task, as `gearshift train` splits it, in random order.

    `most`: largest number of rows; 0: all. Raises InputError for a task whose answers have no score, and for data with
    other labels than the bundle's.
    """
    manifest = bundle.manifest
    if manifest.heads or manifest.task not in SCORES:
        raise InputError(f"{bundle.path}: expected one head and a task of {', '.join(SCORES)}, got {manifest.task}")
    data = read_data(place, task=manifest.task, words=manifest.words)
    if {*data.labels} != {*manifest.labels}:
        raise InputError(f"{place}: expected the labels of {bundle.path.name}, {', '.join(manifest.labels)}; "
                         f"got {', '.join(data.labels)}")  # fmt: skip
    rows = list(data.splits["test"])
    random.Random(0).shuffle(rows)
    score = SCORES[manifest.task]
    return [
        Labelled(row.text if row.pair is None else (row.text, row.pair), score(bundle, row))
        for row in rows[: most or None]
    ]


def _of_label(bundle: Bundle, row: Row) -> Callable[[Any], float]:
    label = row.label
    return lambda answer: float(answer.label == label)


def _of_labels(bundle: Bundle, row: Row) -> Callable[[MultiLabelClassification], float]:
    assert isinstance(row.label, LabelSet)
    labels = set(row.label.labels)
    return lambda answer: f1(labels, set(answer.labels))


def _of_answer(bundle: Bundle, row: Row) -> Callable[[QuestionAnswering], float]:
    return lambda answer: float(answer_score(compute_f1, row, answer.answer if answer.answerable else None))


def _of_entities(bundle: Bundle, row: Row) -> Callable[[TokenClassification], float]:
    assert isinstance(row.label, Tags)
    scheme, text = bundle.manifest.scheme, row.text
    assert scheme is not None
    words = [
        Word(word, start, start + len(word), tag, 1.0)
        for word, start, tag in zip(words_of(row), row.label.starts, row.label.tags, strict=True)
    ]
    right = {(one.start, one.end, one.label) for one in entities(words, text, scheme)}
    return lambda answer: f1(right, {(one.start, one.end, one.label) for one in answer.entities})


def f1(right: Collection[Any], found: Collection[Any]) -> float:
    """Return the F1 of what was found; 1 if there is nothing, and nothing was found."""
    return 2 * len({*right} & {*found}) / (len(right) + len(found)) if right or found else 1.0


SCORES: dict[str, Callable[[Bundle, Row], Callable[[Any], float]]] = {
    "classification": _of_label,
    "multi-label-classification": _of_labels,
    "token-classification": _of_entities,
    "question-answering": _of_answer,
}
"""Task -> function that makes the score of a row's answers."""

MEANINGS = {
    "classification": "the label is right",
    "multi-label-classification": "F1 of the labels of a text",
    "token-classification": "F1 of the entities of a text, 1 where there are none and none was found",
    "question-answering": "F1 of the answer's words",
}
"""Task -> meaning of the score."""
