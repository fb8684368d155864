"""First step of an export of a net of convolutions: draft the manifest, and compute the net's answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

import gearshift
from gearshift.errors import DataError, InputError
from gearshift.export.checks.parity import SEPARATION, closest, torch_logits
from gearshift.export.prepare import MINIMUM_ONNXRUNTIME, SESSION_OPTIONS, STANDARD_OPTIONS, Prepared
from gearshift.runtime.bundle.manifest import PIXELS, Manifest, PoolEntry
from gearshift.trainer.data.images import ImageBatch, ImageRows
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.vision.run import ImageRun

FOLDED = {**SESSION_OPTIONS, "graph_optimization_level": "basic"}
"""Session options of fast operators: the library folds what brings weights into blocks, and fuses nothing more."""

SAMPLE_IMAGES = 8
SEARCHED_IMAGES = 64
"""Number of images on which the answers of subnets are compared, and of those that are searched, besides as many of
noise, if these do not tell two subnets apart."""

PRECISIONS = ("fp32",)
"""Precisions of a graph of images."""


def prepare_images(
    run: ImageRun,
    rows: ImageRows,
    name: str,
    *,
    dev: ImageRows | None,
    precisions: Sequence[str],
    operators: str,
    licence: str,
) -> Prepared:
    """Draft the manifest of a run, and compute the answers of its subnets; arguments as in `export_bundle`.

    Raises DataError without images to measure accuracy on, InputError for a precision that there is none of.
    """
    if not len(rows):
        raise DataError("export: no held-out images to measure accuracy on; pass a folder with test images")
    if strange := sorted(set(precisions) - set(PRECISIONS)):
        raise InputError(
            f"precisions of images: expected {', '.join(PRECISIONS)}, got {strange[0]}; others are to come"
        )
    model: Any = run.checkpoint.model.eval()
    sample = telling_images(model, run.subnets, rows)
    draft = _draft(run, rows, dev, name, precisions, operators, licence)
    expected = torch_logits(model, run.subnets, sample)
    return Prepared(run, draft, operators, rows, dev, sample, expected, None, None)


def telling_images(model: Any, subnets: Mapping[str, object], rows: ImageRows) -> ImageBatch:
    """Select held-out images on which no two subnets answer alike: a few, or if they do not tell, many and noise."""
    places = np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE_IMAGES)).astype(int)
    sample = rows.select(places)
    if len(subnets) < 2 or closest(torch_logits(model, subnets, sample), sample)[2] >= SEPARATION:
        return sample
    places = np.linspace(0, len(rows) - 1, min(len(rows), SEARCHED_IMAGES)).astype(int)
    source = np.random.default_rng(0)
    noise = source.integers(0, 256, (SEARCHED_IMAGES, *rows.images.shape[1:]), np.uint8)
    many = dataclasses.replace(
        rows,
        images=np.concatenate([rows.images[places], noise]),
        labels=rows.labels[np.resize(places, len(places) + len(noise))],  # never used
    )
    return many.select(np.arange(len(many)))


@torch.no_grad()
def _draft(
    run: ImageRun,
    rows: ImageRows,
    dev: ImageRows | None,
    name: str,
    precisions: Sequence[str],
    operators: str,
    licence: str,
) -> Manifest:
    space, preparation = run.space(), run.checkpoint.preparation
    pixels = preparation.height * preparation.width
    pool = tuple(
        PoolEntry(
            name=subnet_name,
            subnet=subnet,
            executor="elastic",
            file=f"{precision}.onnx",
            choice=space.choice(subnet),
            precision=precision,
            accuracy=0.0,  # measured before the manifest is written
            dev_accuracy=None if dev is None else 0.0,
            parameters=subnet.parameters(space.shape),
            macs=subnet.macs(space.shape, pixels),
        )
        for precision in precisions
        for subnet_name, subnet in run.subnets.items()
    )
    return Manifest(
        name=name,
        task=run.checkpoint.task,
        metric=OBJECTIVES[run.checkpoint.task].metric,
        labels=run.checkpoint.labels,
        max_length=1,
        pad_id=0,
        inputs=(PIXELS,),
        space=space,
        pool=pool,
        macs_tokens=pixels,
        session_options=FOLDED if operators == "fast" else STANDARD_OPTIONS,
        minimum_onnxruntime=MINIMUM_ONNXRUNTIME,
        accuracy_rows=len(rows),
        licence=licence,
        made_by=f"gearshift {gearshift.__version__}",
        files={},
        chosen_by="" if dev is None else "dev",
        dev_rows=0 if dev is None else len(dev),
        images=preparation,
        blocked=operators == "fast",
    )
