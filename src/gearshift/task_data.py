"""The data that a command is given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.runtime.errors import InputError

if TYPE_CHECKING:
    from gearshift.trainer.data import DataSet
    from gearshift.trainer.nasbert.run import AnyRun


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


def data_path(options: argparse.Namespace, run: AnyRun) -> Path:
    """The data that was named, or else what a run was trained on."""
    path: Path | None = options.data or run.data_path
    if path is None:
        raise InputError(
            f"{options.run}: does not say what it was trained on; pass its data or held-out rows with --data"
        )
    return path
