"""A task's data: a folder or a file of TSV, CSV, JSONL or plain text (see `formats`), or a data set of the hub (`hub`).

1. A folder holds `train`, and may hold `dev` (or `valid`, `validation`, `trial`) and `test`, each with one of the
   suffixes. The stem must match exactly: `train.fine.tsv` is another data set and is ignored.
2. A missing dev split is held out of train; a missing test split is the dev split again, and a note says so. A single
   file is split into train, dev and test.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gearshift.errors import DataError
from gearshift.runtime.inference.spans import OUTSIDE
from gearshift.trainer.data.formats import PLAIN_SUFFIXES, SUFFIXES, Record, listed, read_records, require_columns
from gearshift.trainer.data.hub import glue_columns, hub_records, is_hub_name
from gearshift.trainer.data.place import kept_place
from gearshift.trainer.data.rows import Columns, LabelSet, Row, Tags, choose_columns, read_rows
from gearshift.trainer.data.unanswerable import odd_questions

_log = logging.getLogger(__name__)

STEMS = {"train": ("train",), "dev": ("dev", "valid", "validation", "trial"), "test": ("test",)}
"""Split -> possible names of its file in a folder."""

HELD_OUT_SHARE = 0.1
"""Share of the distinct texts of each label, or of the groups, that is held out for a split without a file."""


@dataclass(frozen=True)
class Origin:
    """Place and columns that a data set was read from: enough to read it again."""

    place: str
    """Absolute path, or name on the hub."""
    columns: Mapping[str, str | None] = field(default_factory=dict)
    """Columns that the caller named, by argument of `read_data`."""


@dataclass(frozen=True)
class DataSet:
    """Rows of the splits `train`, `dev` and `test`, and the labels of the task."""

    labels: tuple[str, ...]
    """Labels of the training rows, sorted as strings; a label's place here is its class. Empty for tasks without
    labels."""
    splits: Mapping[str, tuple[Row, ...]]
    notes: tuple[str, ...] = ()
    """Choices that the files do not show: a split held out, or used twice."""
    task: str = "classification"
    """Name of one of `tasks.TASKS`."""
    origin: Origin | None = field(default=None, compare=False)
    """Origin of the rows; None if they were not read by `read_data`."""

    @property
    def facts(self) -> dict[str, Any]:
        """Origin in the form that a run stores, for reading the data again."""
        if self.origin is None:
            return {"data": None, "columns": {}}
        return {"data": self.origin.place, "columns": dict(self.origin.columns)}

    @property
    def paired(self) -> bool:
        """Whether each row is a pair of texts."""
        return self.splits["train"][0].pair is not None


def read_data(
    path: str | Path,
    *,
    task: str = "classification",
    text_column: str = "",
    pair_column: str | None = "",
    label_column: str = "",
) -> DataSet:
    """Read the data set of a task from a folder, a single file or the hub; the module's docstring has the rules.

    "" stands for the column in `rows.DEFAULTS`; `pair_column=None` reads single texts even if there is a second column.
    Labels lose the blanks around them and stay strings ("0", "1"). The same files always give the same splits.
    Raises DataError in one line that names the file and, if there is one, the line.
    """
    named = {"text_column": text_column, "pair_column": pair_column, "label_column": label_column}
    origin = Origin(kept_place(Path(path)), {name: column for name, column in named.items() if column != ""})
    glue = glue_columns(str(path), task)
    if glue is not None:
        text_column, pair_column = (
            text_column or glue[0],
            pair_column if pair_column or pair_column is None else glue[1],
        )
    columns = choose_columns(task, text_column, pair_column, label_column)
    path = Path(path)
    if is_hub_name(str(path)):
        data = _read_hub(str(path), task, columns)
    elif path.is_dir():
        data = _read_folder(path, task, columns)
    elif path.is_file():
        data = _split_file(_read_table(path, task, columns))
    else:
        raise DataError(f"{path}: no such file or folder; expected a folder with {_expected(task)}")
    data = dataclasses.replace(data, notes=(*data.notes, *odd_questions(path, task, data.splits)))
    for note in data.notes:
        _log.info(note)
    return dataclasses.replace(data, origin=origin)


def _suffixes(task: str) -> tuple[str, ...]:
    """Return the suffixes of a task's files; plain text only for a task without labels."""
    return SUFFIXES if task != "embedding" else (*SUFFIXES, *PLAIN_SUFFIXES)


