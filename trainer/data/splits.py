"""A task's data: a folder or a file of the field's formats (see `formats`), or a data set of the hub (`hub`).

1. A folder holds `train`, and may hold `dev` and `test` (`files.split_files` names them); or `save_to_disk` wrote it.
2. A missing test or dev split is held out of train, and a note says so: no row is in two splits, so that nothing is
   chosen on the rows that measure it. A single file is split into train, dev and test.
3. The labels are those of train. Rows of dev and test may have others (`unseen`), unless `strict_labels` refuses them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gearshift.errors import DataError, InputError
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.runtime.bundle.words import WordRule
from gearshift.trainer.data.files.arrow import SAVED, SAVED_SPLITS, read_parts, read_saved
from gearshift.trainer.data.files.label_names import FILES, asked_names
from gearshift.trainer.data.files.records import FileRecords, listed
from gearshift.trainer.data.files.split_files import STEMS, find_split_files
from gearshift.trainer.data.formats import PLAIN_SUFFIXES, SUFFIXES, WORD_SUFFIXES, read_file
from gearshift.trainer.data.heads import DataHead, asked_heads, cut_heads
from gearshift.trainer.data.hub import SPLITS, glue_columns, hub_records, is_hub_name, named_records
from gearshift.trainer.data.place import kept_place
from gearshift.trainer.data.rows import Columns, HeadLabels, Row, choose_columns, labels_of
from gearshift.trainer.data.tables import Reading, Table, read_table, with_names
from gearshift.trainer.data.unanswerable import odd_questions
from gearshift.trainer.data.unseen import unseen_labels
from gearshift.trainer.data.words import cut_splits

_log = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.1
"""Share of the distinct texts of each label, or of the groups, that is held out for a split without a file."""

HELD_OUT = ("test", "dev")
"""Splits that are held out of train if they have no file, in this order: test rows depend on nothing else."""


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
    """Choices that the files do not show, such as a split held out."""
    task: str = "classification"
    """Name of one of `tasks.TASKS`, or MULTI_TASK."""
    origin: Origin | None = field(default=None, compare=False)
    """Origin of the rows; None if they were not read by `read_data`."""
    tagging: Tagging | None = field(default=None, compare=False)
    """Words and tags of the rows of token classification; None for other tasks."""
    held_out: tuple[str, ...] = field(default=(), compare=False)
    """Splits that have no file, so that their rows were held out of train."""
    heads: tuple[DataHead, ...] = ()
    """Heads with labels of their own, if there are several; `labels` is empty then."""

    @property
    def facts(self) -> dict[str, Any]:
        """Origin in the form that a run stores, for reading the data again, and the words and tags of its rows."""
        tagging = {} if self.tagging is None else {"tagging": self.tagging.to_dict()}
        if self.origin is None:
            return {"data": None, "columns": {}, **tagging}
        held = {"held_out": list(self.held_out)} if self.held_out else {}
        return {"data": self.origin.place, "columns": dict(self.origin.columns), **held, **tagging}

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
    label_names: str = "",
    strict_labels: bool = False,
    words: WordRule | None = None,
    heads: str = "",
) -> DataSet:
    """Read the data set of a task from a folder, a single file or the hub; the module's docstring has the rules.

    "" stands for the usual names (`columns`); `pair_column=None` reads single texts even if there is a second column.
    `words`: rule that cuts the words of token classification; learnt from the training rows unless given.
    Labels lose the blanks around them and stay strings ("0", "1"). The same files always give the same splits.
    `label_names`: names of labels that are integers, with commas between, or a file of them (`files.label_names`).
    `strict_labels` refuses dev and test rows with a label that train lacks.
    `heads`: for the task MULTI_TASK the columns of its heads by name, `intent=label,slots=ner_tags` (`heads`).
    Raises DataError in one line that names the file and, if there is one, the line.
    """
    path = Path(path)
    _check_heads(task, heads, (pair_column, label_column, label_names))
    asked = {"text_column": text_column, "pair_column": pair_column, "label_column": label_column, "heads": heads}
    kept = str(Path(label_names).resolve()) if label_names and Path(label_names).is_file() else label_names
    origin = Origin(
        kept_place(path), {name: given for name, given in {**asked, "label_names": kept}.items() if given != ""}
    )
    glue = glue_columns(str(path), task)
    if glue is not None:
        text_column = text_column or glue[0]
        pair_column = pair_column if pair_column or pair_column is None else glue[1]
    named = frozenset(name for name, given in asked.items() if given) | ({"text_column"} if glue else frozenset())
    if heads:
        columns = Columns(text_column, None, False, (), asked_heads(heads))
    else:
        columns = choose_columns(task, text_column, pair_column, label_column)
    names = asked_names(label_names) if label_names else ()
    reading = Reading(task, columns, named, names)
    if is_hub_name(str(path)):
        data = _read_hub(str(path), reading, strict=strict_labels)
    elif path.is_dir():
        data = _read_folder(path, reading, strict=strict_labels)
    elif path.is_file():
        data = _split_file(read_table(path, read_file(path, task), reading), reading)
    else:
        raise DataError(f"{path}: no such file or folder; expected a folder with {_expected(task)}")
    data = dataclasses.replace(data, notes=(*data.notes, *odd_questions(path, task, data.splits)))
    data = _by_words(path, data, words)
    for note in data.notes:
        _log.info(note)
    return dataclasses.replace(data, origin=origin)


def _check_heads(task: str, heads: str, others: Sequence[str | None]) -> None:
    """Raise InputError unless a task of several heads, and no other, has their columns, and no other column."""
    if (task == MULTI_TASK) != bool(heads):
        raise InputError(f"heads: expected columns by head for the task {MULTI_TASK} alone, got {heads!r} for {task}")
    if heads and any(others):
        raise InputError("heads: expected no pair column, label column and label names beside them; leave these out")


def _by_words(path: Path, data: DataSet, rule: WordRule | None) -> DataSet:
    """Return a data set of token classification with its rows cut by a rule; others as they are."""
    if data.task not in ("token-classification", MULTI_TASK):
        return data
    try:
        if data.heads:
            splits, heads, notes = cut_heads(data.splits, data.heads, rule)
            return dataclasses.replace(data, splits=splits, heads=heads, notes=(*data.notes, *notes))
        splits, tagging, notes = cut_splits(data.splits, data.labels, rule)
    except InputError as error:  # tags of no scheme, or of two
        raise DataError(f"{path}: {error}") from error
    return dataclasses.replace(data, splits=splits, tagging=tagging, notes=(*data.notes, *notes))


def _suffixes(task: str) -> tuple[str, ...]:
    """Return the suffixes of a task's files; plain text and words for the tasks that read them."""
    return (*SUFFIXES, *(WORD_SUFFIXES if task == "token-classification" else PLAIN_SUFFIXES))


