"""Training of an elastic net of convolutions, by the stages of `dynabert`.

1. teacher: the full net learns the labels; then the channels of each group are sorted by the L1 norm of their weights.
2. kernel, width, depth-only, depth: subnets learn from the full net (Once-for-All's progressive shrinking; sandwich
   rule).
3. The statistics of every subnet's norms are taken anew on training images, and the subnets are measured.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from gearshift.errors import InputError
from gearshift.runtime.files.atomic import require_replaceable
from gearshift.runtime.images.preparation import Preparation
from gearshift.runtime.space.convolutions import ConvolutionSubnet
from gearshift.trainer.data.images import ImageData, ImageRows
from gearshift.trainer.dynabert.duration import estimate, told
from gearshift.trainer.dynabert.settings_file import SETTINGS_FILE, settings_text, versions
from gearshift.trainer.dynabert.stages import Training, teacher_stage
from gearshift.trainer.dynabert.train import distil_stages
from gearshift.trainer.learning.devices import (
    MEASURING,
    conditions,
    default_conditions,
    enough_memory,
    make_accelerator,
)
from gearshift.trainer.learning.evaluate import held_out_metrics
from gearshift.trainer.learning.interrupted import claim, fixed_settings
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.rank import rank
from gearshift.trainer.vision.run import CONVOLUTIONAL, ImageCheckpoint, ImageRun, load_image_run, save_image_run
from gearshift.trainer.vision.settings import ImageSettings
from gearshift.trainer.vision.statistics import calibrate


def train_images(
    module: nn.Module,
    data: ImageData,
    preparation: Preparation,
    settings: ImageSettings,
    out: Path | str,
    *,
    source: str = "",
    tell: Callable[[str], None] | None = None,
) -> ImageRun:
    """Train a torch module as an elastic net on images, and write the run directory `out`.

    `source`: name of the module, for the facts of the run. An interrupted training, called again with the same
    arguments, continues from the last saved state. `tell` is given a line on the time that the stages will take.
    Raises ModelError for a module that cannot be made elastic, InputError if a state was made with other settings or
    other images, StorageError if `out` cannot be written.
    """
    out = Path(out)
    require_replaceable(out, marker=CONVOLUTIONAL, source=Path(data.place))
    out = out.resolve()
    settings = settings.with_epochs()
    accelerator = make_accelerator(settings.mixed_precision, whole=False)
    if accelerator.num_processes > 1:
        raise InputError("train: images are trained by one process; leave out `accelerate launch`")
    torch.manual_seed(settings.seed)
    model = ConvolutionalNet.convert(module, preparation.height, preparation.width)
    if model.net.makes_images != (not data.labels):
        wanted = data.splits["train"].task
        raise InputError(f"model: expected one for {wanted}, got one for {model.head.task}")
    if data.labels and model.net.labels != len(data.labels):
        raise InputError(f"model: expected {len(data.labels)} labels, as the images have, got {model.net.labels}")
    checkpoint, grid = ImageCheckpoint(model, data.labels, preparation), model.grid(*settings.dimensions)
    states = out.with_name(f"{out.name}.partial")
    defaults = {"settings": ImageSettings().to_dict(), **default_conditions(accelerator)}
    fresh = claim(states, {**_identity(checkpoint, data, settings), **conditions(accelerator)}, defaults=defaults)
    training = Training(
        checkpoint,
        settings,
        data.splits["train"],
        states,
        accelerator=accelerator,
        dev=data.splits["dev"],
        prepare=lambda: take_statistics(checkpoint, grid, data.splits["train"], settings),
    )
    model.to(accelerator.device)
    if tell is not None and fresh:
        tell(told(estimate(training, grid)))
    training = teacher_stage(training)
    rank(model)  # a net whose channels are sorted stays as it is
    distil_stages(training, grid)
    training.prepare()
    with enough_memory("measuring the held-out images", MEASURING):
        metrics = held_out_metrics(cast(Any, model), grid, cast(Any, data.splits))
    facts = {
        **_facts(checkpoint, data, settings, source),
        **conditions(accelerator),
        "versions": versions(),
        **metrics.facts,
    }
    save_image_run(
        out,
        dataclasses.replace(checkpoint, model=model.cpu()),
        subnets=grid,
        accuracies=metrics.accuracies,
        dev_accuracies=metrics.dev_accuracies,
        facts=facts,
        files={SETTINGS_FILE: settings_text(settings)},
    )
    shutil.rmtree(states, ignore_errors=True)
    return load_image_run(out)


def take_statistics(
    checkpoint: ImageCheckpoint, subnets: Mapping[str, ConvolutionSubnet], rows: ImageRows, settings: ImageSettings
) -> None:
    """Take the statistics of every subnet's norms on training images, unchanged and drawn by the seed."""
    plain = dataclasses.replace(rows, augmented=False)
    size = min(settings.batch_size, settings.statistics_images)
    batches = []
    for batch in plain.batches(size, seed=settings.seed):
        batches.append(batch)
        if len(batches) * size >= settings.statistics_images:
            break
    calibrate(checkpoint.model, subnets.values(), batches)


def _identity(checkpoint: ImageCheckpoint, data: ImageData, settings: ImageSettings) -> dict[str, Any]:
    """Return the values that must stay the same for an interrupted training to continue."""
    return {
        "settings": fixed_settings(settings.to_dict()),
        "net": checkpoint.model.net.to_dict(),
        "labels": list(checkpoint.labels),
        "preparation": checkpoint.preparation.to_dict(),
        "rows": data.hash,
    }


def _facts(checkpoint: ImageCheckpoint, data: ImageData, settings: ImageSettings, source: str) -> dict[str, Any]:
    """Return the settings of a run, the counts of its images, and what stayed as it is."""
    return {
        "settings": settings.to_dict(),
        "rows": {split: len(rows) for split, rows in data.splits.items()},
        "data": data.place,
        "source": source,
        "notes": list(data.notes),
        "fixed": dict(checkpoint.model.elastic.fixed),
    }
