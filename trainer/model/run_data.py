"""Data set of a run: its training data, or another data set of its task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gearshift.errors import InputError
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.trainer.data.splits import DataSet, read_data


class ForTask(Protocol):
    """Model of a task."""

    @property
    def task(self) -> str: ...


class Trained(Protocol):
    """Run of any kind."""

    @property
    def path(self) -> Path: ...
    @property
    def checkpoint(self) -> ForTask: ...
    @property
    def data_path(self) -> Path | None: ...
    @property
    def facts(self) -> dict[str, Any]: ...


def read_run_data(run: Trained, path: Path | None = None, columns: Mapping[str, str] | None = None) -> DataSet:
    """Read the training data of a run, in the columns that it was trained with; or the data at `path`, for its task.

    `columns`: names of columns by `read_data`'s arguments, in place of those of the training. Raises InputError if the
    run does not name its data, DataError if the data cannot be read.
    """
    known: Mapping[str, str] = run.facts.get("columns", {}) if path is None else {}
    path = path or run.data_path
    if path is None:
        raise InputError(
            f"{run.path}: expected the path of its training data, found none; pass data or held-out rows with --data"
        )
    tagging = run.facts.get("tagging")
    words = None if tagging is None else Tagging.from_dict(tagging).words
    return read_data(path, task=run.checkpoint.task, words=words, **{**known, **(columns or {})})
