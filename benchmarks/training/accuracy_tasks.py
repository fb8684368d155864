"""Data sets of `benchmarks.training.accuracy`: the use of their rows, and the settings that each is trained with.

The data sets themselves are in a folder that is passed (SST-2, TREC, SNIPS, RTE, SICK, STS-B, WNUT-17 and the dev set
of SQuAD 1.1, in the forms that `gearshift train` reads).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import DataSet, read_data
from gearshift.trainer.dynabert.settings import Settings

DEV_SHARE = 0.1
"""Share of the training rows held out as dev for RTE, whose own dev rows are the test."""


@dataclass(frozen=True)
class Subject:
    """A data set and its training."""

    name: str
    place: str
    """Folder or file of the data set, in the folder of all."""
    task: str = "classification"
    train_rows: int = 0
    """Most training rows, picked by hash; 0: all."""
    test_is_dev: bool = False
    """Whether its dev rows are the test here, and others are held out of train as dev."""
    seeds: Sequence[int] = (0, 1, 2)
    """Seeds of its trainings; three for less than 2,000 test rows."""
    majority: float = 0.0
    """Share of the test rows with the commonest label, for figures that do not state it."""
    teacher: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the teacher, besides SHARED."""
    supernet: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the supernet, besides SHARED and RECIPE."""


SHARED: dict[str, Any] = {"augment": 0, "max_length": 64, "batch_size": 32, "teacher_lr": 1e-4, "save_every_s": 40}

RECIPE: dict[str, Any] = {
    "teacher_epochs": 0,
    "distil_dropout": False,
    "freeze_embeddings": True,
    "random_subnets": 2,
    "width_epochs": 0,
    "depth_epochs": 2.4,
    "depth_lr": 3e-4,
}
"""Settings of every supernet unless its subject overrides them: some 2,300 steps of all widths and depths, fewer for
long or many rows."""

SLOW: dict[str, Any] = {"depth_lr": 1e-4}
"""Settings with a third of RECIPE's learning rate."""

SHORT: dict[str, Any] = {"random_subnets": 1}
"""Settings for long rows: steps of three subnets each."""

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("TREC", "trec", teacher={"teacher_epochs": 5}, supernet={"augment": 5}),
        Subject(
            "SNIPS",
            "snips",
            teacher={"teacher_epochs": 2},
            supernet={"augment": 2, "depth_epochs": 0.6},
        ),
        Subject(
            "RTE",
            "rte",
            test_is_dev=True,
            majority=146 / 277,
            teacher={"teacher_epochs": 3, "max_length": 128},
            supernet={**SHORT, "augment": 12, "depth_epochs": 0.14},
        ),
        Subject("SICK", "sick", seeds=(0,), teacher={"teacher_epochs": 4}, supernet={"augment": 6}),
        Subject(
            "STS-B",
            "stsb",
            task="regression",
            teacher={"teacher_epochs": 4},
            supernet={"augment": 5, "depth_epochs": 2},
        ),
        Subject(
            "WNUT-17",
            "wnut17",
            task="token-classification",
            teacher={"teacher_epochs": 6},
            supernet={"augment": 8, "depth_epochs": 1.5},
        ),
        Subject(
            "SST-2",
            "sst2",
            train_rows=12_000,
            teacher={"teacher_epochs": 2},
            supernet={"augment": 2, "depth_epochs": 1},
        ),
        Subject(
            "SQuAD",
            "squad11/dev.jsonl.xz",
            task="question-answering",
            teacher={
                "teacher_epochs": 5,
                "evaluate_every": 1,
                "patience": 2,  # until dev rows rise no more
                "teacher_lr": 5e-5,
                "max_length": 192,
                "batch_size": 8,
            },
            supernet={**SHORT, **SLOW, "depth_epochs": 3},
        ),
    )
}

Change = Callable[[Settings], dict[str, Any]]


def _two_stages(usual: Settings) -> dict[str, Any]:
    """Return settings with DynaBERT's width stage first, a quarter of the steps."""
    epochs = usual.epochs("depth")
    return {"width_epochs": epochs / 4, "depth_epochs": 0.75 * epochs, "width_lr": usual.depth_lr}


VARIANTS: dict[str, Change] = {
    "one-random-subnet": lambda usual: {"random_subnets": 1},
    "all-subnets": lambda usual: {"sampling": "all"},
    "no-ends": lambda usual: {"sampling": "random", "random_subnets": 4},
    "lr-1e-4": lambda usual: {"depth_lr": 1e-4},
    "lr-6e-4": lambda usual: {"depth_lr": 6e-4},
    "no-augmentation": lambda usual: _as_long(usual, augment=0),
    "twice-the-copies": lambda usual: _as_long(usual, augment=2 * copies_of(usual)),
    "twice-as-long": lambda usual: {"depth_epochs": 2 * usual.epochs("depth")},
    "quarter-as-long": lambda usual: {"depth_epochs": usual.epochs("depth") / 4},
    "answers-only": lambda usual: {"depth_hidden_weight": 0.0},
    "in-place": lambda usual: {"in_place": True},
    "dropout": lambda usual: {"distil_dropout": True},
    "same-width-teacher": lambda usual: {"same_width_teacher": True},
    "two-stages": _two_stages,
    "depth-only-stage": lambda usual: {"depth_only_epochs": 0.6, "depth_epochs": usual.epochs("depth") - 0.6},
    "labels-at-the-end": lambda usual: {"final_epochs": 1},
}
"""Alternatives to the recipe, each with all else unchanged."""


def copies_of(settings: Settings) -> int:
    """Return the number of copies of each row."""
    return settings.augment or 0


def _as_long(usual: Settings, augment: int) -> dict[str, Any]:
    """Return settings with another number of copies of rows, in the same number of steps."""
    share = (1 + copies_of(usual)) / (1 + augment)
    return {"augment": augment, "depth_epochs": usual.epochs("depth") * share}


def load(subject: Subject, folder: Path, *, most_rows: int = 0) -> DataSet:
    """Return the splits of a subject: those of its files, changed as the subject states."""
    data = read_data(folder / subject.place, task=subject.task)
    splits = dict(data.splits)
    if subject.test_is_dev:
        back = splits["test"] if "test" in data.held_out else ()  # of its train rows, for want of a test file
        ordered = by_hash((*splits["train"], *back))
        count = round(DEV_SHARE * len(ordered))
        splits = {"train": ordered[count:], "dev": ordered[:count], "test": splits["dev"]}
    if subject.train_rows:
        splits["train"] = by_hash(splits["train"])[: subject.train_rows]
    if most_rows:
        splits = {split: rows[:most_rows] for split, rows in splits.items()}
    return dataclasses.replace(data, splits=splits, notes=())


def by_hash(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows in an order that depends on nothing but themselves."""
    return tuple(sorted(rows, key=lambda row: hashlib.sha256(repr(row).encode()).digest()))
