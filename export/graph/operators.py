"""Operators of a half-layer (attention or FFN) for each precision: tables that a benchmark can rewrite.

They were chosen by measured time, with graph optimisation off, so that ONNX Runtime does not undo the choice. A recipe
takes the input of the half-layer and returns the terms of a sum: one per segment, and the output bias if no operator
adds it. Plain `Sum` and `LayerNormalization` follow, as the fused `SkipLayerNormalization` is slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from onnx import TensorProto

from gearshift.export.graph.blocks import in_blocks
from gearshift.export.graph.builder import CONTRIB, Scope
from gearshift.export.graph.disentangled import position_scores
from gearshift.export.graph.gpu import for_gpus
from gearshift.export.graph.recipe import Recipe, Rows, View, added_at_once, bias_term, gated, own_bias
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment
from gearshift.export.graph.standard import linear, standard_recipe
from gearshift.trainer.model.encoder.activations import QUICK_GELU

ACTIVATIONS: Mapping[str, tuple[str, str, Mapping[str, float]]] = {
    "tanh": ("Tanh", "", {}),
    "gelu": ("Gelu", CONTRIB, {}),
    "gelu_new": ("FastGelu", CONTRIB, {}),
    "gelu_pytorch_tanh": ("FastGelu", CONTRIB, {}),
    "relu": ("Relu", "", {}),
    "silu": ("QuickGelu", CONTRIB, {"alpha": 1.0}),
    "quick_gelu": ("QuickGelu", CONTRIB, {"alpha": QUICK_GELU}),
}
"""Activation -> operator, its domain, and its attributes."""

_WITH_BIAS = {"gelu": "BiasGelu", "gelu_new": "FastGelu", "gelu_pytorch_tanh": "FastGelu"}
"""Activation -> operator that adds a bias first."""


def _activate(scope: Scope, name: str, value: str) -> str:
    operator, domain, attributes = ACTIVATIONS[name]
    return scope.value(operator, [value], domain=domain, **attributes)


def _activated(scope: Scope, segment: NeuronSegment, inner: str) -> str:
    """Append the activation of neurons, and their gates."""
    if segment.gated:
        return gated(scope, inner, lambda scope, value: _activate(scope, segment.activation, value))
    return _activate(scope, segment.activation, inner)


def _attend(scope: Scope, view: View, segment: HeadSegment, qkv: str, bias: str) -> str:
    """Append the attention of queries, keys and values side by side, (batch, tokens, 3 * heads * head_size).

    `bias`: bias of all three, or "" for none; rotary positions and terms by relative position come behind it.
    """
    if bias and not (view.rotation is None and view.skew is None and view.blocks is None):
        qkv, bias = scope.value("Add", [qkv, bias]), ""
    query, key, value = scope.node("Split", [qkv], outputs=3, axis=-1, num_outputs=3)
    if view.rotation is not None:
        first = scope.builder.constant("first_position", [0])
        query, key = (
            scope.value("RotaryEmbedding", [part, first, *view.rotation], domain=CONTRIB) for part in (query, key)
        )
    added = own_bias(scope, view, segment)
    if view.skew is not None:
        apart = scope.builder.constant("heads_apart", [0, 0, -1, len(segment.output) // segment.heads])
        sides = (scope.value("Reshape", [part, apart]) for part in (query, key))
        terms = position_scores(scope, view.skew, segment.name, segment.position_tables, *sides)
        added = scope.value("Add", [terms, added]) if added else terms
    if view.blocks is not None:
        query, key, value = in_blocks(scope, view.blocks, query, key, value)
    inputs = [query, key, value, bias, view.mask, *([added] if added else [])]
    context = scope.value("MultiHeadAttention", inputs, domain=CONTRIB, num_heads=segment.heads)
    return context if view.blocks is None else view.blocks.joined(scope, context)


def _attention_float(
    scope: Scope,
    hidden: str,
    view: View,
    segments: Sequence[HeadSegment],
    bias: Array | None,
    bias_name: str,
    rows: Rows,
    *,
    fused: bool = True,
) -> list[str]:
    terms = []
    for segment in segments:
        context = _context_float(scope, hidden, view, segment, fused)
        output = scope.builder.weight(f"{segment.name}.output", segment.output)
        terms.append(scope.value("MatMul", [rows(scope, context), output]))
    return [*terms, *bias_term(scope, bias_name, bias)]


def _context_float(scope: Scope, hidden: str, view: View, segment: HeadSegment, fused: bool) -> str:
    """Append the attention of a segment, with `fused` in one operator where one can."""
    matrix = scope.builder.weight(f"{segment.name}.qkv", segment.qkv)
    bias = "" if segment.qkv_bias is None else scope.builder.weight(f"{segment.name}.qkv_bias", segment.qkv_bias)
    if fused and view.plain and bias:
        inputs = [hidden, matrix, bias, view.mask]
        return scope.value("Attention", inputs, domain=CONTRIB, num_heads=segment.heads)
    return _attend(scope, view, segment, scope.value("MatMul", [hidden, matrix]), bias)


def _ffn_float(
    scope: Scope, hidden: str, segments: Sequence[NeuronSegment], bias: Array | None, bias_name: str
) -> list[str]:
    weight = scope.builder.weight
    terms = []
    for segment in segments:
        inner = scope.value("MatMul", [hidden, weight(f"{segment.name}.in", segment.ffn_in)])
        fused = _WITH_BIAS.get(segment.activation)
        if segment.ffn_in_bias is None:
            active = _activated(scope, segment, inner)
        else:
            inner_bias = weight(f"{segment.name}.in_bias", segment.ffn_in_bias)
            if fused is not None and not segment.gated:
                active = scope.value(fused, [inner, inner_bias], domain=CONTRIB)
            else:
                active = _activated(scope, segment, scope.value("Add", [inner, inner_bias]))
        terms.append(scope.value("MatMul", [active, weight(f"{segment.name}.out", segment.ffn_out)]))
    return [*terms, *bias_term(scope, bias_name, bias)]


def _lookup_float(scope: Scope, name: str, table: Array, ids: str) -> str:
    return scope.value("Gather", [scope.builder.weight(name, table), ids])


def quantized(scope: Scope, name: str, matrix: Array) -> tuple[str, str]:
    """Store an int8 matrix, and return the names of its values and scales."""
    names = (name, f"{name}.scale")
    if not scope.builder.has_weight(name):  # every option of the stage asks for the same segments
        packed = scope.builder.quantizer.matrix(name, matrix)
        for part, array in zip(names, (packed.values, packed.scales), strict=True):
            scope.builder.weight(part, array)
    return names


def _lookup_int8(scope: Scope, name: str, table: Array, ids: str) -> str:
    """Append the look-up of 8-bit rows with a scale each; they enter no integer product, so that nothing overflows."""
    rows, scales = f"{name}.rows", f"{name}.scales"
    if not scope.builder.has_weight(rows):
        packed = scope.builder.quantizer.table(table)
        scope.builder.weight(rows, packed.values.T)
        scope.builder.weight(scales, packed.scales[:, None])
    words = scope.value("Cast", [scope.value("Gather", [rows, ids])], to=TensorProto.FLOAT)
    return scope.value("Mul", [words, scope.value("Gather", [scales, ids])])


def _attention_int8(
    scope: Scope,
    hidden: str,
    view: View,
    segments: Sequence[HeadSegment],
    bias: Array | None,
    bias_name: str,
    rows: Rows,
) -> list[str]:
    quantized_input = scope.node("DynamicQuantizeLinear", [hidden], outputs=3)
    terms = []
    for index, segment in enumerate(segments):
        context = _context_int8(scope, quantized_input, view, segment)
        output, picked = quantized(scope, f"{segment.name}.output", segment.output), rows(scope, context)
        added = scope.builder.weight(bias_name, bias) if index == 0 and bias is not None else ""
        terms.append(_dynamic_matmul(scope, picked, output, added))
    return terms


def _context_int8(scope: Scope, quantized_input: Sequence[str], view: View, segment: HeadSegment) -> str:
    """Append the attention of a segment, in one operator where one can."""
    values, scale, zero = quantized_input
    qkv, qkv_scale = quantized(scope, f"{segment.name}.qkv", segment.qkv)
    bias = "" if segment.qkv_bias is None else scope.builder.weight(f"{segment.name}.qkv_bias", segment.qkv_bias)
    if view.plain and bias:
        inputs = [values, qkv, bias, scale, qkv_scale, view.mask, zero]
        return scope.value("QAttention", inputs, domain=CONTRIB, num_heads=segment.heads)
    inputs = [values, qkv, scale, qkv_scale, zero, *(["", bias] if bias else [])]
    return _attend(scope, view, segment, scope.value("MatMulIntegerToFloat", inputs, domain=CONTRIB), "")


def _ffn_int8(
    scope: Scope, hidden: str, segments: Sequence[NeuronSegment], bias: Array | None, bias_name: str
) -> list[str]:
    weight = scope.builder.weight
    values, scale, zero = scope.node("DynamicQuantizeLinear", [hidden], outputs=3)
    terms = []
    for index, segment in enumerate(segments):
        into, into_scale = quantized(scope, f"{segment.name}.in", segment.ffn_in)
        bias_of = segment.ffn_in_bias
        inner_bias = [] if bias_of is None else ["", weight(f"{segment.name}.in_bias", bias_of)]
        inputs = [values, into, scale, into_scale, zero, *inner_bias]
        active = _activated(scope, segment, scope.value("MatMulIntegerToFloat", inputs, domain=CONTRIB))
        out = quantized(scope, f"{segment.name}.out", segment.ffn_out)
        added = weight(bias_name, bias) if index == 0 and bias is not None else ""
        terms.append(_dynamic_matmul(scope, active, out, added))
    return terms


def _linear_int8(scope: Scope, value: str, name: str, matrix: Array, bias: Array) -> str:
    return _dynamic_matmul(scope, value, quantized(scope, name, matrix), scope.builder.weight(f"{name}_bias", bias))


def _dynamic_matmul(scope: Scope, value: str, matrix: tuple[str, str], bias: str) -> str:
    """Append a product that quantises its float input; `bias` is "" for all but the first segment, always kept."""
    inputs = [value, *matrix, *(["", bias] if bias else [])]
    return scope.value("DynamicQuantizeMatMul", inputs, domain=CONTRIB)


def _mask(scope: Scope, given: str) -> str:
    """Cast the mask to int32, as the attention operators need."""
    return scope.value("Cast", [given], to=TensorProto.INT32)


RECIPES = {
    "fp32": Recipe(_attention_float, _ffn_float, linear, _lookup_float, _mask, _activate, added_at_once),
    "int8": Recipe(_attention_int8, _ffn_int8, _linear_int8, _lookup_int8, _mask, _activate, added_at_once),
    "fp16": Recipe(_attention_float, _ffn_float, linear, _lookup_float, _mask, _activate, added_at_once, np.float16),
}
"""Precision -> recipe of the fastest operators. The fp16 ones have kernels on GPUs; a CPU runs them in float32."""

_APART = partial(_attention_float, fused=False)
"""Attention whose products are operators of their own."""

OPERATORS: Mapping[str, Mapping[str, Recipe]] = {
    "fast": RECIPES,
    "standard": {"fp32": standard_recipe(np.float32), "fp16": standard_recipe(np.float16)},
    "gpu": {name: for_gpus(replace(RECIPES[name], attention=_APART)) for name in ("fp32", "fp16")},
}
"""Name of a table of operators -> precision -> recipe. `standard` has no ONNX Runtime operators, for other engines;
`gpu` has those that it runs fastest on CUDA."""
