"""Texts of the self-test of words: those of held-out rows, and what people write that rows may lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from gearshift.export.graph.segments import Array
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.task_heads import TaskHead
from gearshift.runtime.inference.self_test_file import WORD_ARRAYS
from gearshift.trainer.data.batches import EncodedRows, encode
from gearshift.trainer.data.rows import Row, Tags
from gearshift.trainer.data.words import starts_of, words_of

SAMPLE_ROWS = 8
WRITTEN = '"Karl-Anna" isn\'t  in the U.S.,\n(3.5 km) http://a.b/c?d @anna #x: caf\u00e9 \U0001f600!'
"""Text with words that most tokenizers cut, and marks at their ends."""


def word_arrays(tokenizer: Tokenizer, head: TaskHead, rows: EncodedRows, max_length: int) -> dict[str, Array]:
    """Return texts by name of the array, with the tokens and places of their words as training makes them.

    `head`: the one that tags them.

    The texts: held-out rows with most words that the tokenizer cuts, with marks glued to the words before them where
    the rule takes them off again; and WRITTEN.
    """
    tagging, labels = head.tagging, head.labels
    assert tagging is not None
    usable = [row for row in range(len(rows)) if "\x00" not in rows.rows[row].text]  # numpy ends a text there
    chosen = sorted(usable, key=lambda row: (len(rows.places[row]) - len(rows.ids[row]), row))
    texts = [_glued(words_of(rows.rows[row]), tagging) for row in chosen[:SAMPLE_ROWS]]
    texts.append(WRITTEN)
    cut = [[(start, end) for start, end in tagging.words.places(text)] for text in texts]
    made = [_row(tagging.words.words(text), labels[0]) for text in texts]
    encoded = encode(made, labels, tokenizer, max_length=max_length, task="token-classification")
    places = [
        [(token, start, end) for token, (start, end) in zip(tokens, spans, strict=True)]
        for tokens, spans in zip(encoded.places, cut, strict=True)
    ]
    values = (np.array(texts), _padded([ids.tolist() for ids in encoded.ids], ()), _padded(places, (3,)))
    return dict(zip(WORD_ARRAYS, values, strict=True))


def _row(words: Sequence[str], tag: str) -> Row:
    return Row(" ".join(words), None, Tags(starts_of(words), (tag,) * len(words)))


def _glued(words: Sequence[str], tagging: Tagging) -> str:
    """Return a text of these words, without the blanks that the rule does not need to find them."""
    text = words[0]
    for number, word in enumerate(words[1:], start=1):
        glued = tagging.words.words(text.rpartition(" ")[2] + word)
        same = glued == list(words[: number + 1][-len(glued) :])
        text += word if same else f" {word}"
    return text


def _padded(rows: Sequence[Sequence[Any]], shape: tuple[int, ...]) -> Array:
    padded = np.full((len(rows), max(map(len, rows)), *shape), -1, dtype=np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = np.array(row, dtype=np.int64).reshape(len(row), *shape)
    return padded
