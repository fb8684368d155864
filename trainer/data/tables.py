"""Rows of one file, with the lines that they begin on."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gearshift.errors import DataError
from gearshift.runtime.bundle.tag_schemes import OUTSIDE
from gearshift.trainer.data.columns import LABELS, columns_note, has_column, resolve_columns
from gearshift.trainer.data.files.cells import listed_cell, looks_like_list
from gearshift.trainer.data.files.label_names import names_beside, places_in, require_places
from gearshift.trainer.data.files.multi_hot import columns_of_labels, with_label_lists
from gearshift.trainer.data.files.records import FileRecords, Record, listed
from gearshift.trainer.data.formats import PLAIN, require_columns
from gearshift.trainer.data.heads import rows_of_head, with_tasks
from gearshift.trainer.data.rows import Columns, HeadColumn, LabelSet, Row, Tags, labels_of, read_rows

_WHOLE = re.compile(r"-?\d+\.0")


@dataclass(frozen=True)
class Reading:
    """Task, columns and names by which all files of a data set are read."""

    task: str
    columns: Columns
    named: frozenset[str] = frozenset()
    """Columns that the caller named, by the arguments of `read_data`."""
    names: tuple[str, ...] = ()
    """Names of labels that are integers; empty unless the caller named them."""


@dataclass(frozen=True)
class Table:
    """Rows of one file."""

    path: Path
    task: str
    rows: tuple[Row, ...]
    lines: tuple[int, ...]
    """Line on which each row begins."""
    column: str = ""
    """Column of the labels."""
    notes: tuple[str, ...] = ()
    """Choices that the file does not show."""
    heads: tuple[HeadColumn, ...] = ()
    """Heads with their tasks, if there are several; their labels are those of `of_head`."""

    def of_head(self, head: int) -> Table:
        """Return the table of one of several heads, by its place."""
        of, rows = self.heads[head], rows_of_head(self.rows, head)
        return dataclasses.replace(self, task=of.task, rows=rows, column=of.column, heads=())

    def labels(self) -> tuple[str, ...]:
        """Return the sorted labels, if the task has any; raise DataError if all rows have the same."""
        found = {label for row in self.rows for label in labels_of(row)}
        numbers = {row.label for row in self.rows if isinstance(row.label, float)}
        several = isinstance(self.rows[0].label, LabelSet)
        tagged = isinstance(self.rows[0].label, Tags) and OUTSIDE not in found
        if tagged and all(tag.lstrip("-").isdecimal() for tag in found):
            raise DataError(
                f"{self.path}: tags are numbers ({listed(found)}) and none is {OUTSIDE!r}, so that every word would be "
                f"of an entity; write names, such as {OUTSIDE} and B-person, or name them with --label-names"
            )
        if several and not found:
            raise DataError(f"{self.path}: no row has a label; expected some")
        if len(found) == 1 and not several:
            raise DataError(f"{self.path}: every row has the label {found.pop()!r}; expected two labels or more")
        if len(numbers) == 1:
            raise DataError(f"{self.path}: every row has the number {numbers.pop():g}; expected different ones")
        return tuple(sorted(found))


def read_table(path: Path, found: FileRecords, reading: Reading) -> Table:
    """Read the rows of a file's records."""
    first = next(found.records, None)
    if first is None:
        raise DataError(f"{path}: no rows; expected {'labelled texts' if reading.columns.label else 'texts'}")
    records: Iterator[Record] = itertools.chain([first], found.records)
    columns, notes = reading.columns, list(found.notes)
    if set(first[1]) == {PLAIN}:
        records = ((line, {columns.text: values[PLAIN]}) for line, values in records)
    else:
        where = f"{path}:{found.header or first[0]}"
        records, hot = _several_columns(path, records, first, reading)
        keys = [*first[1], "labels"] if hot else list(first[1])
        named = reading.named - {"label_column"} if hot else reading.named
        columns = resolve_columns(
            where, keys, reading.task, columns, named, twice=found.twice, header=found.header is not None
        )
        if columns.heads:
            whole = list(records)
            records, columns = (
                iter(whole),
                dataclasses.replace(columns, heads=with_tasks(columns.heads, columns.text, whole, path)),
            )
        notes += [f"{path}: its labels are the columns {listed(hot)}, where they hold 1"] if hot else []
        notes += columns_note(path, reading.task, columns, keys, named)
    rows, lines = _rows(path, records, reading.task, columns)
    rows, more = _whole_labels(path, rows)
    notes += [*more, *_uncut_labels(path, rows, lines)]
    column = columns.label[0] if columns.label else ""
    return Table(path, reading.task, tuple(rows), tuple(lines), column, tuple(notes), columns.heads)


