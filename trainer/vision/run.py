"""Run directories of nets of convolutions.

convolutional.json   net, labels, preparation of images, subnets, facts of the training
model.safetensors    weights, and the statistics of each subnet's norms
pool.json            name, accuracies and parameters of each subnet
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from gearshift.errors import InputError, ModelError, first_line
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.images.preparation import Preparation
from gearshift.runtime.space.convolutions import ConvolutionSubnet, Kept
from gearshift.runtime.space.space import ConvolutionSpace, listed_space
from gearshift.schema import Schema, read_json
from gearshift.trainer.data.image_pairs import read_pairs
from gearshift.trainer.data.images import ImageData, read_images
from gearshift.trainer.model.loading import require_finite
from gearshift.trainer.model.run import POOL, WEIGHTS, Run, optional_fields, read_labels, read_optional
from gearshift.trainer.vision.elastic import ConvolutionalNet, net_of

CONVOLUTIONAL = "convolutional.json"
SCHEMA = Schema(version=1, advice="train again", error=ModelError)

STATISTICS = "statistics"
"""First part of the names of statistics among the weights."""


@dataclass(frozen=True)
class ImageCheckpoint:
    """Net for a task of images, with its labels and the preparation of its images."""

    model: ConvolutionalNet
    labels: tuple[str, ...]
    preparation: Preparation
    heads: tuple[()] = ()
    """Heads of a model with several: a net of images has one."""

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.model.head.task

    @property
    def pixels(self) -> int:
        """Pixels of the image that MACs are counted for."""
        return self.preparation.height * self.preparation.width


@dataclass(frozen=True)
class ImageRun(Run[Any, Kept]):
    """Run directory of a net of convolutions."""

    checkpoint: ImageCheckpoint  # type: ignore[assignment]  # it has images where others have a tokenizer
    subnets: dict[str, ConvolutionSubnet]  # type: ignore[assignment]

    def space(self, layers_per_stage: int = 1) -> ConvolutionSpace:
        """Return the space that lists the subnets: each has statistics of its own, so that no others can be made."""
        return listed_space(self.checkpoint.model.shape, self.subnets.values())

    def block_tables(self) -> None:
        """Return None: nets of convolutions are not searched yet."""
        return

    def require_transformers(self) -> None:
        """Raise InputError: transformers has no class for such nets."""
        raise InputError(f"{self.path}: transformers has no class for a net of convolutions; leave out --portable")


def save_image_run(
    target: Path,
    checkpoint: ImageCheckpoint,
    *,
    subnets: Mapping[str, ConvolutionSubnet],
    accuracies: Mapping[str, float],
    dev_accuracies: Mapping[str, float],
    facts: Mapping[str, Any],
    files: Mapping[str, str],
) -> None:
    """Write a run directory atomically; raises StorageError. `files`: name -> text of further files."""
    model = checkpoint.model
    description = {
        "schema_version": SCHEMA.version,
        "net": model.net.to_dict(),
        "labels": list(checkpoint.labels),
        "preparation": checkpoint.preparation.to_dict(),
        "subnets": {name: subnet.to_plain() for name, subnet in subnets.items()},
        "facts": dict(facts),
    }
    pool = [
        {
            "name": name,
            "accuracy": accuracies[name],
            "parameters": subnet.parameters(model.shape),
            **optional_fields(name, dev_accuracy=dev_accuracies),
        }
        for name, subnet in subnets.items()
    ]
    weights = {**model.state_dict(), **_statistics(model, subnets)}
    with replacing_directory(target, marker=CONVOLUTIONAL) as fresh:
        # Written as bytes, so that a full disk raises OSError as it does everywhere else.
        plain = {name: tensor.contiguous() for name, tensor in weights.items()}
        (fresh / WEIGHTS).write_bytes(safetensors.torch.save(plain))
        for name, text in files.items():
            (fresh / name).write_text(text, encoding="utf-8")
        for name, content in ((CONVOLUTIONAL, description), (POOL, pool)):
            (fresh / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _statistics(model: ConvolutionalNet, subnets: Mapping[str, ConvolutionSubnet]) -> dict[str, Tensor]:
    return {
        f"{STATISTICS}.{name}.{norm}.{part}": tensor
        for name, subnet in subnets.items()
        for norm, moments in model.moments(subnet).items()
        for part, tensor in zip(("mean", "variance"), moments, strict=True)
    }


def load_image_run(path: Path) -> ImageRun:
    """Read the net in a run directory; raises ModelError if there is none."""
    given = SCHEMA.read(path / CONVOLUTIONAL, _parsed)
    accuracies, dev_accuracies = read_json(path / POOL, _pool, error=ModelError, advice=SCHEMA.advice)
    model, subnets = given["model"], given["subnets"]
    try:
        weights = safetensors.torch.load_file(path / WEIGHTS)
        require_finite(weights, path / WEIGHTS)
        state = {name: tensor for name, tensor in weights.items() if not name.startswith(STATISTICS)}
        model.load_state_dict(state)
        for name, subnet in subnets.items():
            model.statistics[subnet] = {
                step.name: tuple(weights[f"{STATISTICS}.{name}.{step.name}.{part}"] for part in ("mean", "variance"))
                for step in model.net.steps
                if step.kind == "norm" and f"{STATISTICS}.{name}.{step.name}.mean" in weights
            }
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{path / WEIGHTS}: not the weights of its {CONVOLUTIONAL} ({first_line(error)}); train again"
        ) from error
    checkpoint = ImageCheckpoint(model.eval(), given["labels"], given["preparation"])
    return ImageRun(path, checkpoint, subnets, accuracies, given["facts"], {}, dev_accuracies)


def read_run_images(run: ImageRun, path: Path | None = None) -> ImageData:
    """Read the images that a run was trained on, or those in a folder `path` with its labels.

    Raises InputError if the run does not name its images, DataError if they cannot be read.
    """
    place = path or run.data_path
    if place is None:
        raise InputError(f"{run.path}: expected the folder of its training images, found none; pass one with --data")
    if run.checkpoint.model.net.makes_images:
        return read_pairs(place, run.checkpoint.preparation)
    return read_images(place, run.checkpoint.preparation, labels=run.labels)


def _parsed(raw: dict[str, Any]) -> dict[str, Any]:
    """Parse the fields of convolutional.json."""
    model = net_of(raw["net"])
    subnets = {name: ConvolutionSubnet.from_plain(subnet) for name, subnet in raw["subnets"].items()}
    for name, subnet in subnets.items():
        if not subnet.fits(model.shape):
            raise ValueError(f"subnet {name} does not fit its net")
    return {
        "model": model,
        "labels": tuple(read_labels(raw["labels"])),
        "preparation": Preparation.from_dict(raw["preparation"]),
        "subnets": subnets,
        "facts": dict(raw["facts"]),
    }


def _pool(entries: list[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the accuracies on test and on dev images."""
    return {entry["name"]: float(entry["accuracy"]) for entry in entries}, read_optional(entries, "dev_accuracy")
