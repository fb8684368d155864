"""Tests of the time that a training says it will take."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gearshift.trainer.data.batches import Batch
from gearshift.trainer.dynabert.duration import estimate, told
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.stages import Training
from gearshift.trainer.dynabert.train import encode_split, train_supernet
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.elastic import ElasticClassifier
from tests.trainer.tiny import LABELS, SETTINGS, make_data

DATA = make_data()


def training(checkpoint_path: Path, tmp_path: Path, **values: Any) -> Training:
    settings = dataclasses.replace(SETTINGS, **values)
    checkpoint = load_checkpoint(checkpoint_path, LABELS)
    return Training(checkpoint, settings, encode_split(checkpoint, settings, DATA.splits["train"], "train"), tmp_path)


@pytest.mark.parametrize(
    ("values", "stages"),
    [
        ({}, ["teacher", "width", "depth"]),
        ({"teacher_epochs": 0, "depth_only_epochs": 1}, ["width", "depth-only", "depth"]),
        ({"width_epochs": 0, "depth_epochs": 0, "final_epochs": 0.1}, ["teacher", "final"]),
        ({"sampling": "anchored", "batch_size": 24}, ["teacher", "width", "depth"]),
    ],
)
def test_every_stage_that_runs_is_timed_and_the_model_stays_as_it_was(
    checkpoint_path: Path, tmp_path: Path, values: dict[str, Any], stages: list[str]
) -> None:
    timed = training(checkpoint_path, tmp_path, **values)
    before = {name: value.clone() for name, value in timed.model.state_dict().items()}
    seconds = estimate(timed, timed.model.grid())
    assert list(seconds) == stages
    assert all(each > 0 for each in seconds.values())
    assert all(torch.equal(value, before[name]) for name, value in timed.model.state_dict().items())
    assert all(parameter.grad is None for parameter in timed.model.parameters())


def test_a_stage_takes_as_many_times_a_step_as_it_has_steps(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))  # every step takes a second
    one = training(checkpoint_path, tmp_path, teacher_epochs=2, width_epochs=0.5, depth_epochs=3, teacher_cache_gb=0)
    copied = dataclasses.replace(one, settings=dataclasses.replace(one.settings, augment=3))
    # 24 rows in batches of 8
    assert estimate(one, one.model.grid()) == {"teacher": 6, "width": 2, "depth": 9}
    assert estimate(copied, one.model.grid()) == {"teacher": 6, "width": 6, "depth": 36}


def test_measuring_takes_a_pass_of_every_subnet_over_the_held_out_rows(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))  # all subnets together take a second
    one = training(checkpoint_path, tmp_path, teacher_epochs=1, width_epochs=0, depth_epochs=0)
    row = DATA.splits["train"][0]
    checkpoint = load_checkpoint(checkpoint_path, LABELS)
    held_out = [encode_split(checkpoint, one.settings, [row] * rows, "test") for rows in (65, 64)]
    assert estimate(one, one.model.grid(), held_out) == {"teacher": 3, "measuring": 2 + 1}


def test_steps_whose_rows_have_a_kept_teacher_take_no_pass_of_it(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))  # a step takes a second, and so does a pass
    one = training(checkpoint_path, tmp_path, width_epochs=1.2, depth_epochs=3)
    copied = dataclasses.replace(one, settings=dataclasses.replace(one.settings, augment=3))
    assert estimate(one, one.model.grid()) == {"teacher": 5, "width": 4, "depth": 9 - 6}
    assert estimate(copied, one.model.grid()) == {"teacher": 5, "width": 15, "depth": 36 - 24}


def test_steps_are_timed_as_they_will_run_in_parts_and_in_their_precision(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a training that fits would be said not to, and one in bf16 to take as long as in fp32."""
    one = training(checkpoint_path, tmp_path, micro_batch=3)
    entered: list[bool] = []
    rows: list[int] = []
    forward = ElasticClassifier.forward

    @contextlib.contextmanager
    def autocast() -> Iterator[None]:
        entered.append(True)
        yield
        entered.pop()

    def seen(model: ElasticClassifier, batch: Batch, *rest: Any) -> Any:
        assert entered
        rows.append(len(batch.input_ids))
        return forward(model, batch, *rest)

    monkeypatch.setattr(one.accelerator, "autocast", autocast)
    monkeypatch.setattr(ElasticClassifier, "forward", seen)
    estimate(one, one.model.grid())
    assert max(rows) == 3


def test_the_time_is_told_once_and_changes_nothing(checkpoint_path: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    few: Settings = dataclasses.replace(SETTINGS, width_epochs=0, depth_epochs=0.3)
    runs = [
        train_supernet(checkpoint_path, DATA, few, tmp_path / name, tell=tell)
        for name, tell in (("told", lines.append), ("quiet", None))
    ]
    assert len(lines) == 1 and lines[0].startswith("about ")
    weights = [run.checkpoint.model.state_dict() for run in runs]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (
            {"teacher": 60, "width": 30},
            "about 1.5 minutes on this machine as busy as it is now: teacher 1.0, width 0.5",
        ),
        ({"depth": 7_200}, "about 2.0 hours on this machine as busy as it is now: depth 2.0"),
    ],
)
def test_times_are_told_in_minutes_or_in_hours(seconds: dict[str, float], line: str) -> None:
    assert told(seconds) == line
