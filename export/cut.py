"""Cut a transformers model down to a subnet, in memory: no config can state what each layer keeps."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.pytorch_utils import prune_linear_layer

from gearshift.errors import ExportError
from gearshift.runtime.space.subnet import Kept, Subnet
from gearshift.trainer.model.huggingface import HEAD_ORDER
from gearshift.trainer.model.loading import HEADS
from gearshift.trainer.model.names import ARCHITECTURES


def cut_encoder(model: transformers.PreTrainedModel, subnet: Subnet) -> None:
    """Cut a full transformers model of a supported architecture down to a subnet, in place.

    Raises ExportError if layers that share their weights keep different numbers of heads or neurons.
    """
    if model.config.model_type == "albert":
        _cut_shared(model, subnet)
    else:
        _cut_layers(model, subnet)
    for name in (HEADS, HEAD_ORDER):
        if hasattr(model.config, name):
            delattr(model.config, name)
    model.config.gearshift_subnet = [[kept.heads, kept.neurons] for kept in subnet.kept()]


def require_even(subnet: Subnet) -> None:
    """Raise ExportError unless all layers that are kept keep the same, as those of a shared set of weights do."""
    found = sorted({(kept.heads, kept.neurons) for kept in subnet.kept()})
    if len(found) > 1:
        raise ExportError(
            f"layers that share their weights: expected one number of heads and of neurons for all, found "
            f"{', '.join(f'({heads}, {neurons})' for heads, neurons in found)}; use the bundle, which can"
        )


def _cut_shared(model: transformers.PreTrainedModel, subnet: Subnet) -> None:
    """Cut the set of weights that all layers share, and let it run as often as layers are kept."""
    require_even(subnet)
    kept, heads = subnet.kept(), model.config.num_attention_heads
    attention = model.base_model.encoder.albert_layer_groups[0].albert_layers[0].attention
    attention.prune_heads(set(range(kept[0].heads, heads)))
    for part, dimension in (("ffn_in", 0), ("ffn_out", 1)):
        _keep_first(model, 0, part, dimension, kept[0].neurons)
    model.config.num_hidden_layers = len(kept)


def _cut_layers(model: transformers.PreTrainedModel, subnet: Subnet) -> None:
    """Cut each layer that is kept, and remove the others."""
    encoder, names = model.base_model, ARCHITECTURES[model.config.model_type].encoder
    layers = encoder.get_submodule(names["layers.{}.query"].split(".{}")[0])
    heads = model.config.num_attention_heads
    orders = getattr(model.config, HEAD_ORDER, None) or [list(range(heads))] * len(layers)
    for kept in subnet.kept():
        if kept.heads < heads:
            _cut_heads(model, layers[kept.layer], kept, orders[kept.layer])
        for part, dimension in (("ffn_in", 0), ("ffn_out", 1)):
            _keep_first(model, kept.layer, part, dimension, kept.neurons)
    for index, (kept_heads, _) in reversed(list(enumerate(subnet.layers))):
        if not kept_heads:
            del layers[index]
    model.config.num_hidden_layers = len(layers)


def _cut_heads(model: transformers.PreTrainedModel, layer: Any, kept: Kept, order: list[int]) -> None:
    """Cut the heads of a layer; `order`: numbers of its heads in the model, most important first."""
    kind = model.config.model_type
    if kind in _COUNTED:  # transformers cannot prune its heads
        module, count = _COUNTED[kind]
        attention = layer.get_submodule(module)
        inner = attention.all_head_size // getattr(attention, count) * kept.heads
        matrices = {ARCHITECTURES[kind].encoder.get(f"layers.{{}}.{part}"): part for part in _HEAD_PARTS}
        for name, part in matrices.items():
            if name and _has(model, name.format(kept.layer)):
                _keep_first(model, kept.layer, part, 0, inner)
        _keep_first(model, kept.layer, "attention_output", 1, inner)
        setattr(attention, count, kept.heads)
        attention.all_head_size = inner
        return
    layer.attention.prune_heads(set(order[kept.heads :]))
    if kind == "mpnet":  # transformers hands biases of all heads to the ones that are left
        layer.attention.attn.register_forward_pre_hook(_Biases(sorted(order[: kept.heads])))


_COUNTED = {"modernbert": ("attn", "num_heads"), "deberta-v2": ("attention.self", "num_attention_heads")}
"""Architecture -> attention of a layer, and the field with the number of its heads."""

_HEAD_PARTS = ("query", "key", "value", "position_key", "position_query")
"""Parts of a layer whose rows are the dimensions of its heads."""


def _has(model: transformers.PreTrainedModel, name: str) -> bool:
    holder, _, leaf = name.rpartition(".")
    return hasattr(model.base_model.get_submodule(holder), leaf)


class _Biases:
    """Hook that selects the biases of relative positions of some heads."""

    def __init__(self, heads: list[int]) -> None:
        self.heads = torch.tensor(heads)

    def __call__(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of MPNet's attention with its biases, (batch, heads, tokens, tokens), selected."""
        hidden, mask, head_mask, biases = given
        return hidden, mask, head_mask, biases.index_select(1, self.heads)


def _keep_first(model: transformers.PreTrainedModel, layer: int, part: str, dimension: int, count: int) -> None:
    """Keep the first rows or columns of a part of a layer, and of those that share its matrix."""
    names = ARCHITECTURES[model.config.model_type].encoder
    name = names[f"layers.{{}}.{part}"]
    sharing = sum(theirs == name for theirs in names.values())
    holder, _, leaf = name.format(layer).rpartition(".")
    parent = model.base_model.get_submodule(holder)
    linear = getattr(parent, leaf)
    full = linear.weight.shape[dimension] // sharing
    kept: Tensor = torch.cat([torch.arange(count) + number * full for number in range(sharing)])
    setattr(parent, leaf, prune_linear_layer(linear, kept, dim=dimension))
