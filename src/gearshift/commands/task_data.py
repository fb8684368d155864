"""The data that a command is given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.errors import InputError

if TYPE_CHECKING:
    from gearshift.trainer.data.splits import DataSet
    from gearshift.trainer.model.checkpoint import Run


COLUMNS = ("text_column", "pair_column", "label_column")


def columns_of(options: argparse.Namespace) -> dict[str, str]:
    """The columns that were typed, by the names of `read_data`'s arguments."""
    return {name: getattr(options, name) for name in COLUMNS if getattr(options, name)}


def columns_for(options: argparse.Namespace, run: Run[Any, Any] | None) -> dict[str, str]:
    """The columns that were typed; of a run's own data else those that it was trained with."""
    known = run.columns if run is not None and options.data is None else {}
    return {**known, **columns_of(options)}


def read_task_data(options: argparse.Namespace, path: Path, task: str, run: Run[Any, Any] | None = None) -> DataSet:
    """The data set of a task, its columns named as they were typed; of a run's own data else as when it was trained."""
    from gearshift.trainer.data.splits import read_data

    return read_data(path, task=task, **columns_for(options, run))


def data_path(options: argparse.Namespace, run: Run[Any, Any]) -> Path:
    """The data that was named, or else what a run was trained on."""
    path: Path | None = options.data or run.data_path
    if path is None:
        raise InputError(
            f"{options.run}: does not say what it was trained on; pass its data or held-out rows with --data"
        )
    return path
