"""`gearshift train --task image-classification`: a supernet of convolutions from folders of images."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from gearshift.drawing.numbers import millions, percent
from gearshift.errors import InputError
from gearshift.terminal import streams
from gearshift.terminal.options import columns_of, given
from gearshift.terminal.output import progress_line, show, table

if TYPE_CHECKING:
    from gearshift.trainer.vision.run import ImageRun

MODEL = "resnet20"


def train_on_images(options: argparse.Namespace) -> int:
    """Train a net of convolutions and show its subnets."""
    import torch

    from gearshift.trainer.data.images import read_images
    from gearshift.trainer.dynabert.settings_file import read_settings_of
    from gearshift.trainer.vision.models import make_model
    from gearshift.trainer.vision.settings import ImageSettings
    from gearshift.trainer.vision.train import train_images

    if any(columns_of(options).values()):
        raise InputError("columns: images have none; the folder of an image is its label")
    typed, name = given(options, ImageSettings), options.model or MODEL
    settings = (
        ImageSettings(**typed) if options.config is None else read_settings_of(ImageSettings, options.config, typed)
    )
    with progress_line() as progress:
        data = read_images(options.data, settings.preparation, progress=progress)
    torch.manual_seed(settings.seed)
    module = make_model(name, len(data.labels), pretrained=options.pretrained)
    tell = streams.message if sys.stderr.isatty() else None
    run = train_images(module, data, settings.preparation, settings, options.output, source=name, tell=tell)
    show(options, _result(run), _lines(run))
    return 0


def _result(run: ImageRun) -> dict[str, Any]:
    shape, facts = run.checkpoint.model.shape, run.facts
    return {
        "run": str(run.path),
        "task": run.task,
        "metric": "accuracy",
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
    checkpoint, rows = run.checkpoint, run.facts["rows"]
    size = checkpoint.preparation
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
        f"{run.path}: {len(cells)} subnets, accuracy on {rows['test']} test images (dev: {rows['dev']} other images, "
        "which choose)",
        *table(("subnet", "parameters", f"MACs ({size.height} x {size.width} pixels)", "dev", "accuracy"), cells),
    ]


def _fixed(fixed: dict[str, str]) -> list[str]:
    """Report the convolutions whose outputs stay as they are, by reason."""
    by_reason: dict[str, list[str]] = {}
    for place, reason in fixed.items():
        by_reason.setdefault(reason, []).append(place)
    return [f"channels of {', '.join(places)} stay as they are: {reason}" for reason, places in by_reason.items()]
