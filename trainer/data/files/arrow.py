"""Parquet files, and data sets that `datasets` saved (`save_to_disk`); integers with names become their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gearshift.errors import DataError, first_line, is_time_limit
from gearshift.extras import require
from gearshift.trainer.data.files.records import FileRecords
from gearshift.trainer.data.hub import Records, named_records

SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"
"""Files of a saved data set, and of a saved folder of splits."""


def read_parts(paths: Sequence[Path]) -> FileRecords:
    """Read the rows of a Parquet file, or of the parts of one in their order; the lines are the numbers of the rows."""
    require("train", "datasets")
    import pyarrow.parquet

    tables = []
    for path in paths:
        try:
            tables.append(pyarrow.parquet.read_table(path, partitioning=None))
        except (OSError, pyarrow.ArrowException) as error:
            said = str(error).splitlines()[0]
            raise DataError(f"{path}: not a whole Parquet file ({said}); copy it again") from error
    try:
        table = pyarrow.concat_tables(tables)
    except pyarrow.ArrowInvalid as error:
        raise DataError(
            f"{paths[-1]}: expected the columns of {paths[0].name}, found others; check the parts"
        ) from error
    return FileRecords(_records(paths[0], table))


def _records(path: Path, table: Any) -> Records:
    """Give the records of a table, whose metadata of `datasets` may be damaged, and its texts no UTF-8."""
    import datasets

    try:
        yield from named_records(datasets.Dataset(table))
    except Exception as error:  # of any kind, as in `read_saved`
        if is_time_limit(error):
            raise
        raise DataError(
            f"{path}: not a Parquet file that `datasets` reads ({first_line(error)}); save it again"
        ) from error


def read_saved(folder: Path) -> Any:
    """Read a data set, or a dictionary of its splits, from a folder that `save_to_disk` wrote."""
    require("train", "datasets")
    import datasets

    try:
        return datasets.load_from_disk(str(folder))
    except Exception as error:  # of any kind: a missing part, a newer format, a damaged file
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{folder}: not a whole data set of `save_to_disk` ({said}); save it again") from error
