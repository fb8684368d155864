"""The data sets of `benchmarks.accuracy`: which rows are for what, and the settings each is trained with.

Nothing here is of the data sets themselves: a folder is passed that holds them (SST-2, TREC, SNIPS, RTE, SICK, STS-B,
WNUT-17 and the dev set of SQuAD 1.1, in the forms that `gearshift train` reads).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gearshift.trainer.data import DataSet, read_data
from gearshift.trainer.rows import Row

DEV_SHARE = 0.1
"""Of the training rows of RTE, whose own dev rows are the test."""


@dataclass(frozen=True)
class Subject:
    """A data set with how it is trained."""

    name: str
    place: str
    """Its folder or file, in the folder of all."""
    task: str = "classification"
    train_rows: int = 0
    """Most training rows, picked by hash; 0: all."""
    test_is_dev: bool = False
    """Whether its dev rows are the test here, and others are held out of train as dev."""
    seeds: Sequence[int] = (0,)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the teacher, beside SHARED."""
    supernet: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the supernet, beside SHARED and RECIPE."""


SHARED: dict[str, Any] = {"mixed_precision": "bf16", "max_length": 64, "batch_size": 32, "teacher_lr": 1e-4}

RECIPE: dict[str, Any] = {
    "teacher_epochs": 0,
    "distil_dropout": False,
    "freeze_embeddings": True,
    "augment": 2,
    "width_epochs": 1,
    "depth_epochs": 2,
    "width_lr": 3e-4,
    "depth_lr": 3e-4,
}
"""Of every supernet unless its subject says otherwise."""

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("TREC", "trec", seeds=(0, 1, 2), teacher={"teacher_epochs": 5}),
        Subject("SNIPS", "snips", teacher={"teacher_epochs": 2}),
        Subject("RTE", "rte", test_is_dev=True, seeds=(0, 1, 2), teacher={"teacher_epochs": 5, "max_length": 128}),
        Subject("SICK", "sick", teacher={"teacher_epochs": 4}),
        Subject("STS-B", "stsb", task="regression", teacher={"teacher_epochs": 4}),
        Subject("WNUT-17", "wnut17", task="token-classification", seeds=(0, 1, 2), teacher={"teacher_epochs": 6}),
        Subject("SST-2", "sst2", train_rows=12_000, teacher={"teacher_epochs": 2}),
        Subject(
            "SQuAD",
            "squad11/dev.jsonl.xz",
            task="question-answering",
            train_rows=4_000,
            teacher={"teacher_epochs": 4, "max_length": 192},
        ),
    )
}


def load(subject: Subject, folder: Path) -> DataSet:
    """The splits of a subject: those of its files but for what it says of itself."""
    data = read_data(folder / subject.place, task=subject.task)
    splits = dict(data.splits)
    if subject.test_is_dev:
        ordered = _by_hash(splits["train"])
        count = round(DEV_SHARE * len(ordered))
        splits = {"train": ordered[count:], "dev": ordered[:count], "test": splits["dev"]}
    if subject.train_rows:
        splits["train"] = _by_hash(splits["train"])[: subject.train_rows]
    return dataclasses.replace(data, splits=splits, notes=())


def _by_hash(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows in an order that hangs on nothing but themselves."""
    return tuple(sorted(rows, key=lambda row: hashlib.sha256(repr(row).encode()).digest()))
