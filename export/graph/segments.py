"""Segments: the weights of a trained encoder, cut where a space cuts its layers.

A segment is a run of heads, or of FFN neurons, that is kept or dropped together. ONNX multiplies `x @ W` with W of
shape (in, out), so that every matrix is transposed here, once.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space

Array = NDArray[Any]
Weights = Mapping[str, Array]
"""Name in `ElasticClassifier.state_dict` -> array; linear weights have the shape (out, in)."""


Norm = tuple[Array, Array | None]
"""Scales and shifts of a layer norm; None for no shifts."""


PositionTables = tuple[Array | None, Array | None]
"""Vectors of relative positions as keys and as queries of heads, each (rows, heads, head_size), or None for a term that
the scores do not have."""


@dataclass(frozen=True)
class HeadSegment:
    """Weights of a run of heads of a layer."""

    name: str
    end: int
    """Index of the layer's first head after the segment."""
    heads: int
    qkv: Array
    """Weights of queries, then keys, then values; shape (hidden, 3 * heads * head_size)."""
    qkv_bias: Array | None
    output: Array
    """Weights of the output, shape (heads * head_size, hidden)."""
    head_ids: Array | None = None
    """Columns of the biases of relative positions that belong to the heads; None without such biases."""
    position_tables: PositionTables = (None, None)
    """Tables of disentangled attention. The queries of such heads, in `qkv`, are scaled down by its number of terms."""


@dataclass(frozen=True)
class NeuronSegment:
    """Weights of a run of FFN neurons of a layer."""

    name: str
    end: int
    """Index of the layer's first neuron after the segment."""
    ffn_in: Array
    """Weights into the neurons, shape (hidden, neurons); if they are gated (hidden, 2 * neurons), with the gates
    last."""
    ffn_in_bias: Array | None
    ffn_out: Array
    """Weights out of the neurons, shape (neurons, hidden)."""
    activation: str = "gelu"

    @property
    def gated(self) -> bool:
        """Whether each neuron has a gate."""
        return bool(self.ffn_in.shape[1] > len(self.ffn_out))


@dataclass(frozen=True)
class LayerSegments:
    """Layer cut into segments, where the space cuts it."""

    name: str
    heads: tuple[HeadSegment, ...]
    attention_bias: Array | None
    attention_norm: Norm | None
    """Norm of the attention; None for a layer without."""
    neurons: tuple[NeuronSegment, ...]
    ffn_bias: Array | None
    ffn_norm: Norm


def cut_layer(weights: Weights, space: Space, layer: int, vectors: Array | None = None) -> LayerSegments:
    """Cut one layer into segments, in order of importance. Layers that share their weights give the same segments.

    `vectors`: vectors of relative positions behind their norm, for disentangled attention.
    """
    shape = space.shape
    own = shape.weights_of(layer)
    prefix = f"layers.{own}."
    return LayerSegments(
        name=f"layer{own}",
        heads=tuple(
            _head_segment(weights, prefix, f"layer{own}.heads{start}", (start, end), shape, vectors)
            for start, end in _runs(space.head_cuts(layer))
        ),
        attention_bias=weights.get(f"{prefix}attention_output.bias"),
        attention_norm=norm_of(weights, f"{prefix}attention_norm"),
        neurons=tuple(
            _neuron_segment(weights, prefix, f"layer{own}.neurons{start}", start, end, shape.activation)
            for start, end in _runs(space.neuron_cuts(layer))
        ),
        ffn_bias=weights.get(f"{prefix}ffn_out.bias"),
        ffn_norm=(weights[f"{prefix}ffn_norm.weight"], weights.get(f"{prefix}ffn_norm.bias")),
    )


def norm_of(weights: Weights, name: str) -> Norm | None:
    """Return the scales and shifts of a norm; None if the net does not have it."""
    scales = weights.get(f"{name}.weight")
    return None if scales is None else (scales, weights.get(f"{name}.bias"))


def _head_segment(
    weights: Weights, prefix: str, name: str, ends: tuple[int, int], shape: EncoderShape, vectors: Array | None
) -> HeadSegment:
    start, end = ends
    rows = slice(start * shape.head_size, end * shape.head_size)
    parts = ("query", "key", "value")
    order = weights.get(f"{prefix}head_order")
    scale = 1 / np.sqrt(1 + len(shape.position_terms))  # so that a sum of terms stays as large as one of them

    def scaled(part: str, kind: str) -> Array | None:
        found = weights.get(f"{prefix}{part}.{kind}")
        return found if found is None or part != "query" or scale == 1 else (found * scale).astype(found.dtype)

    matrices = [weight for part in parts if (weight := scaled(part, "weight")) is not None]
    return HeadSegment(
        name=name,
        end=end,
        heads=end - start,
        qkv=np.concatenate([weight[rows].T for weight in matrices], axis=1),
        qkv_bias=_joined([scaled(part, "bias") for part in parts], rows),
        output=weights[f"{prefix}attention_output.weight"][:, rows].T,
        head_ids=None if order is None else order[start:end],
        position_tables=(None, None) if vectors is None else _position_tables(weights, prefix, rows, shape, vectors),
    )


def _position_tables(weights: Weights, prefix: str, rows: slice, shape: EncoderShape, vectors: Array) -> PositionTables:
    """Return the tables of a segment, scaled as its queries and the scores are."""

    def table(term: str, part: str, scale: float) -> Array | None:
        if term not in shape.position_terms:
            return None
        own = f"{prefix}position_{part}" if shape.position_products else f"{prefix}{part}"
        bias = weights.get(f"{own}.bias")
        product = vectors @ weights[f"{own}.weight"][rows].T + (0 if bias is None else bias[rows])
        by_head: Array = (product * scale).astype(vectors.dtype).reshape(len(vectors), -1, shape.head_size)
        return by_head

    of_scores = shape.head_size**-0.5
    of_queries = of_scores / np.sqrt(1 + len(shape.position_terms))  # these stand in the place of scaled queries
    return table("c2p", "key", of_scores), table("p2c", "query", of_queries)


def _neuron_segment(weights: Weights, prefix: str, name: str, start: int, end: int, activation: str) -> NeuronSegment:
    rows = slice(start, end)
    parts = [part for part in ("ffn_in", "ffn_gate") if f"{prefix}{part}.weight" in weights]
    return NeuronSegment(
        name=name,
        end=end,
        ffn_in=np.concatenate([weights[f"{prefix}{part}.weight"][rows].T for part in parts], axis=1),
        ffn_in_bias=_joined([weights.get(f"{prefix}{part}.bias") for part in parts], rows),
        ffn_out=weights[f"{prefix}ffn_out.weight"][:, rows].T,
        activation=activation,
    )


def _joined(biases: Sequence[Array | None], rows: slice) -> Array | None:
    """Return these rows of several biases, one after another; None if there are none."""
    found = [bias[rows] for bias in biases if bias is not None]
    return np.concatenate(found) if found else None


def _runs(ends: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return (start, end) of each segment: cuts at 3, 6, 12 give 0-3, 3-6, 6-12."""
    return list(itertools.pairwise((0, *ends)))
