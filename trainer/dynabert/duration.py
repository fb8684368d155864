"""Time that the stages of a training will take on this machine, from a few timed steps of each."""

from __future__ import annotations

import copy
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.dynabert.kept_teacher import keeps_teacher
from gearshift.trainer.dynabert.stages import Training, distil_losses, label_losses, make_teacher, teacher_losses
from gearshift.trainer.dynabert.training_stages import DISTILLED, FINAL, KERNEL, TEACHER
from gearshift.trainer.learning.devices import parts_of
from gearshift.trainer.learning.distillation import Teacher
from gearshift.trainer.learning.evaluate import MEASURED_ROWS
from gearshift.trainer.learning.loop import Losses
from gearshift.trainer.learning.sampling import ANCHOR_EVERY

_TIMED = ANCHOR_EVERY
"""Number of steps that are timed, after one more that warms up: one round of the anchored scheme."""

MEASURING = "measuring"
"""Name of the time after the last stage, in which every subnet answers the held-out rows."""


def estimate(training: Training, grid: Mapping[str, Subnet], held_out: Sequence[Any] = ()) -> dict[str, float]:
    """Return name -> seconds of every stage that will run, and of measuring subnets on held-out rows afterwards; the
    model stays as it is.

    Steps of the optimizer, a few percent, are left out, as are evaluations within a stage.
    """
    settings, seconds = training.settings, {}
    model = copy.deepcopy(training.model).train(settings.distil_dropout)
    subnets, copies = list(grid.values()), settings.augment or 0
    if training.taught and settings.epochs(TEACHER.name):
        steps = _steps(training, settings.epochs(TEACHER.name), copies=0)
        losses = teacher_losses(training)
        seconds[TEACHER.name] = steps * _step_s(training, model, losses)
    for stage in (KERNEL, *DISTILLED):
        if not settings.epochs(stage.name):
            continue
        trained = [one for one in subnets if stage.trains(one, model.full)]
        teacher, epochs = make_teacher(training), settings.epochs(stage.name)
        steps = _steps(training, epochs, copies=copies)
        seconds[stage.name] = steps * _step_s(
            training, model, distil_losses(training, trained, settings.depth_hidden_weight, teacher)
        )
        if keeps_teacher(training, epochs, training.rows, copies=copies):
            passes = _steps(training, 1, copies=copies)
            seconds[stage.name] -= (steps - passes) * _pass_s(training, teacher)
    if settings.final_epochs:
        steps = _steps(training, settings.final_epochs, copies=0)
        seconds[FINAL.name] = steps * _step_s(training, model, label_losses(training, training.sampler(subnets).draw))
    if held_out:
        seconds[MEASURING] = sum(_measuring_s(training, model, subnets, rows) for rows in held_out)
    return seconds


def told(seconds: Mapping[str, float]) -> str:
    """Return the times as one line."""
    whole = sum(seconds.values())
    unit, name = (60.0, "minutes") if whole < 5_400 else (3_600.0, "hours")
    parts = ", ".join(f"{stage} {each / unit:.1f}" for stage, each in seconds.items())
    return f"about {whole / unit:.1f} {name} on this machine as busy as it is now: {parts}"


def _steps(training: Training, epochs: float, *, copies: int) -> int:
    rows = len(training.rows) * (1 + copies)
    size = training.settings.batch_size * int(training.accelerator.num_processes)
    return math.ceil(epochs * math.ceil(rows / size))


def _step_s(training: Training, model: nn.Module, losses: Losses) -> float:
    """Return the mean time of a step."""
    accelerator = training.accelerator

    def step(part: Batch, index: int) -> None:
        for compute in losses(model, part, index):
            with accelerator.autocast():
                loss = compute()
            accelerator.backward(loss)

    seconds = _mean_s(training, step)
    model.zero_grad(set_to_none=True)
    return seconds


def _pass_s(training: Training, teacher: Teacher) -> float:
    """Return the mean time of a pass of the teacher."""
    return _mean_s(training, lambda part, _: teacher.output(part, teacher.model.full))


@torch.no_grad()
def _measuring_s(training: Training, model: nn.Module, subnets: Sequence[Subnet], rows: Any) -> float:
    """Return the time in which every subnet answers rows, from one batch of the middle length for each of them."""
    count = rows.batch_count(MEASURED_ROWS)  # in order of length
    middle = next(itertools.islice(rows.batches(MEASURED_ROWS), count // 2, None)).to(training.accelerator.device)
    model.eval()
    model(middle, subnets[0])
    began = time.perf_counter()
    for subnet in subnets:
        model(middle, subnet)
    return float(count * (time.perf_counter() - began))


def _mean_s(training: Training, run: Callable[[Batch, int], object]) -> float:
    """Return the mean time of a run over a batch of rows picked at random, of the length of most, in its parts."""
    batches = training.rows.batches(training.settings.batch_size, seed=training.settings.seed)
    picked = sorted(itertools.islice(batches, 2 * _TIMED), key=lambda batch: batch.length)
    middle = picked[len(picked) // 4 :][: _TIMED + 1] or picked
    times = []
    for index in range(_TIMED + 1):
        began = time.perf_counter()
        for part in parts_of(middle[index % len(middle)], training.accelerator, training.settings.micro_batch):
            run(part, index)
        times.append(time.perf_counter() - began)
    return statistics.mean(times[1:])
