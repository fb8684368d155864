"""Data files as records: the first line of each record, and its values by column.

1. The suffix says the format, in any case: TSV, CSV (`files.delimited`), JSONL and JSON (`files.json_records`), Parquet
   (`files.arrow`), for tagged words CoNLL (`files.conll`), and for texts alone plain text, one a line without blank
   lines. Each but Parquet may be compressed by xz, gzip or bzip2.
2. Lines are counted from 1 and the header is line 1, as an editor shows them.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from gearshift.errors import DataError
from gearshift.trainer.data.files.arrow import read_parts
from gearshift.trainer.data.files.conll import looks_like_conll, read_conll
from gearshift.trainer.data.files.decoding import PACKED, lines_of, read_text
from gearshift.trainer.data.files.delimited import read_delimited
from gearshift.trainer.data.files.json_records import read_json, read_json_lines
from gearshift.trainer.data.files.records import TAGS, TOKENS, FileRecords, Record, listed

_log = logging.getLogger(__name__)

PARQUET = ".parquet"

_READERS: Mapping[str, Callable[[Path, str], FileRecords]] = {
    ".tsv": lambda path, text: read_delimited(path, text, "\t"),
    ".csv": lambda path, text: read_delimited(path, text, ","),
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
}
"""Suffix -> function that reads a table."""

_WORDS = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".txt")
"""Suffixes of files with a word a line."""

_TABLES = (*_READERS, ".txt")


def _packed(suffixes: Sequence[str]) -> tuple[str, ...]:
    return tuple(suffix + packing for packing in ("", *PACKED) for suffix in suffixes)


SUFFIXES = (*_packed(tuple(_READERS)), PARQUET)
"""Suffixes of data files."""

PLAIN_SUFFIXES = _packed((".txt",))
"""Further suffixes for data of which only a text is needed."""

WORD_SUFFIXES = _packed(_WORDS)
"""Further suffixes for tagged words."""

Required = Sequence[str | tuple[str, ...]]
"""Columns that must be present; of a tuple one is enough."""


def suffix_of(name: str, known: Sequence[str]) -> str | None:
    """Return the longest known suffix of a file's name, in any case; None if it has none."""
    lower = name.lower()
    return max((suffix for suffix in known if lower.endswith(suffix)), key=len, default=None)


def read_file(path: Path, task: str = "") -> FileRecords:
    """Read the records of a file in the format of its suffix.

    `task`: `token-classification` takes words as well, `embedding` plain text.
    Raises DataError in one line that names the file and, if there is one, the line.
    """
    words, plain = task == "token-classification", task == "embedding"
    known = (*SUFFIXES, *(WORD_SUFFIXES if words else PLAIN_SUFFIXES))
    suffix = suffix_of(path.name, known)
    if suffix is None:
        hint = "; save the sheet as .csv" if path.suffix.lower() in (".xlsx", ".xls", ".ods") else ""
        raise DataError(f"{path}: unknown suffix; expected {', '.join(known)}{hint}")
    if suffix == PARQUET:
        return read_parts([path])
    text = read_text(path)
    kind = re.sub("|".join(re.escape(packing) + "$" for packing in PACKED), "", suffix)
    if words and (kind in _WORDS or (kind == ".tsv" and looks_like_conll(text))):
        return read_conll(path, text)
    if kind == ".txt":
        return _read_plain(text) if plain else _read_table(path, text)
    return _READERS[kind](path, text)


def read_records(path: Path, required: Required) -> Iterator[Record]:
    """Read the records of a file; each has the required columns, and may have more.

    One required column may come from plain text. Raises DataError in one line that names the file and, if there is one,
    the line.
    """
    found = read_file(path, "embedding" if len(required) == 1 else "")
    for note in found.notes:
        _log.warning(note)
    return _with_required(path, found, required)


def _with_required(path: Path, found: FileRecords, required: Required) -> Iterator[Record]:
    for line, values in found.records:
        named = {str(required[0]): values[PLAIN]} if set(values) == {PLAIN} else values
        require_columns(path, found.header or line, named, required, found.twice)
        yield line, named


def require_columns(
    path: Path, line: int, found: Collection[str], required: Required, twice: Collection[str] = ()
) -> None:
    """Raise DataError if a record lacks a column, or has it twice."""
    asked = [(names,) if isinstance(names, str) else names for names in required]
    for name in itertools.chain(*asked):
        if name in twice:
            raise DataError(f"{path}:{line}: a column is named twice: {name!r}; rename one")
    for allowed in asked:
        if not any(name in found for name in allowed):
            wanted = " or ".join(map(repr, allowed))
            raise DataError(f"{path}:{line}: no column {wanted}; found {listed(found)}; name the column to use")


PLAIN = ""
"""Column of the records of plain text."""


def _read_plain(text: str) -> FileRecords:
    """Give every non-blank line as a text."""
    return FileRecords((line, {PLAIN: content}) for line, content in lines_of(text) if content.strip())


def _read_table(path: Path, text: str) -> FileRecords:
    """Read a .txt file that is a table."""
    first = text.split("\n", 1)[0]
    if not any(separator in first for separator in "\t,;|"):
        raise DataError(
            f"{path}:1: expected a header line with the names of the columns, tabs between them, got {first[:40]!r}; "
            "add one, or save the rows as .csv or .jsonl"
        )
    return read_delimited(path, text, "\t")


def read_texts(path: Path) -> tuple[str, ...]:
    """Read a plain text file, one text a line, without empty lines; raise DataError that names the file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected UTF-8 text, one text a line ({error})") from error
    return tuple(line.strip() for line in lines if line.strip())


__all__ = [
    "PARQUET",
    "SUFFIXES",
    "TAGS",
    "TOKENS",
    "FileRecords",
    "Record",
    "listed",
    "read_file",
    "read_records",
    "read_texts",
    "require_columns",
    "suffix_of",
]
