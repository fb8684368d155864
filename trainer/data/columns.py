"""Columns of a file by the names that people give them.

A column that the caller names is that one, in any case of letters. Else the task's own name goes first, then the other
usual names in their order, and a note says which were taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gearshift.errors import DataError
from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.trainer.data.files.records import listed
from gearshift.trainer.data.rows import DEFAULTS, Columns

TEXTS = (
    "sentence", "text", "content", "sentence1", "premise", "question1", "text1", "text_a", "utterance", "query",
    "question", "review", "tweet", "comment_text", "comment", "message", "document", "body", "headline", "title",
)  # fmt: skip
"""Names of the column of a text, the first that a file has goes before."""

PAIRS: Mapping[str, tuple[str, ...]] = {
    "sentence": ("sentence2",),
    "text": ("text2", "text_pair"),
    "sentence1": ("sentence2",),
    "premise": ("hypothesis",),
    "question1": ("question2",),
    "text1": ("text2",),
    "text_a": ("text_b",),
}
"""Column of a text -> names of the column of the second text beside it."""

LABELS: Mapping[str, tuple[str, ...]] = {
    "classification": (
        "label", "labels", "target", "category", "intent", "class", "sentiment", "topic", "emotion", "gold_label",
    ),
    "multi-label-classification": (
        "labels", "label", "tags", "categories", "genres", "topics", "emotions", "intents", "targets",
    ),
    "regression": (
        "label", "score", "target", "similarity", "similarity_score", "relatedness_score", "rating", "labels",
    ),
    "token-classification": ("ner_tags", "tags", "labels", "ner", "ner_labels", "slots", "slot_labels"),
}  # fmt: skip
"""Task -> names of the column of its labels."""

WORDS = ("tokens", "words")
"""Names of the column of a sentence's words."""


def resolve_columns(
    where: str,
    found: Collection[str],
    task: str,
    columns: Columns,
    named: Collection[str],
    *,
    twice: Collection[str] = (),
    header: bool = True,
) -> Columns:
    """Return the columns of a file by their names in it.

    `named`: those of `text_column`, `pair_column` and `label_column` that the caller named. `header`: whether all
    records have the columns of `found`. For question answering the columns stay, since a record may hold many
    questions. Raises DataError if the file lacks a column, or has it twice.
    """
    if task == "question-answering":
        return columns
    if task == MULTI_TASK:
        return _of_heads(where, found, columns, twice)
    text_names = (columns.text,) if "text_column" in named else WORDS if task == "token-classification" else TEXTS
    text = _first(where, text_names, columns.text, found, twice)
    pair, needed = columns.pair, columns.pair_needed
    if needed and pair is not None:
        pair = _first(where, (pair,), pair, found, twice)
    elif pair is not None:
        beside = _match((*PAIRS.get(text.lower(), ()), pair), found)
        pair = None if beside is None and header else beside or pair  # a later record may have it, and is refused then
    if not columns.label:
        return Columns(text, pair, needed, ())
    label_names = columns.label if "label_column" in named else LABELS[task]
    if "label_column" not in named:
        label_names = tuple(name for name in label_names if name not in (text.lower(), (pair or "").lower()))
    return Columns(text, pair, needed, (_first(where, label_names, columns.label, found, twice),))


def _of_heads(where: str, found: Collection[str], columns: Columns, twice: Collection[str]) -> Columns:
    """Return the columns of several heads by their names in a file."""
    heads = tuple(
        replace(head, column=_first(where, (head.column,), head.column, found, twice)) for head in columns.heads
    )
    taken = [head.column for head in heads]
    names = (columns.text,) if columns.text else tuple(name for name in (*WORDS, *TEXTS) if name not in taken)
    return Columns(_first(where, names, columns.text or ("tokens", "sentence"), found, twice), None, False, (), heads)


def columns_note(path: Path, task: str, columns: Columns, found: Collection[str], named: Collection[str]) -> list[str]:
    """Return a note on the columns that were taken, if a name is neither the task's own nor one that was given, or if
    another column seems to hold texts."""
    if task in ("question-answering", MULTI_TASK):
        return []
    own = DEFAULTS[task]
    unusual = [
        columns.text != own.text and "text_column" not in named,
        columns.pair not in (None, own.pair) and columns.pair in found and "pair_column" not in named,
        columns.label and columns.label[0] not in own.label and "label_column" not in named,
    ]
    asked = (columns.text, *([] if columns.pair is None else [columns.pair]), *columns.label)
    taken = [name for name in asked if name in found]
    left = [name for name in found if name not in taken and name]
    others = [name for name in left if name.lower() in TEXTS and task in ("classification", "regression")]
    if not any(unusual) and (not others or {"text_column", "pair_column"} & set(named)):
        return []
    return [f"{path}: reads the columns {', '.join(taken)}" + (f", and not {listed(left)}" if left else "")]


def _first(
    where: str, names: Sequence[str], shown: str | Sequence[str], found: Collection[str], twice: Collection[str]
) -> str:
    match = _match(names, found)
    if match is None:
        wanted = " or ".join(map(repr, [shown] if isinstance(shown, str) else shown))
        raise DataError(f"{where}: no column {wanted}; found {listed(found)}; name the column to use")
    if match in twice:
        raise DataError(f"{where}: a column is named twice: {match!r}; rename one")
    return match


def _match(names: Sequence[str], found: Collection[str]) -> str | None:
    """Return the first name that is there, as it is written there."""
    for name in names:
        if name in found:
            return name
        like = [one for one in found if one.lower().strip() == name.lower()]
        if len(like) == 1:
            return like[0]
    return None


def has_column(name: str, found: Collection[str]) -> bool:
    """Return whether a file has a column, in any case of letters."""
    return _match((name,), found) is not None
