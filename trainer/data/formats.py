"""Data files as records: the first line of each record, and its values by column.

1. TSV is UTF-8 with a header line and no quoting: a `"` is a plain character. CSV has a header line and quotes as
   Python's `csv` reads them. JSONL is one object per line. Plain text has one text per line, and blank lines are left
   out. Each may be xz-compressed.
2. Lines are counted from 1 and the header is line 1, as an editor shows them.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from gearshift.errors import DataError

SUFFIXES = (".tsv", ".csv", ".jsonl", ".tsv.xz", ".csv.xz", ".jsonl.xz")
"""Suffixes of data files."""

PLAIN_SUFFIXES = (".txt", ".txt.xz")
"""Further suffixes for data of which only a text is needed."""

Record = tuple[int, dict[str, object]]
"""Line on which a record begins, and its values by column; for TSV and CSV the values are strings."""

Required = Sequence[str | tuple[str, ...]]
"""Columns that must be present; of a tuple one is enough."""


def read_records(path: Path, required: Required) -> Iterator[Record]:
    """Read the records of a file in the format of its suffix; each has the required columns, and may have more.

    Raises DataError in one line that names the file and, if there is one, the line.
    """
    known = (*SUFFIXES, *(PLAIN_SUFFIXES if len(required) == 1 else ()))
    suffix = next((suffix for suffix in reversed(known) if path.name.endswith(suffix)), None)
    if suffix is None:
        raise DataError(f"{path}: unknown suffix; expected {', '.join(known)}")
    return _READERS[suffix.removesuffix(".xz")](path, _read_text(path), required)


def listed(names: Collection[str]) -> str:
    """Return names for a message: a set is sorted, and only the first dozen of many are shown."""
    ordered = sorted(names) if isinstance(names, set) else list(names)
    shown = ", ".join(ordered[:12]) or "nothing"
    return f"{shown} and {len(ordered) - 12} more" if len(ordered) > 12 else shown


def require_columns(path: Path, line: int, found: Collection[str], required: Required) -> None:
    """Raise DataError if a record lacks a column."""
    for names in required:
        allowed = (names,) if isinstance(names, str) else names
        if not any(name in found for name in allowed):
            wanted = " or ".join(map(repr, allowed))
            raise DataError(f"{path}:{line}: no column {wanted}; found {listed(found)}; name the column to use")


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if path.suffix == ".xz":
            raw = lzma.decompress(raw)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except lzma.LZMAError as error:
        raise DataError(f"{path}: not a whole xz file ({error}); copy it again") from error
    try:
        return raw.decode("utf-8-sig")  # spreadsheets begin a file with a byte-order mark
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Give line number and line. `splitlines` would also cut at U+2028 and others that texts contain."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # the last line break ends the last line and begins no other
    for number, line in enumerate(lines, start=1):
        yield number, line.removesuffix("\r")


def _read_tsv(path: Path, text: str, required: Required) -> Iterator[Record]:
    return _with_header(path, ((number, line.split("\t")) for number, line in _lines(text)), required)


def _read_csv(path: Path, text: str, required: Required) -> Iterator[Record]:
    return _with_header(path, _csv_records(path, text), required)


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Give the first line of each record, and its fields; a quoted field may hold line breaks."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}:{line}: not CSV: {error}; check the quotes") from error
        yield line, fields


def _with_header(path: Path, records: Iterator[tuple[int, list[str]]], required: Required) -> Iterator[Record]:
    _, header = next(records, (1, []))
    if not any(header):
        raise DataError(f"{path}:1: no header line; expected one with the names of the columns")
    if len(set(header)) < len(header):
        raise DataError(f"{path}:1: a column is named twice in {listed(header)}; rename one")
    require_columns(path, 1, header, required)
    for line, fields in records:
        if fields in ([], [""]):
            raise DataError(f"{path}:{line}: empty row; expected {len(header)} fields; delete the line")
        if len(fields) != len(header):
            expected = f"expected {len(header)} fields ({listed(header)})"
            raise DataError(f"{path}:{line}: {expected}, got {len(fields)}; correct the line")
        yield line, dict(zip(header, fields, strict=True))


def _read_jsonl(path: Path, text: str, required: Required) -> Iterator[Record]:
    for line, content in _lines(text):
        if not content.strip():
            raise DataError(f"{path}:{line}: empty row; expected a JSON object; delete the line")
        try:
            values = json.loads(content)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{line}: not JSON: {error.msg} at column {error.colno}") from error
        except (ValueError, RecursionError) as error:
            # A number of thousands of digits, or thousands of brackets.
            raise DataError(f"{path}:{line}: JSON that cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}:{line}: expected a JSON object, got {type(values).__name__}")
        require_columns(path, line, values, required)
        yield line, values


def _read_plain(path: Path, text: str, required: Required) -> Iterator[Record]:
    """Give every non-blank line as a text, under the one required column."""
    (column,) = required
    assert isinstance(column, str)
    for line, content in _lines(text):
        if content.strip():
            yield line, {column: content}


_Reader = Callable[[Path, str, Required], Iterator[Record]]
_READERS: Mapping[str, _Reader] = {".tsv": _read_tsv, ".csv": _read_csv, ".jsonl": _read_jsonl, ".txt": _read_plain}


def read_texts(path: Path) -> tuple[str, ...]:
    """Read a plain text file, one text a line, without empty lines; raise DataError that names the file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected UTF-8 text, one text a line ({error})") from error
    return tuple(line.strip() for line in lines if line.strip())
