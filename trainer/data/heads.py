"""Rows of several heads: one text, with a label for each head.

A head's task follows from its column: tags of the words, or a label of the whole text. For everything that one head
needs, its rows are those of a data set of that task (`rows_of_head`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer

from gearshift.errors import DataError, InputError
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.task_heads import is_head_name
from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.runtime.bundle.words import WordRule
from gearshift.trainer.data.batches import EncodedHead, EncodedRows, encode
from gearshift.trainer.data.files.cells import listed_cell
from gearshift.trainer.data.rows import HeadColumn, HeadLabels, Row, Values, labels_of
from gearshift.trainer.data.words import cut_rows, cut_splits

Splits = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class DataHead:
    """Head that rows have labels for."""

    name: str
    task: str
    """Name of one of `tasks.TASKS`."""
    labels: tuple[str, ...]
    """Labels of the training rows, sorted as strings; a label's place here is its class."""
    tagging: Tagging | None = None
    """Words and tags of token classification; None for other tasks."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; words and tags only if there are some."""
        tagging = {} if self.tagging is None else {"tagging": self.tagging.to_dict()}
        return {"name": self.name, "task": self.task, "labels": list(self.labels), **tagging}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read the head that `to_dict` wrote."""
        tagging = None if raw.get("tagging") is None else Tagging.from_dict(raw["tagging"])
        return cls(raw["name"], raw["task"], tuple(raw["labels"]), tagging)


def asked_heads(asked: str) -> tuple[HeadColumn, ...]:
    """Read heads and their columns, `intent=label,slots=ner_tags`; raises InputError."""
    pairs = [tuple(part.strip() for part in one.partition("=")[::2]) for one in asked.split(",")]
    names, columns = [name for name, _ in pairs], [column for _, column in pairs]
    known = all(map(is_head_name, names)) and all(columns)
    if not known or len(pairs) < 2 or len(set(names)) < len(names) or len(set(columns)) < len(columns):
        raise InputError(
            f"heads: expected two or more names, each with a column of its own, such as intent=label,slots=ner_tags, "
            f"got {asked!r}"
        )
    return tuple(HeadColumn(name, column) for name, column in pairs)


def with_tasks(
    heads: Sequence[HeadColumn], text: str, records: Sequence[tuple[int, Values]], place: object
) -> tuple[HeadColumn, ...]:
    """Return heads with the task of each: token classification if every value is a list, or as many parts as the text
    has words; else classification. Raises DataError for a column that has lists in some records."""
    return tuple(dataclasses.replace(head, task=_task_of(head.column, text, records, place)) for head in heads)


def _task_of(column: str, text: str, records: Sequence[tuple[int, Values]], place: object) -> str:
    found = [(line, values[column], values[text]) for line, values in records if column in values and text in values]
    lists = [_is_list(value) for _, value, _ in found]
    counts = [(_words(value), _words(words)) for _, value, words in found]
    if all(lists) or (all(tags == words for tags, words in counts) and any(tags > 1 for tags, _ in counts)):
        return "token-classification"
    if any(lists):
        line = found[lists.index(not lists[0])][0]
        raise DataError(f"{place}:{line}: some rows have a list in {column!r} and some do not; expected all or none")
    return "classification"


def _words(value: object) -> int:
    """Return the number of words in a text; of what is no text it does not matter."""
    return len(value.split()) if isinstance(value, str) else 0


def _is_list(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and listed_cell(value) is not None)


def rows_of_head(rows: Iterable[Row], head: int) -> tuple[Row, ...]:
    """Return rows with the label of one head, by its place."""
    return tuple(dataclasses.replace(row, label=_labels(row)[head]) for row in rows)


def joined_rows(by_head: Sequence[Sequence[Row]]) -> tuple[Row, ...]:
    """Return rows with the labels of all heads, and the texts of the first."""
    return tuple(
        dataclasses.replace(same[0], label=HeadLabels(tuple(row.label for row in same)))
        for same in zip(*by_head, strict=True)
    )


def _parts(row: Row) -> list[Row]:
    """Return the row of each head."""
    return [dataclasses.replace(row, label=label) for label in _labels(row)]


def _labels(row: Row) -> tuple[Any, ...]:
    assert isinstance(row.label, HeadLabels)
    return row.label.labels


def cut_heads(
    splits: Splits, heads: Sequence[DataHead], rule: WordRule | None = None
) -> tuple[dict[str, tuple[Row, ...]], tuple[DataHead, ...], tuple[str, ...]]:
    """Return splits whose words are cut by one rule, the heads with their words and tags, and what is to be said.

    `rule`: learnt from the training rows unless given. Raises InputError for labels of no scheme, or of two.
    """
    done, said = list(heads), dict[str, None]()
    for place, head in enumerate(heads):
        if head.task == "token-classification":
            train = {"train": rows_of_head(splits["train"], place)}
            _, found, notes = cut_splits(train, head.labels, rule)
            rule = found.words  # one text has one list of words
            done[place] = dataclasses.replace(head, tagging=found)
            said |= dict.fromkeys(notes)
    return {split: cut_head_rows(rows, done) for split, rows in splits.items()}, tuple(done), tuple(said)


def cut_head_rows(rows: Sequence[Row], heads: Sequence[DataHead]) -> tuple[Row, ...]:
    """Return rows with their words cut by the rule of the heads that tag them."""
    by_head, texts = [], rows
    for place, head in enumerate(heads):
        own = rows_of_head(rows, place)
        if head.tagging is not None:
            own = texts = cut_rows(own, head.tagging, head.labels)
        by_head.append(own)
    return tuple(dataclasses.replace(row, text=cut.text) for row, cut in zip(joined_rows(by_head), texts, strict=True))


def encode_heads(
    rows: Sequence[Row],
    heads: Sequence[DataHead],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    held_out: bool = False,
    weights: Sequence[float] = (),
) -> EncodedRows:
    """Tokenize rows of several heads, as `encode` does; `weights`: weight of each head's loss, 1 unless given."""
    found = [
        encode(
            rows_of_head(rows, place),
            head.labels,
            tokenizer,
            max_length=max_length,
            task=head.task,
            held_out=held_out,
        )
        for place, head in enumerate(heads)
    ]
    known = [frozenset(head.labels) for head in heads]
    of_heads = (zip(known, map(labels_of, _parts(row)), strict=True) for row in rows)
    unseen = sum(any(not names.issuperset(labels) for names, labels in one) for one in of_heads)
    return dataclasses.replace(
        found[0],
        labels=np.zeros((len(rows), 0), dtype=np.float32),
        task=MULTI_TASK,
        names=(),
        rows=tuple(rows),
        places=(),
        unseen=unseen,
        heads=tuple(
            EncodedHead(head.name, encoded, weight)
            for head, encoded, weight in zip(heads, found, weights or (1.0,) * len(heads), strict=True)
        ),
    )
