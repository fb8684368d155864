"""Records of a data file, and what every reader of them shares."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

Record = tuple[int, dict[str, object]]
"""Line on which a record begins, and its values by column; for TSV and CSV the values are strings. A format without
lines has the number of the record there."""

TOKENS, TAGS = "tokens", "ner_tags"
"""Columns under which a file of words gives its sentences."""


@dataclass(frozen=True)
class FileRecords:
    """Records of one file, with the choices that reading it took."""

    records: Iterator[Record]
    notes: tuple[str, ...] = ()
    """Choices that the file does not show, each in one line that names it."""
    twice: frozenset[str] = frozenset()
    """Columns that the file names twice with different values."""
    header: int | None = None
    """Line of the names of the columns; None if each record has them."""


def listed(names: Collection[str]) -> str:
    """Return names for a message: a set is sorted, and only the first dozen of many are shown."""
    ordered = sorted(names) if isinstance(names, set) else list(names)
    shown = ", ".join(ordered[:12]) or "nothing"
    return f"{shown} and {len(ordered) - 12} more" if len(ordered) > 12 else shown
