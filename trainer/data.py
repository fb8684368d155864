"""Labelled text-classification data from a folder or a file of TSV, CSV or JSONL (`formats` says what those are).

1. A folder holds `train`, and may hold `dev` (or `valid`, `validation`, `trial`) and `test`, each with one
   of the suffixes. The stem must match exactly: `train.fine.tsv` is another data set and is left alone.
2. A missing dev split is held out of train; a missing test split is the dev split again, and a note says so.
   A single file is split into train, dev and test.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.runtime.errors import DataError
from gearshift.trainer.formats import SUFFIXES, listed, read_records

_log = logging.getLogger(__name__)

STEMS = {"train": ("train",), "dev": ("dev", "valid", "validation", "trial"), "test": ("test",)}
"""Split -> the names its file may have in a folder."""

DEFAULT_PAIR_COLUMN = "sentence2"
"""Used where a file has it. A pair column of any other name was asked for, so it must be there."""

HELD_OUT_SHARE = 0.1
"""The share of the distinct texts of each label that a split takes which no file brings."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text, or pair of texts."""

    text: str
    pair: str | None
    """The second text of a pair; None where the data set has single texts."""
    label: str


@dataclass(frozen=True)
class DataSet:
    """The rows of the splits `train`, `dev` and `test`, and the labels to tell apart."""

    labels: tuple[str, ...]
    """The labels of the training rows, sorted as strings; a row's class is its label's place here."""
    splits: Mapping[str, tuple[Row, ...]]
    notes: tuple[str, ...] = ()
    """What was done that the files do not say: a split held out, or used twice."""

    @property
    def paired(self) -> bool:
        """Whether each row is a pair of texts."""
        return self.splits["train"][0].pair is not None


def read_data(
    path: str | Path,
    *,
    text_column: str = "sentence",
    pair_column: str | None = DEFAULT_PAIR_COLUMN,
    label_column: str = "label",
) -> DataSet:
    """The data set in a folder or a single file; the module's docstring has the rules.

    `pair_column=None` reads single texts even where a second column is there. Labels lose the blanks around
    them and stay strings ("0", "1"). The same files always give the same splits.
    Raises DataError, one line that names the file and, where there is one, the line.
    """
    if str(path).startswith("hub:"):
        raise DataError(f"{path}: a data set of the hub is not read yet; download it and pass its folder")
    path = Path(path)
    columns = _Columns(text_column, pair_column, label_column)
    if path.is_dir():
        data = _read_folder(path, columns)
    elif path.is_file():
        data = _split_file(_read_table(path, columns))
    else:
        raise DataError(f"{path}: no such file or folder; expected a folder with train.tsv, .csv or .jsonl")
    for note in data.notes:
        _log.info(note)
    return data