def _several_columns(
    path: Path, records: Iterator[Record], first: Record, reading: Reading
) -> tuple[Iterator[Record], tuple[str, ...]]:
    """Return the records with a list of labels, and the columns of these, if each label has a column of its own."""
    if reading.task != "multi-label-classification":
        return records, ()
    asked = reading.columns.label[0] if "label_column" in reading.named else ""
    names = tuple(part.strip() for part in asked.split(",")) if "," in asked and asked not in first[1] else ()
    if not names and (asked or any(has_column(name, first[1]) for name in LABELS[reading.task])):
        return records, ()
    whole = list(records)
    texts = {name for name in first[1] if not name.startswith("Unnamed: ")}
    names = names or columns_of_labels(whole, {reading.columns.text, *(first[1].keys() - texts)})
    return (with_label_lists(str(path), whole, names) if names else iter(whole)), names


def _rows(path: Path, records: Iterator[Record], task: str, columns: Columns) -> tuple[list[Row], list[int]]:
    rows: list[Row] = []
    lines: list[int] = []
    group_of: dict[str | None, str | None] = {}
    required = columns.required(task)
    for line, values in records:
        require_columns(path, line, values, required)
        for row in read_rows(task, f"{path}:{line}", values, columns):
            if rows and (row.pair is None) != (rows[0].pair is None):
                raise DataError(f"{path}:{line}: some rows have {columns.pair!r} and some do not; expected all or none")
            if row.group is not None:  # a context shared by two articles must not lie on both sides of a split
                row = dataclasses.replace(row, group=group_of.setdefault(row.pair, row.group))
            rows.append(row)
            lines.append(line)
    return rows, lines


def _whole_labels(path: Path, rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Return the rows with `1` for `1.0`, if all labels are such: pandas writes integers so where some were missing."""
    if not all(isinstance(row.label, str) and _WHOLE.fullmatch(row.label) for row in rows):
        return rows, []
    whole = [dataclasses.replace(row, label=str(row.label).removesuffix(".0")) for row in rows]
    return whole, [f"{path}: labels such as {rows[0].label} are read as integers, {whole[0].label}"]


def _uncut_labels(path: Path, rows: list[Row], lines: list[int]) -> list[str]:
    """Return a warning where a list seems to be read as one label: lists in a task of one label, or each row of several
    labels has one at most, and some look like lists."""
    for row, line in zip(rows, lines, strict=True):
        if isinstance(row.label, str) and looks_like_list(row.label) and listed_cell(row.label) is not None:
            remedy = "lists of labels are for --task multi-label-classification"
            return [f"{path}:{line}: {row.label!r} is read as one label; {remedy}"]
    sets = [row.label.labels for row in rows if isinstance(row.label, LabelSet)]
    if not sets or any(len(labels) > 1 for labels in sets):
        return []
    odd = [
        (line, row.label.labels[0])
        for row, line in zip(rows, lines, strict=True)
        if isinstance(row.label, LabelSet) and row.label.labels and re.search("[,;]", row.label.labels[0])
    ]
    if not odd:
        return []
    line, label = odd[0]
    return [f"{path}:{line}: {label!r} is read as one label; write a|b or ['a', 'b'] where it is several"]


# Names of labels that are integers


def with_names(folder: Path, tables: Mapping[str, Table], reading: Reading) -> tuple[dict[str, Table], list[str]]:
    """Return the tables with names in place of integers, where the caller or a file beside the data names them, and a
    note."""
    labels = {label for table in tables.values() for row in table.rows for label in labels_of(row)}
    if not labels or not all(label.isdecimal() for label in labels):
        return _unnamed(tables, labels, reading)
    if reading.names:
        for table in tables.values():
            require_places(str(table.path), _labels(table), reading.names)
        return {split: _named(table, reading.names) for split, table in tables.items()}, []
    beside = names_beside(folder, tables["train"].column) if folder.is_dir() else None
    if beside is None:
        return dict(tables), []
    path, names = beside
    if not places_in(labels, names) or "0" not in labels:
        return dict(tables), [f"{path}: its {len(names)} names are not those of the labels {listed(labels)}; not used"]
    return {split: _named(table, names) for split, table in tables.items()}, [f"{path}: labels are named by it"]


def _unnamed(tables: Mapping[str, Table], labels: set[str], reading: Reading) -> tuple[dict[str, Table], list[str]]:
    if reading.names and not labels <= set(reading.names):
        require_places(str(tables["train"].path), labels, reading.names)
    return dict(tables), []


def _labels(table: Table) -> set[str]:
    return {label for row in table.rows for label in labels_of(row)}


def _named(table: Table, names: tuple[str, ...]) -> Table:
    return dataclasses.replace(table, rows=tuple(_with_names(row, names) for row in table.rows))


def _with_names(row: Row, names: tuple[str, ...]) -> Row:
    if isinstance(row.label, Tags):
        return dataclasses.replace(row, label=Tags(row.label.starts, tuple(names[int(tag)] for tag in row.label.tags)))
    if isinstance(row.label, LabelSet):
        return dataclasses.replace(row, label=LabelSet(tuple(names[int(label)] for label in row.label.labels)))
    return dataclasses.replace(row, label=names[int(str(row.label))])
