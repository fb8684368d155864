"""Quotes in TSV: plain characters, or marks around fields. The whole file decides, and a note says so.

It is quoted if every `"` is where a writer of quoted fields puts it (around a whole field, doubled within), and
1. the lines cannot be rows as they are: fields hold tabs or line ends; or
2. the header is quoted; or
3. quotes stand just around the fields that need them: those with `"` (pandas), or those with `"` or a comma (Excel); or
   around all fields of a column (R).
Else a `"` is a plain character. Text that is quoted as a whole in some rows, `"Great!"`, is such a case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.trainer.data.files.decoding import lines_of

_FIELD = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^"\t\n]*?))(\t|\r?\n|\Z)')
"""Pattern of a field and what ends it, where all quotes are marks."""


@dataclass(frozen=True)
class _QuotedRow:
    """Row of a file whose quotes are marks."""

    line: int
    fields: list[str]
    quoted: list[bool]


def tsv_fields(path: Path, text: str, skipped: int = 0) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return the line and the fields of every row, and a note if quotes had to be told apart.

    `skipped`: number of lines of the file before the text.
    """
    plain = [(number + skipped, line.split("\t")) for number, line in lines_of(text)]
    first = next((line for line, fields in plain if any(field.startswith('"') for field in fields)), None)
    if first is None:
        return plain, []
    quoted = _quoted_rows(text, skipped)
    if quoted is not None and _is_quoted(plain, quoted):
        rows = [(row.line, row.fields) for row in quoted]
        return rows, [f"{path}: read as quoted TSV: the quotes around fields, as on line {first}, are no text"]
    filled = [field for _, fields in plain for field in fields if '"' in field]
    if quoted is None and 2 * sum(map(_looks_quoted, filled)) < len(filled):
        return plain, []  # quotes stand within texts
    return plain, [f"{path}:{first}: quotes around fields are read as text; if they are no text, save the file as .csv"]


def _looks_quoted(field: str) -> bool:
    return len(field) > 1 and field[0] == field[-1] == '"'


def _quoted_rows(text: str, skipped: int) -> list[_QuotedRow] | None:
    """Return the rows if all quotes are marks around fields, else None."""
    rows: list[_QuotedRow] = []
    place, line = 0, 1 + skipped
    row = _QuotedRow(line, [], [])
    while place < len(text) or row.fields:
        match = _FIELD.match(text, place)
        if match is None:
            return None
        inner, bare, end = match.groups()
        row.fields.append(bare if inner is None else inner.replace('""', '"'))
        row.quoted.append(inner is not None)
        line += match[0].count("\n")
        place = match.end()
        if end != "\t":
            rows.append(row)
            row = _QuotedRow(line, [], [])
    return rows


def _is_quoted(plain: Sequence[tuple[int, list[str]]], quoted: Sequence[_QuotedRow]) -> bool:
    """Return whether quotes are marks; `quoted` is the file read so."""
    widths = {len(row.fields) for row in _content(quoted)[1:]}
    if len(widths) != 1 or widths.pop() - len(quoted[0].fields) not in (0, 1):  # R gives the names of rows no header
        return False
    if any(quoted[0].quoted):
        return True
    if not _is_table([fields for _, fields in plain]):
        return True
    fields = [one for row in _content(quoted)[1:] for one in zip(row.fields, row.quoted, strict=True)]
    inside = [field for field, marked in fields if marked]
    if any("\t" in field or "\n" in field for field in inside):
        return False  # lines are rows as they are, so that these would be rows glued together
    if not inside:
        return False
    if all('"' in field for field in inside):
        return True
    if all(('"' in field or "," in field) == marked for field, marked in fields):
        return True
    columns = list(zip(*(row.quoted for row in _content(quoted)[1:]), strict=True))
    return len(quoted) > 2 and all(len(set(column)) == 1 for column in columns)


def _content(rows: Sequence[_QuotedRow]) -> list[_QuotedRow]:
    return [row for row in rows if any(field.strip() for field in row.fields)]


def _is_table(rows: Sequence[list[str]]) -> bool:
    """Return whether all rows have as many fields as the header, apart from empty ones at the end."""
    filled = max((place for place, fields in enumerate(rows) if any(fields)), default=0)
    return all(len(fields) == len(rows[0]) for fields in rows[: filled + 1])