@dataclass(frozen=True)
class _Columns:
    text: str
    pair: str | None
    label: str

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that every file must have."""
        if self.pair is None or self.pair == DEFAULT_PAIR_COLUMN:
            return (self.text, self.label)
        return (self.text, self.label, self.pair)


@dataclass(frozen=True)
class _Table:
    """The rows of one file."""

    path: Path
    rows: tuple[Row, ...]
    lines: tuple[int, ...]
    """The line on which each row begins."""

    def labels(self) -> tuple[str, ...]:
        """The sorted labels; raises DataError unless there are two."""
        labels = tuple(sorted({row.label for row in self.rows}))
        if len(labels) < 2:
            raise DataError(f"{self.path}: every row has the label {labels[0]!r}; expected two labels or more")
        return labels


# Folders and splits


def _read_folder(folder: Path, columns: _Columns) -> DataSet:
    files = {split: _split_path(folder, split) for split in STEMS}
    if files["train"] is None:
        found = sorted(entry.name for entry in folder.iterdir())
        raise DataError(f"{folder}: no training file; expected train.tsv, .csv or .jsonl, found {listed(found)}")
    tables = {split: _read_table(path, columns) for split, path in files.items() if path is not None}
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
    return DataSet(labels, {split: splits[split] for split in STEMS}, tuple(notes))


def _split_path(folder: Path, split: str) -> Path | None:
    """The one file of a split, or None; raises DataError where there are two."""
    names = [stem + suffix for stem in STEMS[split] for suffix in SUFFIXES]
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) > 1:
        both = listed([path.name for path in found])
        raise DataError(f"{folder}: {both} could each be the {split} split; leave only one")
    return found[0] if found else None


def _check_like_train(table: _Table, train: _Table, labels: set[str]) -> None:
    for row, line in zip(table.rows, table.lines, strict=True):
        if row.label not in labels:
            known = f"{train.path.name}, which has {listed(labels)}"
            raise DataError(f"{table.path}:{line}: label {row.label!r} is not in {known}")
    if (table.rows[0].pair is None) != (train.rows[0].pair is None):
        kinds = ["single texts" if rows[0].pair is None else "pairs" for rows in (table.rows, train.rows)]
        raise DataError(f"{table.path}:{table.lines[0]}: has {kinds[0]}, but {train.path.name} has {kinds[1]}")


def _split_file(table: _Table) -> DataSet:
    labels = table.labels()
    rest, test = _hold_out(table, table.rows, HELD_OUT_SHARE)
    train, dev = _hold_out(table, rest, HELD_OUT_SHARE / (1 - HELD_OUT_SHARE))
    counts = f"{len(train)} train, {len(dev)} dev and {len(test)} test rows"
    return DataSet(
        labels, {"train": train, "dev": dev, "test": test}, (f"{table.path}: one file, split into {counts}",)
    )


def _hold_out(table: _Table, rows: Sequence[Row], share: float) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(kept, held out): `share` of the distinct texts of each label, and at least one of each that has two.

    Equal texts go to one side together, or dev would hold rows that training saw. The order in which texts
    are taken is that of their hashes: it depends on neither the order of the rows nor the Python version.
    """
    label_of: dict[tuple[str, str | None], str] = {}
    for row in rows:
        label_of.setdefault((row.text, row.pair), row.label)
    texts_of: dict[str, list[tuple[str, str | None]]] = {}
    for text, label in label_of.items():
        texts_of.setdefault(label, []).append(text)
    held: set[tuple[str, str | None]] = set()
    for texts in texts_of.values():
        if len(texts) > 1:
            held.update(sorted(texts, key=_hash)[: max(1, round(len(texts) * share))])
    if not held:
        raise DataError(f"{table.path}: too few rows to hold some out; expected two different texts of a label")
    is_held = [(row.text, row.pair) in held for row in rows]
    kept_rows = tuple(row for row, out in zip(rows, is_held, strict=True) if not out)
    return kept_rows, tuple(row for row, out in zip(rows, is_held, strict=True) if out)


def _hash(text: tuple[str, str | None]) -> bytes:
    return hashlib.sha256(repr(text).encode()).digest()


# Rows


def _read_table(path: Path, columns: _Columns) -> _Table:
    rows: list[Row] = []
    lines: list[int] = []
    for line, values in read_records(path, columns.required):
        row = _row(f"{path}:{line}", values, columns)
        if rows and (row.pair is None) != (rows[0].pair is None):
            raise DataError(f"{path}:{line}: some rows have {columns.pair!r} and some do not; expected all or none")
        rows.append(row)
        lines.append(line)
    if not rows:
        raise DataError(f"{path}: no rows; expected one labelled text per line")
    return _Table(path, tuple(rows), tuple(lines))


def _row(where: str, values: Mapping[str, object], columns: _Columns) -> Row:
    text = _text(where, columns.text, values[columns.text])
    pair = None
    if columns.pair is not None and columns.pair in values:
        pair = _text(where, columns.pair, values[columns.pair])
    return Row(text, pair, _label(where, columns.label, values[columns.label]))


def _text(where: str, column: str, value: object) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a text in {column!r}, got {type(value).__name__}")
    if not value.strip():
        raise DataError(f"{where}: empty text in {column!r}; fill it in or delete the row")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        # JSON can spell half of a surrogate pair; the tokenizer cannot take it.
        raise DataError(f"{where}: half a surrogate pair in {column!r}; mend the escape")
    return value


def _label(where: str, column: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # as JSON spells it
    if not isinstance(value, str | int):
        raise DataError(f"{where}: expected a string or an integer in {column!r}, got {type(value).__name__}")
    label = str(value).strip()
    if not label:
        raise DataError(f"{where}: empty label in {column!r}; fill it in or delete the row")
    return label
