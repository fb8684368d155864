"""Metrics of the answers to held-out rows: numbers up to 1, higher is better.

Every metric takes the model's output for each row, in order and without padding, and the rows. A label that the model
does not have is a right one that no output predicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import seqeval.metrics
import sklearn.metrics
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from transformers.data.metrics.squad_metrics import compute_exact, compute_f1, normalize_answer

from gearshift.runtime.bundle.tag_schemes import OUTSIDE, Scheme, recognise_known
from gearshift.runtime.inference.spans import FoundAnswer, find_answer
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.data.rows import Row, Tags, labels_of
from gearshift.trainer.data.unseen import unseen_labels

Array = NDArray[np.float32]


def accuracy(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the share of rows whose largest logit, of (labels,), is that of their label."""
    right = sum(int(output.argmax()) == int(label) for output, label in zip(outputs, rows.labels, strict=True))
    return right / len(rows)


def pixel_similarity(outputs: Sequence[Array], rows: Any) -> float:
    """Return 1 less the mean absolute error of the colours, as a share of their range; images (3, height, width).

    `rows`: pairs (`data.image_pairs`), whose labels are the images that should come out.
    """
    errors = [
        np.abs(rows.preparation.restored(output).astype(np.int16) - wanted).mean()
        for output, wanted in zip(outputs, rows.labels, strict=True)
    ]
    return 1 - float(np.mean(errors)) / 255


