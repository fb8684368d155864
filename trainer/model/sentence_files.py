"""Files of a sentence-transformers model, written beside a checkpoint of its encoder.

Their form is the older one wherever it can say the same, so that releases from 3 on read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from gearshift.trainer.model.elastic import TaskModel
from gearshift.trainer.model.embedding_head import Dense, LayerNorm, Normalize, Step, Truncate
from gearshift.trainer.model.names import STEPS
from gearshift.trainer.model.sentence_modules import CLS, CONFIG, FLAGS, MODULES, WEIGHTS
from gearshift.trainer.model.sentence_settings import SentenceSettings, write_sentence_settings

_TYPES = "sentence_transformers.models."


def write_sentence_model(target: Path, model: TaskModel, hidden: int, settings: SentenceSettings) -> None:
    """Write modules and settings of an embedding model beside the checkpoint of its encoder, of width `hidden`."""
    listed = [_listed(target, "Transformer", "")]
    listed.append(_listed(target, "Pooling", "1_Pooling", _pooling(model.head.poolings, hidden, settings)))
    state = model.state_dict()
    for place, step in enumerate(model.head.steps):
        if isinstance(step, Truncate):  # a setting
            continue
        kind, start = type(step).__name__, f"{STEPS}{place}."
        weights = {name.removeprefix(start): each for name, each in state.items() if name.startswith(start)}
        listed.append(_listed(target, kind, f"{len(listed)}_{kind}", _config(step), weights))
    entries = [{"idx": place, "name": str(place), **entry} for place, entry in enumerate(listed)]
    (target / MODULES).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    write_sentence_settings(target, settings)


def _listed(
    target: Path,
    kind: str,
    folder: str,
    config: Mapping[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> dict[str, str]:
    """Write the folder of a module; return its entry in MODULES."""
    if folder:
        (target / folder).mkdir()
    if config:
        (target / folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    if weights:
        content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in weights.items()})
        (target / folder / WEIGHTS[0]).write_bytes(content)
    return {"path": folder, "type": _TYPES + kind}


def _pooling(modes: tuple[str, ...], hidden: int, settings: SentenceSettings) -> dict[str, Any]:
    config: dict[str, Any] = {"word_embedding_dimension": hidden, "include_prompt": settings.include_prompt}
    if modes == tuple(mode for mode in FLAGS.values() if mode in modes):
        return {**config, **{flag: mode in modes for flag, mode in FLAGS.items()}}
    return {**config, "pooling_mode": [CLS if mode == "first" else mode for mode in modes]}  # another order


def _config(step: Step) -> dict[str, Any]:
    if isinstance(step, LayerNorm):
        return {"dimension": step.inputs}
    if not isinstance(step, Dense):
        assert isinstance(step, Normalize)
        return {}
    config = {"in_features": step.inputs, "out_features": step.outputs, "bias": step.bias}
    module = "linear" if step.activation == "Identity" else "activation"
    residual = {"use_residual": True} if step.residual else {}
    return {**config, "activation_function": f"torch.nn.modules.{module}.{step.activation}", **residual}
