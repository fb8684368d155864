"""Oracle of the int8 graph, in numpy: weights and activations are rounded, products are exact integers.

Activations are u8 with one scale and zero point per tensor, as ONNX defines DynamicQuantizeLinear.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gearshift.export.graph.segments import Array
from gearshift.runtime.space.space import Space
from gearshift.runtime.space.subnet import Subnet

LARGEST = 63


def quantized_matmul(value: Array, matrix: Array) -> Array:
    """`value @ matrix` with u8 activations and 7-bit weights, (.., in) @ (in, out)."""
    scales = np.abs(matrix).max(axis=0) / LARGEST
    weights = np.rint(matrix / scales).astype(np.int64)
    low, high = min(float(value.min()), 0.0), max(float(value.max()), 0.0)
    scale = (high - low) / 255
    zero = int(np.clip(np.rint(-low / scale), 0, 255))
    rounded = np.clip(np.rint(value / scale) + zero, 0, 255).astype(np.int64)
    product: Array = (rounded - zero) @ weights * (scale * scales)
    return product


def rounded_rows(table: Array) -> Array:
    """Each row of the word table on 255 steps of its own."""
    scales = np.abs(table).max(axis=1, keepdims=True) / 127
    rounded: Array = np.rint(table / scales) * scales
    return rounded


def norm(value: Array, scale: Array, shift: Array, eps: float) -> Array:
    centred = value - value.mean(-1, keepdims=True)
    normed: Array = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * scale + shift
    return normed


def gelu(value: Array) -> Array:
    active: Array = value * 0.5 * (1 + np.vectorize(math.erf)(value / math.sqrt(2)))
    return active


def attention(value: Array, mask: Array, qkv: Array, qkv_bias: Array, head_size: int, *, exact: bool = False) -> Array:
    """Return what the heads give, side by side; `qkv` holds all queries, then all keys, then all values."""
    projected = (value @ qkv if exact else quantized_matmul(value, qkv)) + qkv_bias
    query, key, content = np.split(projected, 3, axis=-1)
    context = np.zeros_like(query)
    for start in range(0, query.shape[-1], head_size):
        head = slice(start, start + head_size)
        scores = query[..., head] @ key[..., head].swapaxes(1, 2) / math.sqrt(head_size)
        scores = np.where(mask[:, None, :] == 1, scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        context[..., head] = shares / shares.sum(-1, keepdims=True) @ content[..., head]
    return context


def _runs(cuts: Sequence[int], kept: int) -> list[slice]:
    ends = [end for end in cuts if end <= kept]
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def logits(
    weights: Mapping[str, Array], space: Space, subnet: Subnet, inputs: Mapping[str, Array], eps: float
) -> Array:
    """Logits (batch, labels); a segment's weights have their own scales, and its inner values too.

    A layer that is known to be the last one, since it lies in the last stage, goes on with the first token
    alone behind its attention: only its values are in the ranges that activations are rounded by.
    """
    arrays = {name: array.astype(np.float64) for name, array in weights.items()}
    ids, mask, types = (inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
    embedded = rounded_rows(arrays["embeddings.word.weight"])[ids] + arrays["embeddings.token_type.weight"][types]
    embedded = embedded + arrays["embeddings.position.weight"][: ids.shape[1]]
    hidden = norm(embedded, arrays["embeddings.norm.weight"], arrays["embeddings.norm.bias"], eps)
    size = space.shape.head_size
    last = subnet.kept()[-1]
    for kept in subnet.kept():
        ends = kept == last and kept.layer >= space.stages[-1].first
        w = {name.split(".", 2)[2]: array for name, array in arrays.items() if name.startswith(f"layers.{kept.layer}.")}
        total = (hidden[:, 0] if ends else hidden) + w["attention_output.bias"]
        for run in _runs(space.head_cuts(kept.layer), kept.heads):
            rows = slice(run.start * size, run.stop * size)
            qkv = np.concatenate([w[f"{part}.weight"][rows].T for part in ("query", "key", "value")], axis=1)
            bias = np.concatenate([w[f"{part}.bias"][rows] for part in ("query", "key", "value")])
            context = attention(hidden, mask, qkv, bias, size)
            context = context[:, 0] if ends else context
            total = total + quantized_matmul(context, w["attention_output.weight"][:, rows].T)
        hidden = norm(total, w["attention_norm.weight"], w["attention_norm.bias"], eps)
        total = hidden + w["ffn_out.bias"]
        for run in _runs(space.neuron_cuts(kept.layer), kept.neurons):
            inner = gelu(quantized_matmul(hidden, w["ffn_in.weight"][run].T) + w["ffn_in.bias"][run])
            total = total + quantized_matmul(inner, w["ffn_out.weight"][:, run].T)
        hidden = norm(total, w["ffn_norm.weight"], w["ffn_norm.bias"], eps)
    first = hidden if hidden.ndim == 2 else hidden[:, 0]
    pooled = np.tanh(first @ arrays["pooler.weight"].T + arrays["pooler.bias"])
    answer: Array = pooled @ arrays["classifier.weight"].T + arrays["classifier.bias"]
    return answer
