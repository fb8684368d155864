"""BERT once more, in plain numpy and float64, with weights that are cut to size beforehand.

Written from the architecture and from the names of a Hugging Face checkpoint alone; it shares nothing
with `gearshift.trainer.model.elastic`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gearshift.runtime.space.subnet import Subnet

Array = NDArray[np.float64]
LAYER = "bert.encoder.layer.{}."


def cut(weights: Mapping[str, Tensor], subnet: Subnet, head_size: int) -> dict[str, Array]:
    """The weights of a net that is nothing but the subnet: its layers counted anew, its matrices small."""
    arrays = {name: tensor.detach().numpy().astype(np.float64) for name, tensor in weights.items()}
    small = {name: array for name, array in arrays.items() if "encoder.layer" not in name}
    kept = [(layer, pair) for layer, pair in enumerate(subnet.layers) if pair != (0, 0)]
    for place, (layer, (heads, neurons)) in enumerate(kept):
        old, new = LAYER.format(layer), LAYER.format(place)
        for name in (name for name in arrays if name.startswith(old)):
            array, part = arrays[name], name.removeprefix(old)
            if part.startswith("attention.self"):
                array = array[: heads * head_size]
            elif part == "attention.output.dense.weight":
                array = array[:, : heads * head_size]
            elif part.startswith("intermediate"):
                array = array[:neurons]
            elif part == "output.dense.weight":
                array = array[:, :neurons]
            small[new + part] = array
    return small


def forward(
    weights: Mapping[str, Array],
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    token_type_ids: NDArray[np.int64],
    *,
    head_size: int,
    eps: float,
) -> tuple[Array, list[Array]]:
    """Logits (batch, labels), and the embeddings and every layer's output (batch, tokens, hidden)."""

    def dense(value: Array, name: str) -> Array:
        return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(value: Array, name: str) -> Array:
        centred = value - value.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
        normed: Array = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return normed

    def embedded(name: str) -> Array:
        return weights[f"bert.embeddings.{name}_embeddings.weight"]

    words = embedded("word")[input_ids] + embedded("token_type")[token_type_ids]
    hidden = norm(words + embedded("position")[: input_ids.shape[1]], "bert.embeddings.LayerNorm")
    states = [hidden]
    layer = 0
    while f"{LAYER.format(layer)}output.dense.weight" in weights:
        at = LAYER.format(layer)
        query, key, value = (dense(hidden, f"{at}attention.self.{part}") for part in ("query", "key", "value"))
        context = np.zeros_like(query)
        for start in range(0, query.shape[-1], head_size):
            head = slice(start, start + head_size)
            scores = query[..., head] @ key[..., head].swapaxes(1, 2) / math.sqrt(head_size)
            scores = np.where(attention_mask[:, None, :] == 1, scores, -np.inf)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            context[..., head] = shares / shares.sum(-1, keepdims=True) @ value[..., head]
        hidden = norm(hidden + dense(context, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        inner = dense(hidden, f"{at}intermediate.dense")
        active = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        hidden = norm(hidden + dense(active, f"{at}output.dense"), f"{at}output.LayerNorm")
        states.append(hidden)
        layer += 1
    pooled = np.tanh(dense(hidden[:, 0], "bert.pooler.dense"))
    return dense(pooled, "classifier"), states
