"""Rows of data for each task, and how they are read from a record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gearshift.errors import DataError, InputError
from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.trainer.data.answers import IMPOSSIBLE, read_answers
from gearshift.trainer.data.answers import Span as Span
from gearshift.trainer.data.files.cells import listed_cell, looks_like_list
from gearshift.trainer.data.files.records import listed

Values = Mapping[str, object]

QUESTIONS = "qas"
"""Column of SQuAD's records, each of one context with several questions."""

NESTED = ("paragraphs", "data")
"""Columns of SQuAD's own files: an article has paragraphs, and a file has its articles in `data`."""


@dataclass(frozen=True, slots=True)
class Tags:
    """Words of a text, separated by single blanks, each with its tag."""

    starts: tuple[int, ...]
    """Place in the text, in characters, of the start of each word."""
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels that apply to a text: any number of them, or none."""

    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeadLabels:
    """Labels of a text for several heads, in the order of the heads."""

    labels: tuple[str | Tags, ...]


Label = str | float | LabelSet | Tags | tuple[Span, ...] | HeadLabels | None
"""Label of a row for classification, regression, multi-label classification, token classification, question answering
(any span is right; () for a question without an answer), several heads, embedding."""


@dataclass(frozen=True, slots=True)
class Row:
    """A text, or pair of texts, with its label."""

    text: str
    """The text; for question answering the question."""
    pair: str | None
    """The second text of a pair, for question answering the context; None if the data set has single texts."""
    label: Label
    group: str | None = None
    """Group whose rows are held out together; None: rows of equal texts are held out together."""


def labels_of(row: Row) -> tuple[str, ...]:
    """Return the labels that a row names: one, several, those of its words, or none."""
    if isinstance(row.label, Tags):
        return row.label.tags
    if isinstance(row.label, LabelSet):
        return row.label.labels
    return (row.label,) if isinstance(row.label, str) else ()


@dataclass(frozen=True)
class HeadColumn:
    """Head, and the column of its labels."""

    name: str
    column: str
    task: str = ""
    """Name of one of `tasks.TASKS`; empty until the column was seen."""


@dataclass(frozen=True)
class Columns:
    """Columns of a file that are read."""

    text: str
    pair: str | None
    pair_needed: bool
    label: tuple[str, ...]
    """Columns for the label, of which the first that a file has is read; empty for tasks without labels."""
    heads: tuple[HeadColumn, ...] = ()
    """Columns for the labels of several heads; empty for one."""

    def required(self, task: str) -> tuple[str | tuple[str, ...], ...]:
        """Return the columns that every record must have; of a tuple one is enough."""
        pair = (self.pair,) if self.pair_needed and self.pair is not None else ()
        if task == "question-answering":
            return (*((name, *NESTED) for name in pair), (self.text, QUESTIONS, *NESTED))
        if self.heads:
            return (self.text, *(head.column for head in self.heads))
        label = (self.label if len(self.label) > 1 else self.label[0],) if self.label else ()
        return (self.text, *label, *pair)


DEFAULTS = {
    "classification": Columns("sentence", "sentence2", False, ("label",)),
    "multi-label-classification": Columns("sentence", "sentence2", False, ("labels", "label")),
    "regression": Columns("sentence", "sentence2", False, ("label", "score")),
    "token-classification": Columns("tokens", None, False, ("ner_tags", "tags")),
    "question-answering": Columns("question", "context", True, ("answers",)),
    "embedding": Columns("sentence", None, False, ()),
}
"""Task -> columns that are read unless others are named."""


def choose_columns(task: str, text: str, pair: str | None, label: str) -> Columns:
    """Return the columns of a task; "" stands for its default, a pair of None for single texts. Raises InputError."""
    if task not in DEFAULTS:
        raise InputError(f"task: expected one of {', '.join(DEFAULTS)}, got {task!r}")
    own = DEFAULTS[task]
    if task == "question-answering" or own.pair is not None:
        chosen, needed = (own.pair, own.pair_needed) if pair in ("", own.pair) else (pair, pair is not None)
    else:
        chosen, needed = None, False
    return Columns(text or own.text, chosen, needed, (label,) if label and own.label else own.label)


def read_rows(task: str, where: str, values: Values, columns: Columns) -> Iterator[Row]:
    """Read the rows of a record: one, or for question answering any number; raises DataError."""
    if task == "token-classification":
        yield _tagged(where, values, columns)
    elif task == "question-answering":
        yield from _questions(where, values, columns)
    elif task == MULTI_TASK:
        yield _of_heads(where, values, columns)
    else:
        pair = None
        if columns.pair is not None and columns.pair in values:
            pair = _text(where, columns.pair, values[columns.pair])
        label: Label = None
        if columns.label:
            name = _present(columns.label, values)
            label = _LABEL_READERS.get(task, _label)(where, name, values[name])
        yield Row(_text(where, columns.text, values[columns.text]), pair, label)


def _tagged(where: str, values: Values, columns: Columns) -> Row:
    column = _present(columns.label, values)
    words, tags = _cell_list(values[columns.text]), _cell_list(values[column])
    for name, found in ((columns.text, words), (column, tags)):
        if not isinstance(found, list) or not found:
            raise DataError(f"{where}: expected a list in {name!r}, got {_kind(found)}")
    assert isinstance(words, list) and isinstance(tags, list)
    if len(words) != len(tags):
        raise DataError(f"{where}: {len(words)} words in {columns.text!r} but {len(tags)} tags in {column!r}")
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(_text(where, columns.text, word)) + 1
    return Row(" ".join(words), None, Tags(tuple(starts), tuple(_label(where, column, tag) for tag in tags)))


def _of_heads(where: str, values: Values, columns: Columns) -> Row:
    text, labels = "", list[str | Tags]()
    for head in columns.heads:
        if head.task == "token-classification":
            row = _tagged(where, values, Columns(columns.text, None, False, (head.column,)))
            assert isinstance(row.label, Tags)
            text, label = row.text, row.label
            labels.append(label)
        else:
            labels.append(_label(where, head.column, values[head.column]))
    return Row(text or _text(where, columns.text, values[columns.text]), None, HeadLabels(tuple(labels)))


def _cell_list(value: object) -> object:
    """Return the list that a cell of text is: as tools print one, or words with blanks between."""
    if not isinstance(value, str):
        return value
    found = listed_cell(value)
    return value.split() if found is None else found


def _questions(where: str, values: Values, columns: Columns) -> Iterator[Row]:
    assert columns.pair is not None
    nested = next((name for name in NESTED if name in values and columns.pair not in values), None)
    if nested is not None:
        shared = {"title": values["title"]} if "title" in values else {}
        for part in _objects(where, nested, values[nested]):
            yield from _questions(where, {**shared, **part}, columns)
        return
    if columns.pair not in values:
        raise DataError(f"{where}: no column {columns.pair!r}; found {listed(values)}; name the column to use")
    context = _text(where, columns.pair, values[columns.pair])
    title = values.get("title")
    group = title if isinstance(title, str) and title else context
    for one in _objects(where, QUESTIONS, values[QUESTIONS]) if QUESTIONS in values else [values]:
        place = f"{where}: question {one['id']}" if QUESTIONS in values and "id" in one else where
        for name in (columns.text, *(() if one.get(IMPOSSIBLE) else (columns.label[0],))):
            if name not in one:
                raise DataError(f"{place}: no column {name!r}; found {listed(one)}; name the column to use")
        answers = read_answers(place, columns.label[0], one, context)
        yield Row(_text(place, columns.text, one[columns.text]), context, answers, group)


def _objects(where: str, column: str, value: object) -> list[Values]:
    """Return the objects in a column, such as the questions of a context; raise DataError if it has none."""
    noun = {QUESTIONS: "question", "paragraphs": "paragraph", "data": "article"}[column]
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: expected a list of {noun}s in {column!r}, got {_kind(value)}")
    for one in value:
        if not isinstance(one, Mapping):
            raise DataError(f"{where}: expected an object for each {noun} in {column!r}, got {_kind(one)}")
    return value


def _present(names: Sequence[str], values: Values) -> str:
    return next(name for name in names if name in values)


def _kind(value: object) -> str:
    return "an empty list" if value == [] else type(value).__name__


def _text(where: str, column: str, value: object) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a text in {column!r}, got {type(value).__name__}")
    if not value.strip():
        raise DataError(f"{where}: empty text in {column!r}; fill it in or delete the row")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        # JSON can spell half of a surrogate pair; the tokenizer cannot take it.
        raise DataError(f"{where}: half a surrogate pair in {column!r}; correct the escape")
    return value


def _label(where: str, column: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # as JSON spells it
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of integers with a gap becomes one of floats
    if not isinstance(value, str | int):
        raise DataError(f"{where}: expected a string or an integer in {column!r}, got {type(value).__name__}")
    label = str(value).strip()
    if not label:
        raise DataError(f"{where}: empty label in {column!r}; fill it in or delete the row")
    return label


def _several(where: str, column: str, value: object) -> LabelSet:
    """Read labels from a list, or from a text that separates them by `|`, as in TSV and CSV."""
    if isinstance(value, str):
        value = _cut_labels(where, column, value)
    if not isinstance(value, list):
        raise DataError(
            f"{where}: expected a list of labels in {column!r}, or labels with | between; got {_kind(value)}"
        )
    labels = tuple(_label(where, column, one) for one in value)
    if len(set(labels)) < len(labels):
        raise DataError(f"{where}: a label is named twice in {column!r}; name it once")
    return LabelSet(labels)


def _cut_labels(where: str, column: str, value: str) -> list[object]:
    found = listed_cell(value)
    if found is not None:
        return found
    if looks_like_list(value) and "|" not in value:
        raise DataError(
            f"{where}: expected a list such as ['a', 'b'] in {column!r}, got {value[:40]!r}; quote its labels"
        )
    return [part for part in value.split("|") if part.strip()]


def _number(where: str, column: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        shown = repr(value[:40] if isinstance(value, str) else value)
        raise DataError(f"{where}: expected a number in {column!r}, got {shown}; correct it or delete the row")
    return number


_LABEL_READERS: Mapping[str, Callable[[str, str, object], Label]] = {
    "regression": _number,
    "multi-label-classification": _several,
}
