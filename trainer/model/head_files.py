"""Weights of several heads, in a file beside those of the encoder: no class of transformers has them.

The names of its tensors are those in the model, behind HEADS; its metadata say which heads they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from gearshift.errors import ModelError, first_line
from gearshift.trainer.data.heads import DataHead
from gearshift.trainer.model.elastic import HEADS, ElasticClassifier
from gearshift.trainer.model.loading import require_finite

HEADS_FILE = "heads.safetensors"


def heads_content(model: ElasticClassifier, heads: Sequence[DataHead]) -> bytes:
    """Return the content of the file of a model's heads."""
    weights = {name.removeprefix(HEADS): tensor.contiguous() for name, tensor in model.head_state().items()}
    stated = json.dumps([_identity(head) for head in heads])
    content: bytes = safetensors.torch.save(weights, metadata={"heads": stated})
    return content


def take_heads(path: Path, model: ElasticClassifier, heads: Sequence[DataHead]) -> bool:
    """Load the weights of the heads in a directory into a model; return whether it has any, of these heads.

    Raises ModelError for a file that cannot be read, or does not belong to the encoder beside it.
    """
    file = path / HEADS_FILE
    if not file.is_file():
        return False
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            stated = json.loads((opened.metadata() or {}).get("heads", "null"))
        weights = safetensors.torch.load_file(file)
    except Exception as error:  # a damaged file raises any error of its parser
        raise ModelError(f"{file}: expected the weights of heads ({first_line(error)}); train again") from error
    if stated != [_identity(head) for head in heads]:
        return False
    _require_fit(file, weights, model)
    model.load_state_dict({**model.state_dict(), **{f"{HEADS}{name}": tensor for name, tensor in weights.items()}})
    return True


def _require_fit(file: Path, weights: Mapping[str, Tensor], model: ElasticClassifier) -> None:
    require_finite(weights, file)
    wanted = {name.removeprefix(HEADS): tensor.shape for name, tensor in model.head_state().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if found != wanted:
        strange = next(name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name))
        raise ModelError(f"{file}: expected the heads of the model beside it, found others ({strange}); train again")


def _identity(head: DataHead) -> dict[str, Any]:
    """Return the name, the task and the labels of a head, as JSON has them."""
    return {"name": head.name, "task": head.task, "labels": list(head.labels)}
