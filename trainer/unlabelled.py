"""Texts without labels, for a teacher to answer."""

from __future__ import annotations

from pathlib import Path

from gearshift.runtime.dan import Text
from gearshift.runtime.errors import DataError
from gearshift.trainer.formats import read_records
from gearshift.trainer.rows import choose_columns


def read_unlabelled(
    path: Path, *, paired: bool = False, text_column: str = "", pair_column: str | None = ""
) -> tuple[Text, ...]:
    """The texts of a plain file, one a line, or those in the text columns of TSV, CSV or JSONL; pairs for paired data.

    Blank texts are left out. Raises DataError, one line that names the file and, where there is one, the line.
    """
    columns = choose_columns("classification", text_column, pair_column, "")
    if paired and columns.pair is None:
        raise DataError(f"{path}: expected a column of second texts, as the data has pairs; name it")
    wanted = (columns.text, columns.pair) if paired and columns.pair is not None else (columns.text,)
    found: list[Text] = []
    for line, values in read_records(path, wanted):
        parts = [values[name] for name in wanted]
        if not all(isinstance(part, str) for part in parts):
            raise DataError(f"{path}:{line}: expected text in {' and '.join(wanted)}, found {parts!r}")
        texts = [str(part).strip() for part in parts]
        if all(texts):
            found.append((texts[0], texts[1]) if paired else texts[0])
    return tuple(found)