def _expected(task: str) -> str:
    return "train.tsv, .csv or .jsonl" if task != "embedding" else "train.txt, .tsv, .csv or .jsonl"


@dataclass(frozen=True)
class _Table:
    """Rows of one file."""

    path: Path
    task: str
    rows: tuple[Row, ...]
    lines: tuple[int, ...]
    """Line on which each row begins."""

    def labels(self) -> tuple[str, ...]:
        """Return the sorted labels, if the task has any; raise DataError if all rows have the same."""
        found = {label for row in self.rows for label in _labels_of(row)}
        numbers = {row.label for row in self.rows if isinstance(row.label, float)}
        several = isinstance(self.rows[0].label, LabelSet)
        tagged = isinstance(self.rows[0].label, Tags) and OUTSIDE not in found
        if tagged and all(tag.lstrip("-").isdecimal() for tag in found):
            raise DataError(
                f"{self.path}: tags are numbers ({listed(found)}) and none is {OUTSIDE!r}, so that every word would be "
                f"of an entity; write names, such as {OUTSIDE} and B-person"
            )
        if several and not found:
            raise DataError(f"{self.path}: no row has a label; expected some")
        if len(found) == 1 and not several:
            raise DataError(f"{self.path}: every row has the label {found.pop()!r}; expected two labels or more")
        if len(numbers) == 1:
            raise DataError(f"{self.path}: every row has the number {numbers.pop():g}; expected different ones")
        return tuple(sorted(found))


def _labels_of(row: Row) -> tuple[str, ...]:
    if isinstance(row.label, Tags):
        return row.label.tags
    if isinstance(row.label, LabelSet):
        return row.label.labels
    return (row.label,) if isinstance(row.label, str) else ()


# Folders and splits


def _read_folder(folder: Path, task: str, columns: Columns) -> DataSet:
    files = {split: _split_path(folder, split, _suffixes(task)) for split in STEMS}
    if files["train"] is None:
        found = sorted(entry.name for entry in folder.iterdir())
        raise DataError(f"{folder}: no training file; expected {_expected(task)}, found {listed(found)}")
    tables = {split: _read_table(path, task, columns) for split, path in files.items() if path is not None}
    return _join(folder, tables, task)


def _read_hub(name: str, task: str, columns: Columns) -> DataSet:
    tables = {}
    for split, records in hub_records(name).items():
        where = Path(name) / split
        tables[split] = _table(where, _with_columns(where, records(), columns, task), task, columns)
    return _join(Path(name), tables, task)


def _with_columns(where: Path, records: Iterator[Record], columns: Columns, task: str) -> Iterator[Record]:
    for number, values in records:
        require_columns(where, number, values, columns.required(task))
        yield number, values


def _join(folder: Path, tables: Mapping[str, _Table], task: str) -> DataSet:
    """Return the splits; a missing one is held out of train or used twice."""
    train = tables["train"]
    labels = train.labels()
    for table in tables.values():
        _check_like_train(table, train, set(labels))
    splits = {split: table.rows for split, table in tables.items()}
    notes = []
    if "dev" not in splits:
        splits["train"], splits["dev"] = _hold_out(train, train.rows, HELD_OUT_SHARE)
        counts = f"{len(splits['dev'])} of {len(train.rows)} rows"
        notes.append(f"{folder}: no dev file, so {counts} of {train.path.name} are held out as dev")
    if "test" not in splits:
        splits["test"] = splits["dev"]
        notes.append(f"{folder}: no test file, so the dev rows are the test rows too; test figures are dev figures")
    return DataSet(labels, {split: splits[split] for split in STEMS}, tuple(notes), task)


def _split_path(folder: Path, split: str, suffixes: Sequence[str]) -> Path | None:
    """Return the file of a split; None if there is none. Raises DataError if there are two."""
    names = [stem + suffix for stem in STEMS[split] for suffix in suffixes]
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) > 1:
        both = listed([path.name for path in found])
        raise DataError(f"{folder}: {both} could each be the {split} split; leave only one")
    return found[0] if found else None


