"""TSV, CSV and their kin: a header line, and fields with a separator between.

1. The separator is that of the suffix, unless the header then is one field and another separator cuts it; `sep=;`, as
   Excel writes it, goes before both.
2. CSV quotes as Python's `csv` reads them. Of TSV there are two kinds, those whose `"` is a plain character (GLUE) and
   those that are quoted like CSV (pandas, Excel, R); `quoting` tells them apart by the whole file.
3. Lines are counted from 1 as an editor shows them.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from gearshift.errors import DataError
from gearshift.trainer.data.files.quoting import tsv_fields
from gearshift.trainer.data.files.records import FileRecords, Record, listed

Fields = tuple[int, list[str]]
"""Line on which a row begins, and its fields."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=(.)"?\r?\n', re.IGNORECASE)


def read_delimited(path: Path, text: str, separator: str) -> FileRecords:
    """Read the records of a table; `separator`: the one that its suffix means.

    Raises DataError in one line with file and line.
    """
    notes: list[str] = []
    named = _SEPARATOR_LINE.match(text)
    skipped = 1 if named else 0
    if named:
        separator, text = named[1], text[named.end() :]
    else:
        usual, separator = separator, _separator(text, separator)
        if separator != usual:
            notes.append(f"{path}: its fields are separated by {_SEPARATORS[separator]}")
    rows, more = _rows(path, text, separator, skipped)
    header, records, edges = _without_edges(path, rows)
    notes += [*more, *edges]
    return _with_names(path, header, records, notes, skipped + 1)


def _separator(text: str, usual: str) -> str:
    """Return the separator by which the header has columns."""
    line = text[:10_000].split("\n", 1)[0].replace("\r", "")
    count = {one: len(next(csv.reader([line], delimiter=one), [])) for one in (usual, *_SEPARATORS)}
    return usual if count[usual] > 1 else max(count, key=lambda one: count[one])


def _rows(path: Path, text: str, separator: str, skipped: int) -> tuple[list[Fields], list[str]]:
    """Return the fields of every row, the header first, and notes on how they were quoted."""
    if separator == "\t":
        rows, notes = tsv_fields(path, text, skipped)
        return rows, notes
    try:
        return _csv_rows(path, text, separator, skipped, doublequote=True), []
    except DataError:
        if '\\"' not in text:
            raise
        try:  # as MySQL writes it, and pandas with an escapechar
            rows = _csv_rows(path, text, separator, skipped, doublequote=False)
        except DataError:
            rows = []
        if not rows or any(len(fields) not in (len(rows[0][1]), 0) for _, fields in rows):
            raise
        return rows, [f'{path}: quotes within fields are read as \\", which is how it writes them']


def _csv_rows(path: Path, text: str, separator: str, skipped: int, *, doublequote: bool) -> list[Fields]:
    """Return the first line of each row, and its fields; a quoted field may hold line breaks, and be of any length."""
    escape = None if doublequote else "\\"
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, doublequote=doublequote, escapechar=escape
    )
    limit = csv.field_size_limit(sys.maxsize)
    rows: list[Fields] = []
    try:
        while True:
            line = reader.line_num + 1 + skipped
            try:
                rows.append((line, next(reader)))
            except StopIteration:
                return rows
            except csv.Error as error:
                raise DataError(f"{path}:{line}: not CSV: {error}; check the quotes") from error
    finally:
        csv.field_size_limit(limit)  # it is that of the whole process


def _without_edges(path: Path, rows: list[Fields]) -> tuple[list[str], list[Fields], list[str]]:
    """Return header and rows without what is no row of the data: empty lines at the end, a column of separators at the
    right, the names of rows at the left."""
    while rows and not any(field.strip() for field in rows[-1][1]):
        rows.pop()
    header = rows[0][1] if rows else []
    body, notes = rows[1:], []
    if body and all(len(fields) == len(header) + 1 for _, fields in body):
        if all(not fields[-1] for _, fields in body):
            body = [(line, fields[:-1]) for line, fields in body]
            notes.append(f"{path}: every row ends with a separator, which is left out")
        elif [fields[0] for _, fields in body] == [str(number) for number in range(1, len(body) + 1)] and len(body) > 1:
            header = ["", *header]
            notes.append(f"{path}: the first field of each row, its number, has no name and is left out")
    return header, body, notes


def _with_names(path: Path, header: Sequence[str], rows: list[Fields], notes: list[str], first: int) -> FileRecords:
    names = [name.strip() for name in header]
    if not any(names):
        raise DataError(f"{path}:{first}: no header line; expected one with the names of the columns")

    def records() -> Iterator[Record]:
        for line, fields in rows:
            if fields in ([], [""]):
                raise DataError(f"{path}:{line}: empty row; expected {len(names)} fields; delete the line")
            if len(fields) != len(names):
                expected = f"expected {len(names)} fields ({listed(names)})"
                raise DataError(f"{path}:{line}: {expected}, got {len(fields)}; correct the line")
            yield line, dict(zip(names, fields, strict=True))

    return FileRecords(records(), tuple(notes), _twice(names, rows), first)


def _twice(names: Sequence[str], rows: Sequence[Fields]) -> frozenset[str]:
    """Return the names of columns that are there twice with different values."""
    found = set()
    for place, name in enumerate(names):
        first = names.index(name)
        if name and first != place and any(len(row) <= place or row[first] != row[place] for _, row in rows):
            found.add(name)
    return frozenset(found)
