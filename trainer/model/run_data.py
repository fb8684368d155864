"""The data set of a run: the one it was trained on, or another one of its task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gearshift.errors import InputError
from gearshift.trainer.data.splits import DataSet, read_data


class ForTask(Protocol):
    """A model that was made for a task."""

    @property
    def task(self) -> str: ...


class Trained(Protocol):
    """A run, of whatever kind."""

    @property
    def path(self) -> Path: ...
    @property
    def checkpoint(self) -> ForTask: ...
    @property
    def data_path(self) -> Path | None: ...
    @property
    def facts(self) -> dict[str, Any]: ...


def read_run_data(run: Trained, path: Path | None = None, columns: Mapping[str, str] | None = None) -> DataSet:
    """Read the data of a run again, in the columns that it was trained with; or that at `path`, for the same task.

    `columns`, by the names of `read_data`'s arguments, count more than those of the training. Raises InputError where
    the run does not say what it was trained on, DataError where that cannot be read.
    """
    known: Mapping[str, str] = run.facts.get("columns", {}) if path is None else {}
    path = path or run.data_path
    if path is None:
        raise InputError(f"{run.path}: does not say what it was trained on; pass its data or held-out rows with --data")
    return read_data(path, task=run.checkpoint.task, **{**known, **(columns or {})})
