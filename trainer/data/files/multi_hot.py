"""Several labels as a column of 0 and 1 for each, as the toxic comments of Jigsaw have them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from gearshift.errors import DataError
from gearshift.trainer.data.files.records import Record

_ON: tuple[object, ...] = ("1", "1.0", "true", "True", "TRUE", 1, True)
_OFF: tuple[object, ...] = ("0", "0.0", "false", "False", "FALSE", 0, False)
_LABELS = "labels"


def columns_of_labels(records: Sequence[Record], texts: Collection[str]) -> tuple[str, ...]:
    """Return the columns that hold 0 or 1 in every record, besides those of texts; none if there is but one."""
    names = [name for name in records[0][1] if name not in texts and name]
    found = tuple(name for name in names if all(_is_flag(values.get(name)) for _, values in records))
    return found if len(found) > 1 else ()


def with_label_lists(where: str, records: Sequence[Record], names: Sequence[str]) -> Iterator[Record]:
    """Give the records with a list of labels, those whose column holds 1; raise DataError for another value."""
    for line, values in records:
        for name in names:
            if name not in values:
                raise DataError(f"{where}:{line}: no column {name!r} of a label; found {', '.join(values)}")
            if not _is_flag(values[name]):
                raise DataError(f"{where}:{line}: expected 0 or 1 in {name!r}, got {values[name]!r}; correct it")
        yield line, {**values, _LABELS: [name for name in names if values[name] in _ON]}


def _is_flag(value: object) -> bool:
    return isinstance(value, str | int | float) and (value in _ON or value in _OFF)
