"""Run directory of a DAN: a JSON description and safetensors, since Hugging Face has no such model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from gearshift.errors import ModelError
from gearshift.runtime.dan.model import Dense, Floats
from gearshift.runtime.dan.ngrams import Keys
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.schema import Schema, said

DAN = "dan.json"
WEIGHTS = "model.safetensors"

SCHEMA = Schema(version=2, advice="train again", error=ModelError)


@dataclass(frozen=True)
class DanRun:
    """A trained DAN: the contents of its directory."""

    path: Path
    ngrams: Keys
    """Key of each row of the table, the most frequent n-gram first."""
    table: Floats
    dense: Dense
    labels: tuple[str, ...]
    paired: bool
    facts: dict[str, Any]
    """Settings, rows, and the accuracies of the DAN and its teacher on held-out rows."""

    @property
    def longest(self) -> int:
        """Greatest length of an n-gram in words."""
        return int(self.facts["settings"]["longest"])


def save_dan_run(run: DanRun) -> None:
    """Write a run directory atomically; raises StorageError."""
    tensors = {"ngrams": run.ngrams.view(np.int64), "table": run.table, **run.dense.arrays()}
    facts = {"schema_version": SCHEMA.version, "labels": list(run.labels), "paired": run.paired, **run.facts}
    with replacing_directory(run.path, marker=DAN) as fresh:
        safetensors.torch.save_file({name: torch.from_numpy(value) for name, value in tensors.items()}, fresh / WEIGHTS)
        (fresh / DAN).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_dan_run(path: Path) -> DanRun:
    """Read the DAN in a run directory; raise ModelError if there is none."""
    if not (path / DAN).is_file():
        raise ModelError(
            f"{path}: expected a run directory with {DAN}, found none; make one with `gearshift train-dan`"
        )
    labels, paired, facts = SCHEMA.read(path / DAN, _description)
    try:
        tensors = {name: value.numpy() for name, value in safetensors.torch.load_file(path / WEIGHTS).items()}
        layers = ("hidden_weight", "hidden_bias", "output_weight", "output_bias")
        dense = Dense(*(tensors[name] for name in layers))
        return DanRun(path, tensors["ngrams"].view(np.uint64), tensors["table"], dense, labels, paired, facts)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path}: not a whole DAN run ({said(error)}); train again") from error


def _description(raw: dict[str, Any]) -> tuple[tuple[str, ...], bool, dict[str, Any]]:
    """Return labels, whether texts are pairs, and the other facts."""
    facts = dict(raw)
    return tuple(facts.pop("labels")), bool(facts.pop("paired")), facts
