"""Conversion between Hugging Face models and elastic ones.

An elastic model differs from the checkpoint in two ways. The first rows of RoBERTa's position table, up to the pad id,
are left out, as no token uses them. A token-type table of one row is constant: its row is added to every position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from gearshift.errors import ModelError, first_line
from gearshift.runtime.space.shape import EncoderShape
from gearshift.schema import read_if_whole
from gearshift.trainer.model.elastic import Dropout, ElasticClassifier, Head
from gearshift.trainer.model.loading import (
    HEADS,
    filled_up,
    load_transformers,
    quiet,
    take_pruned_heads,
    with_all_heads,
)
from gearshift.trainer.model.names import ARCHITECTURES, CLASS_SUFFIXES, STEPS, from_checkpoint, to_checkpoint
from gearshift.trainer.model.sentence_modules import SentenceModules, read_modules

OFFSET_POSITIONS = ("roberta", "xlm-roberta")
"""Architectures whose first token has position pad id + 1."""

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")
"""Values of a config without which there is no encoder."""

HEAD_PARTS = ("pooler", "classifier")
"""Our parts of a task head."""


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


def load_model(
    path: Path, config: Any, task: str, outputs: int, modules: SentenceModules | None = None, skipped: int = 0
) -> tuple[ElasticClassifier, tuple[str, ...]]:
    """Load a checkpoint as an elastic model with a head of `outputs` outputs; raises ModelError.

    Returns the model, and the names of the head's weights that the checkpoint lacks or has in another shape, which are
    random. For `embedding` the head is `modules`, unless given those in the directory, without the first `skipped`
    tokens, and `outputs` is ignored.
    """
    weights, lacking = _load_weights(path, config, task, outputs)
    if task == "embedding" and modules is None:
        modules = read_modules(path, config.hidden_size)
    return elastic_model(weights, config, task, outputs, modules, skipped), lacking


def elastic_model(
    weights: Mapping[str, Tensor],
    config: Any,
    task: str,
    outputs: int,
    modules: SentenceModules | None = None,
    skipped: int = 0,
) -> ElasticClassifier:
    """Make an elastic model from the weights of a transformers model, under their names there; they are copied.

    `modules`, `skipped`: head of an embedding, and the number of tokens of each text that its pooling leaves out.
    """
    architecture = ARCHITECTURES[config.model_type]
    distilbert = config.model_type == "distilbert"
    head = Head(task, architecture.activation)
    if task == "embedding" and modules is not None:
        head = replace(head, pooling=modules.pooling, steps=modules.steps, skipped=skipped)
    model = ElasticClassifier(
        shape_of(config),
        outputs,
        head=head,
        dropout=Dropout(
            config.dropout if distilbert else config.hidden_dropout_prob,
            config.attention_dropout if distilbert else config.attention_probs_dropout_prob,
        ),
        norm_eps=getattr(config, "layer_norm_eps", 1e-12),  # DistilBERT's is in its code
        heads=getattr(config, HEADS, None),
    )
    encoder = _our_state(filled_up(weights, config), config, model)
    model.load_state_dict({**encoder, **({} if modules is None else modules.weights)})
    return model


def checkpoint_state(weights: Mapping[str, Tensor], config: Any, task: str) -> dict[str, Tensor]:
    """Convert the weights of an elastic model to the form of a checkpoint with this config, without the steps of an
    embedding, which have files of their own."""
    state = to_checkpoint(weights, config.model_type, task)
    names = ARCHITECTURES[config.model_type].names(task)
    position = f"{names['embeddings.position']}.weight"
    unused = _unused_positions(config)
    state[position] = torch.cat([torch.zeros_like(state[position][:unused]), state[position]])
    if getattr(config, "type_vocab_size", 0) == 1:
        state[f"{names['embeddings.token_type']}.weight"] = torch.zeros_like(state[position][:1])
    return state


def _unused_positions(config: Any) -> int:
    return config.pad_token_id + 1 if config.model_type in OFFSET_POSITIONS else 0


def _our_state(weights: Mapping[str, Tensor], config: Any, model: ElasticClassifier) -> dict[str, Tensor]:
    task = model.head.task
    names = [name for name in model.state_dict() if not name.startswith(STEPS)]
    state = from_checkpoint(weights, names, config.model_type, task)
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
