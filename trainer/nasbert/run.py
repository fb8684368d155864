"""Run directories of nets of mixed operations, which Hugging Face's checkpoints cannot express.

mixed.json           space, subnets, task, labels, how it was trained
model.safetensors    the weights under the names of `nasbert.model.MixedModel`
pool.json            name, accuracy and parameters of each subnet
tokenizer.json ...   as in a Hugging Face checkpoint
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from tokenizers import Tokenizer

from gearshift.errors import ModelError, first_line
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.space.mixed import MixedSpace, MixedSubnet
from gearshift.schema import Schema, read_json
from gearshift.trainer.data.place import find_place
from gearshift.trainer.model.checkpoint import POOL, WEIGHTS, Run, load_run, load_tokenizer, save_tokenizer
from gearshift.trainer.model.elastic import Dropout, ElasticClassifier, Head
from gearshift.trainer.nasbert.model import MixedModel

MIXED = "mixed.json"
SCHEMA = Schema(version=1, advice="train again", error=ModelError)


@dataclass(frozen=True)
class MixedCheckpoint:
    """A net of mixed operations with what belongs to it; the fields of `checkpoint.Checkpoint`."""

    model: MixedModel
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    source: Path
    """Where the tokenizer's files are."""

    @property
    def task(self) -> str:
        """Name of one of `tasks.TASKS`; `embedding` before a net was tuned for one."""
        return self.model.head.task


@dataclass(frozen=True)
class MixedRun:
    """A net of mixed operations as it lies in a run directory; the fields of `checkpoint.Run`."""

    path: Path
    checkpoint: MixedCheckpoint
    subnets: dict[str, MixedSubnet]
    accuracies: dict[str, float]
    """Name -> the task's metric on the test rows; empty before a net was tuned for a task."""
    facts: dict[str, Any]

    @property
    def data_path(self) -> Path | None:
        """The data that it was tuned on, where that is known and still there."""
        return find_place(self.facts.get("data"))


AnyRun = Run | MixedRun
AnyModel = ElasticClassifier | MixedModel


def save_mixed_run(
    target: Path,
    checkpoint: MixedCheckpoint,
    *,
    subnets: Mapping[str, MixedSubnet],
    accuracies: Mapping[str, float],
    facts: Mapping[str, Any],
) -> None:
    """Write a run directory, whole or not at all; raises StorageError."""
    model = checkpoint.model
    description = {
        "schema_version": SCHEMA.version,
        "space": model.space.to_dict(),
        "subnets": {name: subnet.to_dict() for name, subnet in subnets.items()},
        "head": asdict(model.head),
        "dropout": asdict(model.dropout),
        "norm_eps": model.norm_eps,
        "labels": list(checkpoint.labels),
        "facts": dict(facts),
    }
    pool = [
        {"name": name, "accuracy": accuracies[name], "parameters": subnet.parameters(model.shape)}
        for name, subnet in subnets.items()
        if name in accuracies
    ]
    with replacing_directory(target, marker=MIXED) as fresh:
        # As bytes, so that a full disk is an OSError like everywhere else.
        (fresh / WEIGHTS).write_bytes(safetensors.torch.save(model.state_dict()))
        save_tokenizer(checkpoint, fresh)
        for name, content in ((MIXED, description), (POOL, pool)):
            (fresh / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_mixed_run(path: Path) -> MixedRun:
    """Read the net in a run directory; raises ModelError where it is none."""
    if not (path / MIXED).is_file():
        raise ModelError(
            f"{path}: expected a run directory with {MIXED}, found none; make one with `gearshift nas-search`"
        )
    given = SCHEMA.read(path / MIXED, _parsed)
    accuracies = read_json(path / POOL, _accuracies, error=ModelError, advice=SCHEMA.advice)
    try:
        state = safetensors.torch.load_file(path / WEIGHTS)
        outputs = len(state["classifier.bias"]) if "classifier.bias" in state else 0
        model = MixedModel(
            given["space"], outputs, head=given["head"], dropout=given["dropout"], norm_eps=given["norm_eps"]
        )
        model.load_state_dict(state)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{path / WEIGHTS}: not the weights of its {MIXED} ({first_line(error)}); train again"
        ) from error
    checkpoint = MixedCheckpoint(model, load_tokenizer(path), given["labels"], path)
    return MixedRun(path, checkpoint, given["subnets"], accuracies, given["facts"])


def _parsed(raw: dict[str, Any]) -> dict[str, Any]:
    """The fields of mixed.json as values."""
    return {
        "labels": tuple(raw["labels"]),
        "space": MixedSpace.from_dict(raw["space"]),
        "head": Head(**raw["head"]),
        "dropout": Dropout(**raw["dropout"]),
        "norm_eps": float(raw["norm_eps"]),
        "subnets": {name: MixedSubnet.from_dict(subnet) for name, subnet in raw["subnets"].items()},
        "facts": dict(raw["facts"]),
    }


def _accuracies(pool: list[dict[str, Any]]) -> dict[str, float]:
    return {entry["name"]: float(entry["accuracy"]) for entry in pool}


def load_any_run(path: Path) -> AnyRun:
    """The supernet, or the net of mixed operations, in a run directory; raises ModelError."""
    return load_mixed_run(path) if (path / MIXED).is_file() else load_run(path)
