"""Recipe for GPUs: few large operators, where each one costs a launch.

Each option has its own whole matrices, of all the heads or neurons that it keeps: memory is plentiful there. Attention
gets the number of real tokens of each text, which come before its padding: for a mask of two dimensions ONNX Runtime
has no fused kernel on CUDA (contrib_ops/cuda/bert/multihead_attention.cc). The residual is added within the norm.

Chosen by reading that source. Its numbers are compared on a CPU; it never ran on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from gearshift.export.graph.builder import CONTRIB, Scope
from gearshift.export.graph.recipe import Recipe, View
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment, Norm


def for_gpus(recipe: Recipe) -> Recipe:
    """Return a recipe with whole matrices, lengths and fused norms, in the operators of `recipe`."""

    def attention(scope: Scope, hidden: str, view: View, segments: Sequence[HeadSegment], *rest: Any) -> list[str]:
        return recipe.attention(scope, hidden, view, [whole_heads(segments)], *rest)

    def ffn(scope: Scope, hidden: str, segments: Sequence[NeuronSegment], *rest: Any) -> list[str]:
        return recipe.ffn(scope, hidden, [whole_neurons(segments)], *rest)

    return replace(recipe, attention=attention, ffn=ffn, mask=lengths, add_norm=added_in_norm, blocks=False)


def whole_heads(segments: Sequence[HeadSegment]) -> HeadSegment:
    """Return neighbouring segments of heads as one."""
    if len(segments) == 1:
        return segments[0]
    thirds = zip(*(np.split(segment.qkv, 3, axis=1) for segment in segments), strict=True)
    biases = [segment.qkv_bias for segment in segments if segment.qkv_bias is not None]
    of_parts = zip(*(np.split(bias, 3) for bias in biases), strict=True)
    ids = [segment.head_ids for segment in segments if segment.head_ids is not None]
    tables = zip(*(segment.position_tables for segment in segments), strict=True)
    keys, queries = (_side_by_side(of_term) for of_term in tables)
    return HeadSegment(
        name=_name(segments[0].name, segments[-1].end),
        end=segments[-1].end,
        heads=sum(segment.heads for segment in segments),
        qkv=np.concatenate([part for third in thirds for part in third], axis=1),
        qkv_bias=np.concatenate([part for third in of_parts for part in third]) if biases else None,
        output=np.concatenate([segment.output for segment in segments]),
        head_ids=np.concatenate(ids) if ids else None,
        position_tables=(keys, queries),
    )


def whole_neurons(segments: Sequence[NeuronSegment]) -> NeuronSegment:
    """Return neighbouring segments of neurons as one."""
    if len(segments) == 1:
        return segments[0]
    parts = 2 if segments[0].gated else 1
    columns = zip(*(np.split(segment.ffn_in, parts, axis=1) for segment in segments), strict=True)
    biases = [segment.ffn_in_bias for segment in segments if segment.ffn_in_bias is not None]
    of_parts = zip(*(np.split(bias, parts) for bias in biases), strict=True)
    return NeuronSegment(
        name=_name(segments[0].name, segments[-1].end),
        end=segments[-1].end,
        ffn_in=np.concatenate([piece for part in columns for piece in part], axis=1),
        ffn_in_bias=np.concatenate([piece for part in of_parts for piece in part]) if biases else None,
        ffn_out=np.concatenate([segment.ffn_out for segment in segments]),
        activation=segments[0].activation,
    )


def _name(first: str, end: int) -> str:
    """Name the weights of a run from the start of its first segment to `end`."""
    return f"{first}-{end}"


def _side_by_side(tables: Sequence[Array | None]) -> Array | None:
    found = [table for table in tables if table is not None]
    return np.concatenate(found, axis=1) if found else None


def lengths(scope: Scope, given: str) -> str:
    """Append the number of real tokens of each text, int32 (batch,), for an int64 mask (batch, tokens)."""
    # A sum of int64 has no kernel on some providers; floats count exactly up to 2**24.
    ones = scope.value("Cast", [given], to=TensorProto.FLOAT)
    counts = scope.value("ReduceSum", [ones, scope.builder.constant("token_axis", [1])], keepdims=0)
    return scope.value("Cast", [counts], to=TensorProto.INT32)


def added_in_norm(scope: Scope, terms: Sequence[str], norm: Norm, name: str, epsilon: float) -> str:
    """Append the norm of a sum of a product, an output bias if there is one, and the residual.

    `terms`: in this order. `name`: prefix of the names of the norm's weights.
    """
    product, *bias, residual = terms
    weights = [
        scope.builder.weight(f"{name}.{part}", array) if array is not None else ""
        for part, array in zip(("scale", "shift"), norm, strict=True)
    ]
    inputs = [product, residual, *weights, *bias]
    while not inputs[-1]:
        inputs.pop()
    return scope.value("SkipLayerNormalization", inputs, domain=CONTRIB, epsilon=epsilon)
