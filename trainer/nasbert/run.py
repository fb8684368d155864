"""Run directories of nets of mixed operations, which Hugging Face checkpoints cannot express.

mixed.json           space, subnets, task, labels, facts of the training
model.safetensors    the weights under the names of `nasbert.model.MixedModel`
pool.json            name, accuracy and parameters of each subnet
tokenizer.json ...   as in a Hugging Face checkpoint
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from gearshift.errors import InputError, ModelError, first_line
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.space.blocks import Block, BlockSubnet
from gearshift.runtime.space.space import BlockSpace, block_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.schema import Schema, read_json
from gearshift.trainer.data.tokenizer import load_tokenizer, save_tokenizer
from gearshift.trainer.model.checkpoint import Checkpoint
from gearshift.trainer.model.elastic import Head
from gearshift.trainer.model.encoder.layer import Dropout
from gearshift.trainer.model.loading import require_finite
from gearshift.trainer.model.run import (
    POOL,
    SUPERNET,
    WEIGHTS,
    Run,
    load_supernet,
    optional_fields,
    read_labels,
    read_optional,
)
from gearshift.trainer.nasbert.model import MixedModel
from gearshift.trainer.vision.run import CONVOLUTIONAL, load_image_run

MIXED = "mixed.json"
SCHEMA = Schema(version=1, advice="train again", error=ModelError)

MixedCheckpoint = Checkpoint[MixedModel]


@dataclass(frozen=True)
class MixedRun(Run[MixedModel, Block]):
    """Run directory of a net of blocks, or of several with shared weights."""

    def space(self, layers_per_stage: int = 1) -> BlockSpace:
        """Return the space of the subnets' blocks; each block is a stage."""
        return block_space(self.checkpoint.model.shape, self.subnets.values())

    def block_tables(self) -> None:
        """Return None: the tables of a search have more blocks than its pool."""
        return

    def require_tuned(self) -> None:
        """Raise InputError if the nets were not tuned for a task."""
        if not self.accuracies:
            raise InputError(
                f"{self.path}: expected a net that was tuned for a task; tune it with `gearshift nas-tune`"
            )

    def require_transformers(self) -> None:
        """Raise InputError: transformers has no class for blocks."""
        raise InputError(
            f"{self.path}: transformers has no class for mixed operations; leave out --portable, "
            "or use --operators standard"
        )


def save_mixed_run(
    target: Path,
    checkpoint: MixedCheckpoint,
    *,
    subnets: Mapping[str, Subnet[Block]],
    accuracies: Mapping[str, float],
    facts: Mapping[str, Any],
    thresholds: Mapping[str, float] | None = None,
    dev_accuracies: Mapping[str, float] | None = None,
) -> None:
    """Write a run directory atomically; raises StorageError. `thresholds`, `dev_accuracies`: as in `run.Run`."""
    model = checkpoint.model
    description = {
        "schema_version": SCHEMA.version,
        "space": model.space.to_dict(),
        "subnets": {name: subnet.to_plain() for name, subnet in subnets.items()},
        "head": {name: getattr(model.head, name) for name in ("task", "activation", "pooling")},
        "dropout": asdict(model.dropout),
        "norm_eps": model.norm_eps,
        "labels": list(checkpoint.labels),
        "facts": dict(facts),
    }
    pool = [
        {
            "name": name,
            "accuracy": accuracies[name],
            "parameters": subnet.parameters(model.shape),
            **optional_fields(name, dev_accuracy=dev_accuracies, null_threshold=thresholds),
        }
        for name, subnet in subnets.items()
        if name in accuracies
    ]
    with replacing_directory(target, marker=MIXED) as fresh:
        # Written as bytes, so that a full disk raises OSError as it does everywhere else.
        (fresh / WEIGHTS).write_bytes(safetensors.torch.save(model.state_dict()))
        save_tokenizer(checkpoint, fresh)
        for name, content in ((MIXED, description), (POOL, pool)):
            (fresh / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_mixed_run(path: Path) -> MixedRun:
    """Read the net in a run directory; raises ModelError if there is none."""
    if not (path / MIXED).is_file():
        raise ModelError(
            f"{path}: expected a run directory with {MIXED}, found none; make one with `gearshift nas-search`"
        )
    given = SCHEMA.read(path / MIXED, _parsed)
    accuracies, dev_accuracies, thresholds = read_json(path / POOL, _pool, error=ModelError, advice=SCHEMA.advice)
    try:
        state = safetensors.torch.load_file(path / WEIGHTS)
        require_finite(state, path / WEIGHTS)
        outputs = len(state["classifier.bias"]) if "classifier.bias" in state else 0
        model = MixedModel(
            given["space"], outputs, head=given["head"], dropout=given["dropout"], norm_eps=given["norm_eps"]
        )
        model.load_state_dict(state)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{path / WEIGHTS}: not the weights of its {MIXED} ({first_line(error)}); train again"
        ) from error
    checkpoint = MixedCheckpoint(model, load_tokenizer(path, model.shape.vocabulary), given["labels"], path)
    return MixedRun(path, checkpoint, given["subnets"], accuracies, given["facts"], thresholds, dev_accuracies)


def _parsed(raw: dict[str, Any]) -> dict[str, Any]:
    """Parse the fields of mixed.json."""
    return {
        "labels": tuple(read_labels(raw["labels"])),
        "space": BlockSpace.from_dict(raw["space"]),
        "head": Head(**raw["head"]),
        "dropout": Dropout(**raw["dropout"]),
        "norm_eps": float(raw["norm_eps"]),
        "subnets": {name: BlockSubnet.from_plain(subnet) for name, subnet in raw["subnets"].items()},
        "facts": dict(raw["facts"]),
    }


def _pool(entries: list[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return the accuracies on test and on dev rows, and the thresholds of no answer."""
    accuracies = {entry["name"]: float(entry["accuracy"]) for entry in entries}
    return accuracies, read_optional(entries, "dev_accuracy"), read_optional(entries, "null_threshold")


READERS: dict[str, Callable[[Path], Run[Any, Any]]] = {
    MIXED: load_mixed_run,
    CONVOLUTIONAL: load_image_run,
    SUPERNET: load_supernet,
}
"""Name of the description in a run directory -> function that reads the run."""


def load_run(path: Path) -> Run[Any, Any]:
    """Read the supernet, or the net of blocks or of convolutions, in a run directory; raises ModelError."""
    name = next((name for name in READERS if (path / name).is_file()), SUPERNET)
    return READERS[name](path)
