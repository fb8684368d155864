"""The data that a command is given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearshift.trainer.data import DataSet


def read_task_data(options: argparse.Namespace, path: Path, task: str) -> DataSet:
    """The data set of a task, its columns named as they were typed."""
    from gearshift.trainer.data import read_data

    return read_data(
        path,
        task=task,
        text_column=options.text_column,
        pair_column=options.pair_column,
        label_column=options.label_column,
    )
