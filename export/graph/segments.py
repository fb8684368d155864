"""Segments: the weights of a trained encoder, cut where a space cuts its layers.

A segment is a run of heads, or of FFN neurons, that is kept or dropped together. ONNX multiplies `x @ W` with W of
shape (in, out), so that every matrix is transposed here, once.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.space.space import Space

Array = NDArray[Any]
Weights = Mapping[str, Array]
"""Name in `ElasticClassifier.state_dict` -> array; linear weights have the shape (out, in)."""


@dataclass(frozen=True)
class HeadSegment:
    """Weights of a run of heads of a layer."""

    name: str
    end: int
    """Index of the layer's first head after the segment."""
    heads: int
    qkv: Array
    """Weights of queries, then keys, then values; shape (hidden, 3 * heads * head_size)."""
    qkv_bias: Array
    output: Array
    """Weights of the output, shape (heads * head_size, hidden)."""


@dataclass(frozen=True)
class NeuronSegment:
    """Weights of a run of FFN neurons of a layer."""

    name: str
    end: int
    """Index of the layer's first neuron after the segment."""
    ffn_in: Array
    """Weights into the neurons, shape (hidden, neurons)."""
    ffn_in_bias: Array
    ffn_out: Array
    """Weights out of the neurons, shape (neurons, hidden)."""


@dataclass(frozen=True)
class LayerSegments:
    """Layer cut into segments, where the space cuts it."""

    name: str
    heads: tuple[HeadSegment, ...]
    attention_bias: Array
    attention_norm: tuple[Array, Array]
    neurons: tuple[NeuronSegment, ...]
    ffn_bias: Array
    ffn_norm: tuple[Array, Array]


def cut_layer(weights: Weights, space: Space, layer: int) -> LayerSegments:
    """Cut one layer into segments, in order of importance."""
    prefix = f"layers.{layer}."

    def of(name: str) -> Array:
        return weights[prefix + name]

    return LayerSegments(
        name=f"layer{layer}",
        heads=tuple(
            _head_segment(weights, prefix, f"layer{layer}.heads{start}", start, end, space.shape.head_size)
            for start, end in _runs(space.head_cuts(layer))
        ),
        attention_bias=of("attention_output.bias"),
        attention_norm=(of("attention_norm.weight"), of("attention_norm.bias")),
        neurons=tuple(
            NeuronSegment(
                name=f"layer{layer}.neurons{start}",
                end=end,
                ffn_in=of("ffn_in.weight")[start:end].T,
                ffn_in_bias=of("ffn_in.bias")[start:end],
                ffn_out=of("ffn_out.weight")[:, start:end].T,
            )
            for start, end in _runs(space.neuron_cuts(layer))
        ),
        ffn_bias=of("ffn_out.bias"),
        ffn_norm=(of("ffn_norm.weight"), of("ffn_norm.bias")),
    )


def _head_segment(weights: Weights, prefix: str, name: str, start: int, end: int, head_size: int) -> HeadSegment:
    rows = slice(start * head_size, end * head_size)
    parts = ("query", "key", "value")
    return HeadSegment(
        name=name,
        end=end,
        heads=end - start,
        qkv=np.concatenate([weights[f"{prefix}{part}.weight"][rows].T for part in parts], axis=1),
        qkv_bias=np.concatenate([weights[f"{prefix}{part}.bias"][rows] for part in parts]),
        output=weights[f"{prefix}attention_output.weight"][:, rows].T,
    )


def _runs(ends: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return (start, end) of each segment: cuts at 3, 6, 12 give 0-3, 3-6, 6-12."""
    return list(itertools.pairwise((0, *ends)))