def _expected(task: str) -> str:
    kinds = {"embedding": "train.txt, .tsv, .csv, .jsonl", "token-classification": "train.conll, .jsonl"}
    return f"{kinds.get(task, 'train.tsv, .csv, .jsonl')} or .parquet"


# Folders and splits


def _read_folder(folder: Path, reading: Reading, *, strict: bool) -> DataSet:
    if (folder / SAVED_SPLITS).is_file() or (folder / SAVED).is_file():
        return _read_saved(folder, reading, strict=strict)
    found = find_split_files(folder, _suffixes(reading.task), besides=FILES)
    if not found.files:
        if find_split_files(folder / "data", _suffixes(reading.task)).files if (folder / "data").is_dir() else False:
            return _read_folder(folder / "data", reading, strict=strict)
        held = sorted(entry.name for entry in folder.iterdir())
        raise DataError(f"{folder}: no training file; expected {_expected(reading.task)}, found {listed(held)}")
    tables = {}
    for split, paths in found.files.items():
        records = read_parts(paths) if len(paths) > 1 else read_file(paths[0], reading.task)
        tables[split] = read_table(paths[0], records, reading)
    return _join(folder, tables, reading, found.notes, strict=strict)


def _read_saved(folder: Path, reading: Reading, *, strict: bool) -> DataSet:
    """Read what `save_to_disk` wrote: splits by their names, or one table."""
    saved = read_saved(folder)
    if not hasattr(saved, "keys"):
        return _split_file(read_table(folder, FileRecords(named_records(saved)), reading), reading)
    named = {SPLITS[split.lower()]: split for split in saved if split.lower() in SPLITS}
    if "train" not in named:
        raise DataError(f"{folder}: has no train split; found {listed(list(saved))}")
    tables = {
        split: read_table(folder / theirs, FileRecords(named_records(saved[theirs])), reading)
        for split, theirs in named.items()
    }
    return _join(folder, tables, reading, strict=strict)


def _read_hub(name: str, reading: Reading, *, strict: bool) -> DataSet:
    tables = {
        split: read_table(Path(name) / split, FileRecords(records()), reading)
        for split, records in hub_records(name).items()
    }
    return _join(Path(name), tables, reading, strict=strict)


def _join(
    folder: Path, tables: dict[str, Table], reading: Reading, notes: Sequence[str] = (), *, strict: bool
) -> DataSet:
    """Return the splits; those that are missing are held out of train."""
    said = [*notes, *dict.fromkeys(note for table in tables.values() for note in table.notes)]
    tables, names_note = with_names(folder, tables, reading)
    train = tables["train"]
    labels = train.labels()
    for table in tables.values():
        _check_like_train(table, train)
    said += [*names_note, *_unseen_notes(tables, labels, strict=strict)]
    heads = _heads_of(train)
    for place, head in enumerate(heads):
        of_head = {split: table.of_head(place) for split, table in tables.items()}
        said += _unseen_notes(of_head, head.labels, strict=strict)
    splits = {split: table.rows for split, table in tables.items()}
    missing = tuple(split for split in HELD_OUT if split not in splits)
    splits |= _held_out(train, missing)
    for split in missing:
        counts = f"{len(splits[split])} of {len(train.rows)} rows"
        said.append(f"{folder}: no {split} file, so {counts} of {train.path.name} are held out as {split}")
    made = {split: splits[split] for split in STEMS}
    return DataSet(labels, made, tuple(said), reading.task, held_out=missing, heads=heads)


