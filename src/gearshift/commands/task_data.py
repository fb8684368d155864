"""The data that a command is given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearshift.trainer.data.splits import DataSet


COLUMNS = ("text_column", "pair_column", "label_column")


def columns_of(options: argparse.Namespace) -> dict[str, str]:
    """The columns that were typed, by the names of `read_data`'s arguments."""
    return {name: getattr(options, name) for name in COLUMNS if getattr(options, name)}


def read_task_data(options: argparse.Namespace, path: Path, task: str) -> DataSet:
    """The data set of a task, its columns named as they were typed."""
    from gearshift.trainer.data.splits import read_data

    return read_data(path, task=task, **columns_of(options))
