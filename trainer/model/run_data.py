"""Data set of a run: its training data, or another data set of its task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gearshift.errors import InputError
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.trainer.data.splits import DataSet, read_data
from gearshift.trainer.data.unseen import unseen_labels


class ForTask(Protocol):
    """Model of a task."""

    @property
    def task(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


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


def read_run_data(run: Trained, path: Path | None = None, columns: Mapping[str, Any] | None = None) -> DataSet:
    """Read the training data of a run, in the columns that it was trained with; or the data at `path`, for its task.

    `columns`: names of columns by `read_data`'s arguments, in place of those of the training. The notes of the data set
    count the held-out rows whose label the run does not have, too. Raises InputError if the run does not name its data,
    DataError if the data cannot be read.
    """
    known: Mapping[str, Any] = run.facts.get("columns", {}) if path is None else {}
    own = path is None or (run.data_path is not None and path.resolve() == run.data_path.resolve())
    path = path or run.data_path
    if path is None:
        raise InputError(
            f"{run.path}: expected the path of its training data, found none; pass data or held-out rows with --data"
        )
    stated = [run.facts, *run.facts.get("heads", ())]
    tagging = next((each["tagging"] for each in stated if each.get("tagging") is not None), None)
    words = None if tagging is None else Tagging.from_dict(tagging).words
    data = read_data(path, task=run.checkpoint.task, words=words, **{**known, **(columns or {})})
    data = _as_trained(run, path, data) if own else data
    if data.heads:
        return data
    return dataclasses.replace(data, notes=(*data.notes, *_unknown(path, data, run.checkpoint.labels)))


def _as_trained(run: Trained, path: Path, data: DataSet) -> DataSet:
    """Return the splits that a run was trained with, if it learnt from rows that are held out as test now.

    Earlier releases held no test rows out of a folder without a test file: its dev rows were the test rows too.
    """
    rows = run.facts.get("rows", {}).get("train", 0) + run.facts.get("dropped_rows", 0)
    if "test" not in data.held_out or "held_out" in run.facts or rows <= len(data.splits["train"]):
        return data
    held = "test" if "dev" in data.held_out else "dev"  # a tenth by hash, as it is held out first now
    learnt = [row for split, part in data.splits.items() if split != held for row in part]
    splits = {"train": tuple(learnt), "dev": data.splits[held], "test": data.splits[held]}
    note = f"{path}: {run.path} learnt the rows held out as test, so its dev rows are the test rows too; train it again"
    return dataclasses.replace(data, splits=splits, notes=(*data.notes, note), held_out=())


def _unknown(path: Path, data: DataSet, labels: tuple[str, ...]) -> list[str]:
    """Return a note for each split with labels that these data have in train, and the run does not have."""
    notes = []
    for split in ("dev", "test"):
        rows = data.splits[split]
        unseen = unseen_labels(rows, labels)
        if set(unseen.rows_of) & set(data.labels):
            notes.append(f"{path}: {split}: {unseen.line(len(rows), of='the run')}")
    return notes