def macro_f1(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the mean over the labels of each one's F1; logits (labels,)."""
    found = [int(output.argmax()) for output in outputs]
    return float(sklearn.metrics.f1_score(rows.labels, found, average="macro", zero_division=0))


def matthews(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return Matthews' correlation of predicted and right labels (CoLA's), from -1; logits (labels,)."""
    return float(sklearn.metrics.matthews_corrcoef(rows.labels, [int(output.argmax()) for output in outputs]))


def micro_f1(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the F1 of all labels of all rows together; a label is predicted from a probability of 1/2 on. Logits
    (labels,)."""
    return _f1_of_several("micro", outputs, rows)


def macro_f1_of_several(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the mean over the labels of each one's F1, with predictions as in `micro_f1`."""
    return _f1_of_several("macro", outputs, rows)


def _f1_of_several(average: str, outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the averaged F1; for a single label its own F1, since scikit-learn would take its absence for a label
    too."""
    expected, found = _sets(outputs, rows)
    if found.shape[1] == 1:
        expected, found, average = expected.ravel(), found.ravel(), "binary"
    return float(sklearn.metrics.f1_score(expected, found, average=average, zero_division=0))


def all_labels_right(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the share of rows with exactly their labels predicted."""
    return float(sklearn.metrics.accuracy_score(*_sets(outputs, rows)))


def _sets(outputs: Sequence[Array], rows: EncodedRows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the right labels of every row, and the predicted ones: the model's, then those that it does not have."""
    expected, found = np.asarray(rows.labels) > 0, np.stack([output > 0 for output in outputs])
    unseen = list(unseen_labels(rows.rows, rows.names).rows_of) if rows.unseen else []
    if unseen:
        more = np.array([[label in labels_of(row) for label in unseen] for row in rows.rows])
        expected, found = np.hstack([expected, more]), np.hstack([found, np.zeros_like(more)])
    return expected, found


def pearson(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the linear correlation of the numbers, (1,), with the labels, from -1; 0 if all numbers are equal."""
    found = np.array([float(output[0]) for output in outputs])
    expected = np.asarray(rows.labels)
    if np.ptp(found) == 0 or np.ptp(expected) == 0:
        return 0.0
    return float(pearsonr(found, expected).statistic)


def spearman(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the rank correlation of the numbers, (1,), with the labels; 0 if it is negative, or all numbers are
    equal."""
    found = np.array([float(output[0]) for output in outputs])
    expected = np.asarray(rows.labels)
    if np.ptp(found) == 0 or np.ptp(expected) == 0:
        return 0.0
    return max(0.0, float(spearmanr(found, expected).statistic))


def entity_f1(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the F1 of whole entities, as CoNLL counts them (`seqeval`); logits (tokens, labels).

    Each word has the label of its first token, and none if it is cut off. Entities are those of the labels' scheme, as
    in `runtime.inference.spans.entities`.
    """
    return float(seqeval.metrics.f1_score(*tags(outputs, rows), zero_division=0))


def entity_precision(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the share of predicted entities that are right."""
    return float(seqeval.metrics.precision_score(*tags(outputs, rows), zero_division=0))


def entity_recall(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the share of right entities that are predicted."""
    return float(seqeval.metrics.recall_score(*tags(outputs, rows), zero_division=0))


def tags(outputs: Sequence[Array], rows: EncodedRows) -> tuple[list[list[str]], list[list[str]]]:
    """Return the right tags of every row's words, and the predicted ones."""
    expected, found = [], []
    scheme = recognise_known(rows.names)
    for output, row, places in zip(outputs, rows.rows, rows.places, strict=True):
        assert isinstance(row.label, Tags)
        best = output.argmax(-1)
        expected.append([_prefixed(tag, scheme) for tag in row.label.tags])
        found.append([_prefixed(rows.names[best[place]], scheme) if place >= 0 else OUTSIDE for place in places])
    return expected, found


def _prefixed(tag: str, scheme: Scheme) -> str:
    """Return a tag with the prefixes that seqeval reads."""
    place, kind = scheme.read(tag)
    return OUTSIDE if place == OUTSIDE else f"{place}-{kind}"


@dataclass(frozen=True)
class _Tokens:
    """Places of the tokens of a pair, in the form that the runtime reads."""

    sequence_ids: Sequence[int | None]
    offsets: Sequence[tuple[int, int]]


def answer_f1(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the mean F1 of the words of the answer, as the runtime reads it from logits (tokens, 2), against the right
    answer most similar to it (SQuAD 1.1); 1 for no answer where there is none (SQuAD 2.0)."""
    return _mean_of_answers(compute_f1, outputs, rows)


def answer_f1s(outputs: Sequence[Array], rows: EncodedRows) -> list[float]:
    """Return the F1 of each row's answer, whose mean is `answer_f1`."""
    return [
        answer_score(compute_f1, row, answer if given.answerable else None)
        for row, given, answer in _answers(outputs, rows, rows.null_threshold)
    ]


def exact_match(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the share of answers equal to a right one, apart from case, articles and punctuation (SQuAD)."""
    return _mean_of_answers(compute_exact, outputs, rows)


def has_answer_f1(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return `answer_f1` over the questions with an answer (HasAns_f1 of SQuAD 2.0); NaN unless some have none."""
    return _mean_of_answers(compute_f1, outputs, rows, answerable=True)


def has_answer_exact_match(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return `exact_match` over the questions with an answer (HasAns_exact of SQuAD 2.0); NaN unless some have none."""
    return _mean_of_answers(compute_exact, outputs, rows, answerable=True)


def no_answer_accuracy(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the share of the questions without an answer that get none (NoAns_f1 of SQuAD 2.0, and NoAns_exact); NaN
    without such questions."""
    return _mean_of_answers(compute_exact, outputs, rows, answerable=False)


def _mean_of_answers(
    compare: Callable[[str, str], float],
    outputs: Sequence[Array],
    rows: EncodedRows,
    *,
    answerable: bool | None = None,
) -> float:
    """Return the mean of a comparison; `answerable`: over the questions that have an answer, or over those without, and
    NaN if one of the two kinds is missing."""
    found = [
        (row.label != (), answer_score(compare, row, answer if given.answerable else None))
        for row, given, answer in _answers(outputs, rows, rows.null_threshold)
    ]
    if answerable is None:
        return sum(score for _, score in found) / len(found)
    kinds = {kind: [score for of, score in found if of == kind] for kind in (True, False)}
    if not kinds[False] or not kinds[answerable]:
        return math.nan
    return sum(kinds[answerable]) / len(kinds[answerable])


def answers_with_scores(outputs: Sequence[Array], rows: EncodedRows) -> Iterator[tuple[float, float, float]]:
    """Yield of each question the null score difference, the F1 of its best answer, and that of no answer; nothing of a
    question whose context has no tokens, which no threshold could change."""
    for row, found, answer in _answers(outputs, rows, math.inf):
        if found.null_score_diff is not None:
            yield found.null_score_diff, answer_score(compute_f1, row, answer), answer_score(compute_f1, row, None)


def answer_score(compare: Callable[[str, str], float], row: Row, answer: str | None) -> float:
    """Compare an answer, None if none was given, with the right one that is most similar to it.

    Right answers of nothing but articles do not count beside others, as in SQuAD 2.0.
    """
    assert isinstance(row.label, tuple)
    if answer is None or not row.label:
        return float(answer is None and not row.label)
    return max(compare(text, answer) for text in [s.text for s in row.label if normalize_answer(s.text)] or [""])


def _answers(
    outputs: Sequence[Array], rows: EncodedRows, threshold: float | None
) -> Iterator[tuple[Row, FoundAnswer, str]]:
    """Yield each row with its answer as found, and as text."""
    for output, row, places in zip(outputs, rows.rows, rows.places, strict=True):
        assert row.pair is not None
        offsets = [(int(start), int(end)) for start, end in places]
        found = find_answer(output, _Tokens([None if end < 0 else 1 for _, end in offsets], offsets), threshold)
        yield row, found, row.pair[found.start : found.end]


def cosine(outputs: Sequence[Array], rows: EncodedRows) -> float:
    """Return the mean cosine of the vectors, (width,), with their reference vectors; 0 if it is negative."""
    found = [
        float(output @ label) / max(float(np.linalg.norm(output)) * float(np.linalg.norm(label)), 1e-12)
        for output, label in zip(outputs, rows.labels, strict=True)
    ]
    return float(np.clip(np.mean(found), 0, 1))
