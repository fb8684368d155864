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
from torch import Tensor

from gearshift.errors import ModelError
from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.runtime.space.shape import EncoderShape
from gearshift.trainer.model.configs import dropout_of, head_of, norm_eps_of, shape_of, unused_positions
from gearshift.trainer.model.elastic import HEADS, ElasticClassifier, Head, HeadPart
from gearshift.trainer.model.loading import HEADS as PRUNED
from gearshift.trainer.model.loading import filled_up, load_transformers, with_all_heads
from gearshift.trainer.model.names import ARCHITECTURES, CLASS_SUFFIXES, STEPS, from_checkpoint, to_checkpoint
from gearshift.trainer.model.sentence_modules import SentenceModules, read_modules

HEAD_ORDER = "gearshift_head_order"
"""Field of a config: for each layer the numbers that its heads have in the checkpoint, most important first. For
architectures whose layers share a table with a column for each head, which the heads can then not be sorted in."""

ENCODER_PARTS = ("embeddings.", "layers.", "relative", "position_", "final_norm")
"""Prefixes of the names of our encoder's weights."""

HEAD_PARTS = ("pooler", "pooler_norm", "classifier")
"""Our parts of a task head."""


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
    head = head_of(config, task)
    if task == "embedding" and modules is not None:
        head = replace(head, pooling=modules.pooling, steps=modules.steps, skipped=skipped)
    model = ElasticClassifier(
        shape_of(config),
        outputs,
        head=head,
        dropout=dropout_of(config),
        norm_eps=norm_eps_of(config),
        heads=getattr(config, PRUNED, None),
    )
    encoder = _our_state(filled_up(weights, config), config, model)
    model.load_state_dict({**encoder, **({} if modules is None else modules.weights)})
    return model


def load_joint_model(path: Path, config: Any, parts: Mapping[str, tuple[str, int]]) -> ElasticClassifier:
    """Load a checkpoint as an elastic model with several heads; raises ModelError.

    `parts`: name of each head -> its task, and the number of its outputs. Each head is as it would be alone: with the
    checkpoint's pooler, and a classifier that is random unless the checkpoint has one of this task and shape.
    """
    single = [load_model(path, config, task, outputs)[0] for task, outputs in parts.values()]
    heads = tuple(
        HeadPart(name, one.head, outputs) for (name, (_, outputs)), one in zip(parts.items(), single, strict=True)
    )
    model = ElasticClassifier(
        shape_of(config),
        0,
        head=Head(MULTI_TASK, parts=heads),
        dropout=dropout_of(config),
        norm_eps=norm_eps_of(config),
        heads=getattr(config, PRUNED, None),
    )
    state = single[0].encoder_state()
    for place, one in enumerate(single):
        state |= {f"{HEADS}{place}.{name}": tensor for name, tensor in one.head_state().items()}
    model.load_state_dict(state)
    return model


def checkpoint_state(weights: Mapping[str, Tensor], config: Any, task: str) -> dict[str, Tensor]:
    """Convert the weights of an elastic model to the form of a checkpoint with this config, without the steps of an
    embedding, which have files of their own."""
    state = to_checkpoint(_with_heads_in(weights, sorted_in=False), config.model_type, task)
    names = ARCHITECTURES[config.model_type].names(task)
    if "embeddings.position.weight" in weights:
        position = f"{names['embeddings.position']}.weight"
        unused = unused_positions(config)
        state[position] = torch.cat([torch.zeros_like(state[position][:unused]), state[position]])
        if getattr(config, "type_vocab_size", 0) == 1:
            state[f"{names['embeddings.token_type']}.weight"] = torch.zeros_like(state[position][:1])
    return state


def note_head_order(config: Any, model: torch.nn.Module) -> None:
    """Let a config state the order of a model's heads, if its checkpoint cannot have them in that order."""
    orders = {name: tensor.tolist() for name, tensor in model.named_buffers() if name.endswith(_ORDER)}
    if orders:
        setattr(config, HEAD_ORDER, [orders[f"layers.{layer}.{_ORDER}"] for layer in range(len(orders))])


_ORDER = "head_order"


def _with_heads_in(weights: Mapping[str, Tensor], *, sorted_in: bool) -> dict[str, Tensor]:
    """Sort the heads of layers that have a HEAD_ORDER, or, unless `sorted_in`, put them back as a checkpoint has them.

    `weights` have our names. The orders themselves are in no checkpoint: without `sorted_in` they are left out.
    """
    changed = {name: tensor for name, tensor in weights.items() if not name.endswith(_ORDER)}
    for name, order in weights.items():
        if not name.endswith(_ORDER):
            continue
        layer = name.removesuffix(_ORDER)
        places = order if sorted_in else order.argsort()
        for part in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias"):
            changed[layer + part] = _heads_of(changed[layer + part], places)
        output = f"{layer}attention_output.weight"
        changed[output] = _heads_of(changed[output].T.contiguous(), places).T.contiguous()
        if sorted_in:
            changed[name] = order
    return changed


def _heads_of(rows: Tensor, places: Tensor) -> Tensor:
    """Return the rows of all heads, in the order of these places."""
    return rows.view(len(places), -1, *rows.shape[1:])[places].flatten(0, 1)


def _head_orders(config: Any, shape: EncoderShape) -> dict[str, Tensor]:
    """Return the order of heads in each layer, under our names; raises ModelError."""
    if not shape.relative_buckets:
        return {}
    stated = getattr(config, HEAD_ORDER, None) or [list(range(shape.heads))] * shape.layers
    whole = isinstance(stated, list) and len(stated) == shape.layers
    if not whole or not all(_is_order(each, shape.heads) for each in stated):
        raise ModelError(
            f"{config.name_or_path}: {HEAD_ORDER}: expected the heads 0 to {shape.heads - 1} in some order for each of "
            f"{shape.layers} layers, found {str(stated)[:80]}; train again"
        )
    return {f"layers.{layer}.{_ORDER}": torch.tensor(order) for layer, order in enumerate(stated)}


def _is_order(found: Any, count: int) -> bool:
    """Return whether this is a list of the numbers from 0 to `count` - 1, in any order."""
    numbers = isinstance(found, list) and all(isinstance(number, int) for number in found)
    return numbers and sorted(found) == list(range(count))


def _our_state(weights: Mapping[str, Tensor], config: Any, model: ElasticClassifier) -> dict[str, Tensor]:
    task = model.head.task
    orders = _head_orders(config, model.shape)
    names = [name for name in model.state_dict() if not name.startswith(STEPS) and name not in orders]
    state = from_checkpoint(weights, names, config.model_type, task)
    if "embeddings.position.weight" in state:
        positions = state["embeddings.position.weight"][unused_positions(config) :]
        if getattr(config, "type_vocab_size", 0) == 1:
            table = from_checkpoint(weights, ["embeddings.token_type.weight"], config.model_type, task)
            positions = positions + table["embeddings.token_type.weight"]
        state["embeddings.position.weight"] = positions
    return _with_heads_in({**state, **orders}, sorted_in=True)


def _load_weights(path: Path, config: Any, task: str, outputs: int) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """Load the weights of a checkpoint under its own names, and the names of those of the head that it lacks."""
    suffix = CLASS_SUFFIXES[task]
    settings: dict[str, Any] = {} if suffix == "Model" else {"num_labels": outputs}
    with with_all_heads(path, config) as readable:
        loaded = load_transformers(f"AutoModel{suffix if suffix != 'Model' else ''}", readable, **settings)
    random = [name for name in loaded.missing if _belongs(name, config.model_type, task, ENCODER_PARTS)]
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