def _heads_of(train: Table) -> tuple[DataHead, ...]:
    """Return the heads of a table of training rows; none for a task with one."""
    return tuple(
        DataHead(head.name, head.task, train.of_head(place).labels()) for place, head in enumerate(train.heads)
    )


def _unseen_notes(tables: Mapping[str, Table], labels: tuple[str, ...], *, strict: bool) -> list[str]:
    """Return a note for each held-out table with labels that train lacks; raise DataError if none may have any, or if
    a table has no other."""
    notes, train = [], tables["train"]
    for split in ("dev", "test"):
        if split not in tables:
            continue
        table = tables[split]
        unseen = unseen_labels(table.rows, labels)
        if unseen.rows and (strict or unseen.alone):
            line, label = next(
                (line, label)
                for row, line in zip(table.rows, table.lines, strict=True)
                for label in labels_of(row)
                if label not in labels
            )
            known = f"{train.path.name}, which has {listed(labels)}"
            more = "" if unseen.rows == 1 else f"; so it is with {unseen.rows} of {len(table.rows)} rows"
            raise DataError(f"{table.path}:{line}: label {label!r} is not in {known}{more}")
        if unseen.rows:
            notes.append(f"{table.path}: {unseen.line(len(table.rows))}")
    return notes


def _check_like_train(table: Table, train: Table) -> None:
    if (table.rows[0].pair is None) != (train.rows[0].pair is None):
        kinds = ["single texts" if rows[0].pair is None else "pairs" for rows in (table.rows, train.rows)]
        raise DataError(f"{table.path}:{table.lines[0]}: has {kinds[0]}, but {train.path.name} has {kinds[1]}")
    for own, known in zip(table.heads, train.heads, strict=True):
        if own.task != known.task:
            what = f"{known.task} in {known.column!r} as in {train.path.name}, got {own.task}"
            raise DataError(f"{table.path}:{table.lines[0]}: head {own.name}: expected {what}")


def _split_file(table: Table, reading: Reading) -> DataSet:
    folder = table.path.parent if table.path.is_file() else table.path
    named, notes = with_names(folder, {"train": table}, reading)
    table = named["train"]
    labels = table.labels()
    splits = _held_out(table, HELD_OUT)
    train, dev, test = (splits[split] for split in ("train", "dev", "test"))
    counts = f"{len(train)} train, {len(dev)} dev and {len(test)} test rows"
    note = f"{table.path}: one file, split into {counts}"
    return DataSet(
        labels,
        {"train": train, "dev": dev, "test": test},
        (*table.notes, *notes, note),
        table.task,
        held_out=HELD_OUT,
        heads=_heads_of(table),
    )


def _held_out(table: Table, missing: Sequence[str]) -> dict[str, tuple[Row, ...]]:
    """Return the rows of each missing split, about as many of each, and those that are left to train."""
    left, splits = table.rows, dict[str, tuple[Row, ...]]()
    for done, split in enumerate(missing):
        left, splits[split] = _hold_out(table, left, split, HELD_OUT_SHARE / (1 - done * HELD_OUT_SHARE))
    return {**splits, "train": left}


def _hold_out(table: Table, rows: Sequence[Row], split: str, share: float) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return (kept, held out): `share` of the distinct texts of each label, at least one of each label that has two.

    Equal texts, and rows of one group, go to the same side, or dev would hold rows that training saw.
    Texts are taken in the order of their hashes, which depends on neither the order of the rows nor the Python version.
    """
    label_of: dict[_Key, str] = {}
    for row in rows:
        label_of.setdefault(_key(row), _class_of(row))
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
        raise DataError(
            f"{table.path}: too few rows to hold some out as {split}; expected two different {what}, or a file "
            f"of {split} rows"
        )
    kept_rows = tuple(row for row, out in zip(rows, is_held, strict=True) if not out)
    return kept_rows, tuple(row for row, out in zip(rows, is_held, strict=True) if out)


def _class_of(row: Row) -> str:
    """Return the label of a row's text, that of the first head which has one; empty if there is none."""
    labels = row.label.labels if isinstance(row.label, HeadLabels) else (row.label,)
    return next((label for label in labels if isinstance(label, str)), "")


_Key = str | tuple[str, str | None]
"""Key shared by rows that belong on the same side of a split."""


def _key(row: Row) -> _Key:
    return (row.text, row.pair) if row.group is None else row.group


def _hash(key: _Key) -> bytes:
    return hashlib.sha256(repr(key).encode()).digest()


def data_hash(data: DataSet) -> str:
    """Return a hash that identifies the rows of a data set."""
    return hashlib.sha256(repr(sorted(data.splits.items())).encode()).hexdigest()
