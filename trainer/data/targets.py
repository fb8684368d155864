"""Training target of a row, as numbers beside its tokens.

Token classification: the target of a word is at its first token, the other tokens do not count.
The text is the words joined by single blanks, as the engine joins the words of a text, so both have the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from gearshift.errors import DataError
from gearshift.runtime.inference.spans import NULL_TOKEN, word_tokens
from gearshift.trainer.data.rows import LabelSet, Row, Span, Tags

IGNORED = -100
"""Class of a token without a target, which torch's cross entropy leaves out."""

_NO_PLACES = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Target:
    """Training target of one row."""

    values: NDArray[Any]
    """The target: () the class, or a number; (labels,) 1 for each label that applies, for multi-label classification;
    (tokens,) classes; (2,) the first and last token of an answer; (0,) for an embedding."""
    places: NDArray[np.int32]
    """Token classification: the first token of each word, (words,), -1 for a word that is cut off. Question answering:
    begin and end in the second text of each of its tokens, (tokens, 2), -1 for other tokens. Else (0,)."""
    cut: bool = False
    """Whether the answer to a question is cut off."""


TargetReader = Callable[[str, Row, Encoding], Target]


def target_reader(task: str, labels: Sequence[str], side: str = "right", *, unseen: Sequence[str] = ()) -> TargetReader:
    """Return a function that gives the target of a row from its name in a message, the row, and its tokens.

    `side`: side that a long text is cut on.
    `unseen`: labels of held-out rows that the model does not have. In classification each is a class of its own behind
    those of the model, which no answer can be, so that every metric counts the row as wrong. Of several labels the
    target has those that are known, and of tags a token with an unseen one has none: their metrics compare the names.
    """
    classes = {label: place for place, label in enumerate((*labels, *unseen))}

    def place_of(where: str, label: object) -> int:
        if not isinstance(label, str) or label not in classes:
            raise DataError(f"{where}: label {label!r} is not among {', '.join(labels)}")
        return classes[label]

    def classification(where: str, row: Row, encoding: Encoding) -> Target:
        return Target(np.array(place_of(where, row.label), dtype=np.int64), _NO_PLACES)

    def tokens(where: str, row: Row, encoding: Encoding) -> Target:
        assert isinstance(row.label, Tags)
        places = word_places(row.label, row.text, encoding)
        values = np.full(len(encoding.ids), IGNORED, dtype=np.int64)
        for place, tag in zip(places, row.label.tags, strict=True):
            known = place_of(where, tag)
            if place >= 0 and known < len(labels):
                values[place] = known
        return Target(values, places)

    def several(where: str, row: Row, encoding: Encoding) -> Target:
        assert isinstance(row.label, LabelSet)
        values = np.zeros(len(labels), dtype=np.float32)
        places = [place_of(where, label) for label in row.label.labels]
        values[[place for place in places if place < len(labels)]] = 1
        return Target(values, _NO_PLACES)

    readers: dict[str, TargetReader] = {
        "classification": classification,
        "multi-label-classification": several,
        "regression": lambda where, row, encoding: Target(np.array(row.label, dtype=np.float32), _NO_PLACES),
        "token-classification": tokens,
        "question-answering": lambda where, row, encoding: _answer(row, encoding, side),
        "embedding": lambda where, row, encoding: Target(np.zeros(0, dtype=np.float32), _NO_PLACES),
    }
    return readers[task]


def word_places(tags: Tags, text: str, encoding: Encoding) -> NDArray[np.int32]:
    """Return the first token of each word, (words,), or -1 if the word is cut off or the tokenizer drops it."""
    ends = [*(start - 1 for start in tags.starts[1:]), len(text)]
    found = word_tokens(encoding, zip(tags.starts, ends, strict=True))
    return np.array([-1 if token is None else token for token in found], dtype=np.int32)


def _answer(row: Row, encoding: Encoding, side: str) -> Target:
    """Return as the target the first right answer that is complete in the tokens; NULL_TOKEN if there is no answer."""
    assert isinstance(row.label, tuple)
    second = np.array([sequence == 1 for sequence in encoding.sequence_ids], dtype=bool)
    places = np.where(second[:, None], np.array(encoding.offsets, dtype=np.int32), -1).astype(np.int32)
    if not row.label:
        return Target(np.full(2, NULL_TOKEN, dtype=np.int64), places)
    for span in row.label:
        found = span_tokens(span, places, cut=side if encoding.overflowing else None)
        if found is not None:
            return Target(np.array(found, dtype=np.int64), places)
    return Target(np.full(2, IGNORED, dtype=np.int64), places, cut=True)


def span_tokens(span: Span, places: NDArray[np.int32], *, cut: str | None) -> tuple[int, int] | None:
    """Return the first and last token of an answer, with `places` as in `Target`; None if the answer is cut off, or the
    tokenizer drops it. `cut`: side that the text was cut on, None for a whole text."""
    end = span.start + len(span.text)
    if cut == "right" and end > places[:, 1].max():
        return None
    if cut == "left" and span.start < min((start for start, _ in places if start >= 0), default=end):
        return None
    inside = np.flatnonzero((places[:, 0] < end) & (places[:, 1] > span.start))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None
