"""Conversion between Hugging Face models and elastic ones.

An elastic model differs from the checkpoint in two ways. The first rows of RoBERTa's position table, up to the pad id,
are left out, as no token uses them. A token-type table of one row is constant: its row is added to every position.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from gearshift.errors import ModelError, first_line
from gearshift.runtime.space.shape import EncoderShape
from gearshift.schema import read_if_whole, read_json
from gearshift.trainer.model.elastic import Dropout, ElasticClassifier, Head
from gearshift.trainer.model.loading import (
    HEADS,
    filled_up,
    load_transformers,
    quiet,
    take_pruned_heads,
    with_all_heads,
)
from gearshift.trainer.model.names import ARCHITECTURES, CLASS_SUFFIXES, from_checkpoint, to_checkpoint

OFFSET_POSITIONS = ("roberta", "xlm-roberta")
"""Architectures whose first token has position pad id + 1."""

POOLING = "1_Pooling/config.json"
"""File of a sentence-transformers model that defines its pooling."""

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")
"""Values of a config without which there is no encoder."""

HEAD_PARTS = ("pooler", "classifier")
"""Our parts of a task head."""

POOLING_MODES = {"mean": "pooling_mode_mean_tokens", "first": "pooling_mode_cls_token"}


def read_config(path: Path, **changes: Any) -> Any:
    """Read the config of a model that can be made elastic, with some values changed; raises ModelError."""
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, **changes)
    except Exception as error:  # values of a wrong type raise any error
        _require_supported(read_if_whole(path / "config.json", lambda raw: raw.get("model_type")), str(path))
        raise ModelError(f"{path}: no model that transformers can read ({first_line(error)})") from error
    check_config(config, str(path))
    take_pruned_heads(config, path)
    return config


def check_config(config: Any, path: str) -> None:
    """Raise ModelError, which names `path`, if a model of this config cannot be made elastic."""
    _require_supported(config.model_type, path)
    wanted = {"hidden_act": "gelu", "activation": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    for name, expected in wanted.items():
        found = getattr(config, name, expected)
        if found != expected:
            raise ModelError(f"{path}: {name} {found!r} is not supported; expected {expected!r}")
    offset = ("pad_token_id",) if config.model_type in OFFSET_POSITIONS else ()
    for name, least in (*dict.fromkeys(_SIZES, 1).items(), *dict.fromkeys(offset, 0).items()):
        size = getattr(config, name, None)
        if not isinstance(size, int) or size < least:
            raise ModelError(f"{path}: {name}: expected a whole number of {least} or more, found {size!r}")


def _require_supported(model_type: Any, path: str) -> None:
    """Raise ModelError for an architecture that transformers has and that cannot be made elastic."""
    if model_type in transformers.CONFIG_MAPPING and model_type not in ARCHITECTURES:
        raise ModelError(
            f"{path}: architecture {model_type!r} is not supported; expected one of {', '.join(ARCHITECTURES)}"
        )


def task_of(model: Any) -> str:
    """Return the task of a transformers model, by its class and its config; raises ModelError."""
    kind, config = type(model).__name__, model.config
    if kind.endswith("ForSequenceClassification"):
        problem = config.problem_type or ("regression" if config.num_labels == 1 else "single_label_classification")
        return {"regression": "regression", "multi_label_classification": "multi-label-classification"}.get(
            problem, "classification"
        )
    for task, suffix in CLASS_SUFFIXES.items():
        if suffix != "ForSequenceClassification" and kind.endswith(suffix):
            return task
    expected = ", ".join(sorted(set(CLASS_SUFFIXES.values())))
    raise ModelError(f"{kind}: expected a class that ends in one of {expected}; load the model as one of these")


def shape_of(config: Any) -> EncoderShape:
    """Return the shape of the elastic model for a config."""
    width = getattr(config, "embedding_size", config.hidden_size)
    types = getattr(config, "type_vocab_size", 0)
    return EncoderShape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        neurons=config.hidden_dim if config.model_type == "distilbert" else config.intermediate_size,
        vocabulary=config.vocab_size,
        positions=config.max_position_embeddings - _unused_positions(config),
        types=types if types > 1 else 0,
        embedding=0 if width == config.hidden_size else width,
    )


def load_model(path: Path, config: Any, task: str, outputs: int) -> tuple[ElasticClassifier, tuple[str, ...]]:
    """Load a checkpoint as an elastic model with a head of `outputs` outputs; raises ModelError.

    Returns the model, and the names of the head's weights that the checkpoint lacks or has in another shape, which are
    random. For `embedding` the head has no weights, and `outputs` is ignored.
    """
    weights, lacking = _load_weights(path, config, task, outputs)
    pooling = read_pooling(path) if task == "embedding" else "first"
    return elastic_model(weights, config, task, outputs, pooling), lacking


def elastic_model(
    weights: Mapping[str, Tensor], config: Any, task: str, outputs: int, pooling: str = "first"
) -> ElasticClassifier:
    """Make an elastic model from the weights of a transformers model, under their names there; they are copied."""
    architecture = ARCHITECTURES[config.model_type]
    distilbert = config.model_type == "distilbert"
    model = ElasticClassifier(
        shape_of(config),
        outputs,
        head=Head(task, architecture.activation, pooling),
        dropout=Dropout(
            config.dropout if distilbert else config.hidden_dropout_prob,
            config.attention_dropout if distilbert else config.attention_probs_dropout_prob,
        ),
        norm_eps=getattr(config, "layer_norm_eps", 1e-12),  # DistilBERT's is in its code
        heads=getattr(config, HEADS, None),
    )
    model.load_state_dict(_our_state(filled_up(weights, config), config, model))
    return model


def checkpoint_state(weights: Mapping[str, Tensor], config: Any, task: str) -> dict[str, Tensor]:
    """Convert the weights of an elastic model to the form of a checkpoint with this config."""
    state = to_checkpoint(weights, config.model_type, task)
    names = ARCHITECTURES[config.model_type].names(task)
    position = f"{names['embeddings.position']}.weight"
    unused = _unused_positions(config)
    state[position] = torch.cat([torch.zeros_like(state[position][:unused]), state[position]])
    if getattr(config, "type_vocab_size", 0) == 1:
        state[f"{names['embeddings.token_type']}.weight"] = torch.zeros_like(state[position][:1])
    return state


def read_pooling(path: Path) -> str:
    """Read the pooling of a sentence-transformers model, `mean` or `first`; `mean` if the file is missing."""
    file = path / POOLING
    if not file.is_file():
        return "mean"
    asked = read_json(file, _pooling_modes, error=ModelError, advice="download the model again")
    found = [pooling for pooling, mode in POOLING_MODES.items() if asked == [mode]]
    if not found:
        raise ModelError(f"{file}: expected one of {', '.join(POOLING_MODES.values())}, found {', '.join(asked)}")
    return found[0]


def _pooling_modes(raw: dict[str, Any]) -> list[str]:
    return [mode for mode, chosen in raw.items() if mode.startswith("pooling_mode_") and chosen]


def write_pooling(target: Path, pooling: str, width: int) -> None:
    """Write the pooling beside a checkpoint, in the form of sentence-transformers."""
    content = {"word_embedding_dimension": width, **{mode: how == pooling for how, mode in POOLING_MODES.items()}}
    (target / POOLING).parent.mkdir()
    (target / POOLING).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _unused_positions(config: Any) -> int:
    return config.pad_token_id + 1 if config.model_type in OFFSET_POSITIONS else 0


def _our_state(weights: Mapping[str, Tensor], config: Any, model: ElasticClassifier) -> dict[str, Tensor]:
    task = model.head.task
    state = from_checkpoint(weights, list(model.state_dict()), config.model_type, task)
    positions = state["embeddings.position.weight"][_unused_positions(config) :]
    if getattr(config, "type_vocab_size", 0) == 1:
        table = from_checkpoint(weights, ["embeddings.token_type.weight"], config.model_type, task)
        positions = positions + table["embeddings.token_type.weight"]
    state["embeddings.position.weight"] = positions
    return state


def _load_weights(path: Path, config: Any, task: str, outputs: int) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """Load the weights of a checkpoint under its own names, and the names of those of the head that it lacks."""
    suffix = CLASS_SUFFIXES[task]
    settings: dict[str, Any] = {} if suffix == "Model" else {"num_labels": outputs}
    with with_all_heads(path, config) as readable:
        loaded = load_transformers(f"AutoModel{suffix if suffix != 'Model' else ''}", readable, **settings)
    random = [name for name in loaded.missing if _belongs(name, config.model_type, task, ("embeddings.", "layers."))]
    if random:
        raise ModelError(
            f"{path}: {len(random)} weights of the encoder are missing or of another shape ({random[0]}); "
            "the weights do not belong to this config.json"
        )
    lacking = tuple(name for name in loaded.missing if _belongs(name, config.model_type, task, HEAD_PARTS))
    return loaded.model.state_dict(), lacking


def _belongs(name: str, model_type: str, task: str, parts: tuple[str, ...]) -> bool:
    """Return whether this is the name of a weight of one of our parts."""
    names = ARCHITECTURES[model_type].names(task)
    theirs = (theirs for ours, theirs in names.items() if ours.startswith(parts))
    return name.startswith(tuple(f"{start.split('{}')[0].removesuffix('.')}." for start in theirs))