def _check_like_train(table: _Table, train: _Table, labels: set[str]) -> None:
    for row, line in zip(table.rows, table.lines, strict=True):
        for label in _labels_of(row):
            if label not in labels:
                known = f"{train.path.name}, which has {listed(labels)}"
                raise DataError(f"{table.path}:{line}: label {label!r} is not in {known}")
    if (table.rows[0].pair is None) != (train.rows[0].pair is None):
        kinds = ["single texts" if rows[0].pair is None else "pairs" for rows in (table.rows, train.rows)]
        raise DataError(f"{table.path}:{table.lines[0]}: has {kinds[0]}, but {train.path.name} has {kinds[1]}")


def _split_file(table: _Table) -> DataSet:
    labels = table.labels()
    rest, test = _hold_out(table, table.rows, HELD_OUT_SHARE)
    train, dev = _hold_out(table, rest, HELD_OUT_SHARE / (1 - HELD_OUT_SHARE))
    counts = f"{len(train)} train, {len(dev)} dev and {len(test)} test rows"
    note = f"{table.path}: one file, split into {counts}"
    return DataSet(labels, {"train": train, "dev": dev, "test": test}, (note,), table.task)


def _hold_out(table: _Table, rows: Sequence[Row], share: float) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return (kept, held out): `share` of the distinct texts of each label, at least one of each label that has two.

    Equal texts, and rows of one group, go to the same side, or dev would hold rows that training saw.
    Texts are taken in the order of their hashes, which depends on neither the order of the rows nor the Python version.
    """
    label_of: dict[_Key, str] = {}
    for row in rows:
        label_of.setdefault(_key(row), row.label if isinstance(row.label, str) else "")
    texts_of: dict[str, list[_Key]] = {}
    for text, label in label_of.items():
        texts_of.setdefault(label, []).append(text)
    held: set[_Key] = set()
    for texts in texts_of.values():
        if len(texts) > 1:
            held.update(sorted(texts, key=_hash)[: max(1, round(len(texts) * share))])
    is_held = [_key(row) in held for row in rows]
    if not held or all(is_held):
        what = "texts of a label" if isinstance(rows[0].label, str) else "texts"
        what = "articles or contexts" if rows[0].group is not None else what
        raise DataError(f"{table.path}: too few rows to hold some out; expected two different {what}")
    kept_rows = tuple(row for row, out in zip(rows, is_held, strict=True) if not out)
    return kept_rows, tuple(row for row, out in zip(rows, is_held, strict=True) if out)


_Key = str | tuple[str, str | None]
"""Key shared by rows that belong on the same side of a split."""


def _key(row: Row) -> _Key:
    return (row.text, row.pair) if row.group is None else row.group


def _hash(key: _Key) -> bytes:
    return hashlib.sha256(repr(key).encode()).digest()


# Rows


def _read_table(path: Path, task: str, columns: Columns) -> _Table:
    return _table(path, read_records(path, columns.required(task)), task, columns)


def _table(path: Path, records: Iterator[Record], task: str, columns: Columns) -> _Table:
    rows: list[Row] = []
    lines: list[int] = []
    group_of: dict[str | None, str | None] = {}
    for line, values in records:
        for row in read_rows(task, f"{path}:{line}", values, columns):
            if rows and (row.pair is None) != (rows[0].pair is None):
                raise DataError(f"{path}:{line}: some rows have {columns.pair!r} and some do not; expected all or none")
            if row.group is not None:  # a context shared by two articles must not lie on both sides of a split
                row = dataclasses.replace(row, group=group_of.setdefault(row.pair, row.group))
            rows.append(row)
            lines.append(line)
    if not rows:
        raise DataError(f"{path}: no rows; expected {'one labelled text per line' if columns.label else 'texts'}")
    return _Table(path, task, tuple(rows), tuple(lines))


def data_hash(data: DataSet) -> str:
    """Return a hash that identifies the rows of a data set."""
    return hashlib.sha256(repr(sorted(data.splits.items())).encode()).hexdigest()
