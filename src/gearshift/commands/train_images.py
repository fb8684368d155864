"""`gearshift train --task image-classification` or `image-to-image`: a supernet of convolutions from folders."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from gearshift.drawing.numbers import millions, percent
from gearshift.errors import InputError
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.terminal import streams
from gearshift.terminal.options import columns_of, given
from gearshift.terminal.output import progress_line, show, table

if TYPE_CHECKING:
    from gearshift.trainer.vision.run import ImageRun

MODEL, GENERATOR = "resnet20", "mobile-generator"
"""Models of images unless one is named, of classes and of pairs."""


def train_on_images(options: argparse.Namespace) -> int:
    """Train a net of convolutions and show its subnets."""
    import torch

    from gearshift.trainer.data.image_pairs import read_pairs
    from gearshift.trainer.data.images import read_images
    from gearshift.trainer.dynabert.settings_file import read_settings_of
    from gearshift.trainer.vision.models import make_model
    from gearshift.trainer.vision.settings import ImageSettings
    from gearshift.trainer.vision.train import train_images

    if any(columns_of(options).values()):
        raise InputError("columns: images have none; the folder of an image is its label")
    pairs = TASKS[options.task].makes_images
    typed, name = given(options, ImageSettings), options.model or (GENERATOR if pairs else MODEL)
    settings = (
        ImageSettings(**typed) if options.config is None else read_settings_of(ImageSettings, options.config, typed)
    )
    with progress_line() as progress:
        preparation = settings.pair_preparation if pairs else settings.preparation
        read: Any = read_pairs if pairs else read_images
        data = read(options.data, preparation, progress=progress)
    torch.manual_seed(settings.seed)
    module = make_model(name, len(data.labels), pretrained=options.pretrained)
    tell = streams.message if sys.stderr.isatty() else None
    run = train_images(module, data, preparation, settings, options.output, source=name, tell=tell)
    show(options, _result(run), _lines(run))
    return 0


def _result(run: ImageRun) -> dict[str, Any]:
    from gearshift.trainer.learning.objectives import objective_of

    shape, facts = run.checkpoint.model.shape, run.facts
    return {
        "run": str(run.path),
        "task": run.task,
        "metric": objective_of(run.task).metric,
        "rows": facts["rows"],
        "notes": facts["notes"],
        "fixed": facts["fixed"],
        "subnets": [
            {
                "name": name,
                "parameters": subnet.parameters(shape),
                "macs": subnet.macs(shape, run.checkpoint.pixels),
                "accuracy": run.accuracies[name],
                "dev_accuracy": run.dev_accuracies[name],
            }
            for name, subnet in run.subnets.items()
        ],
    }


def _lines(run: ImageRun) -> list[str]:
    from gearshift.trainer.learning.objectives import objective_of

    checkpoint, rows = run.checkpoint, run.facts["rows"]
    size, metric = checkpoint.preparation, objective_of(run.task).metric.replace("_", " ")
    cells = [
        (
            name,
            millions(subnet.parameters(checkpoint.model.shape)),
            millions(subnet.macs(checkpoint.model.shape, checkpoint.pixels)),
            percent(run.dev_accuracies[name]),
            percent(run.accuracies[name]),
        )
        for name, subnet in run.subnets.items()
    ]
    return [
        *run.facts["notes"],
        *_fixed(run.facts["fixed"]),
        f"{run.path}: {len(cells)} subnets, {metric} on {rows['test']} test images (dev: {rows['dev']} other images, "
        "which choose)",
        *table(("subnet", "parameters", f"MACs ({size.height} x {size.width} pixels)", "dev", metric), cells),
    ]


def _fixed(fixed: dict[str, str]) -> list[str]:
    """Report the convolutions whose outputs stay as they are, by reason."""
    by_reason: dict[str, list[str]] = {}
    for place, reason in fixed.items():
        by_reason.setdefault(reason, []).append(place)
    return [f"channels of {', '.join(places)} stay as they are: {reason}" for reason, places in by_reason.items()]
