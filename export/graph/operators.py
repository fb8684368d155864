"""Operators of a half-layer (attention or FFN) for each precision: tables that a benchmark can rewrite.

They were chosen by measured time, with graph optimisation off, so that ONNX Runtime does not undo the choice. A recipe
takes the input of the half-layer and returns the terms of a sum: one per segment, and the output bias if no operator
adds it. Plain `Sum` and `LayerNormalization` follow, as the fused `SkipLayerNormalization` is slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from gearshift.export.graph.builder import CONTRIB, Scope
from gearshift.export.graph.quantize import TABLE_BITS, quantize
from gearshift.export.graph.recipe import Recipe, Rows
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment
from gearshift.export.graph.standard import linear, standard_recipe


def _attention_float(
    scope: Scope, hidden: str, mask: str, segments: Sequence[HeadSegment], bias: Array, bias_name: str, rows: Rows
) -> list[str]:
    weight = scope.builder.weight
    terms = []
    for segment in segments:
        context = scope.value(
            "Attention",
            [
                hidden,
                weight(f"{segment.name}.qkv", segment.qkv),
                weight(f"{segment.name}.qkv_bias", segment.qkv_bias),
                mask,
            ],
            domain=CONTRIB,
            num_heads=segment.heads,
        )
        output = weight(f"{segment.name}.output", segment.output)
        terms.append(scope.value("MatMul", [rows(scope, context), output]))
    return [*terms, weight(bias_name, bias)]


def _ffn_float(scope: Scope, hidden: str, segments: Sequence[NeuronSegment], bias: Array, bias_name: str) -> list[str]:
    weight = scope.builder.weight
    terms = []
    for segment in segments:
        inner = scope.value("MatMul", [hidden, weight(f"{segment.name}.in", segment.ffn_in)])
        inner_bias = weight(f"{segment.name}.in_bias", segment.ffn_in_bias)
        active = scope.value("BiasGelu", [inner, inner_bias], domain=CONTRIB)
        terms.append(scope.value("MatMul", [active, weight(f"{segment.name}.out", segment.ffn_out)]))
    return [*terms, weight(bias_name, bias)]


def _lookup_float(scope: Scope, name: str, table: Array, ids: str) -> str:
    return scope.value("Gather", [scope.builder.weight(name, table), ids])


def quantized(scope: Scope, name: str, matrix: Array) -> tuple[str, str, str]:
    """Store an int8 matrix, and return the names of its values, scales and zero points."""
    names = (name, f"{name}.scale", f"{name}.zero")
    if not scope.builder.has_weight(name):  # every option of the stage asks for the same segments
        packed = quantize(matrix)
        for part, array in zip(names, (packed.values, packed.scales, packed.zero_points), strict=True):
            scope.builder.weight(part, array)
    return names


def _lookup_int8(scope: Scope, name: str, table: Array, ids: str) -> str:
    """Append the look-up of 8-bit rows with a scale each; they enter no integer product, so that nothing overflows."""
    rows, scales = f"{name}.rows", f"{name}.scales"
    if not scope.builder.has_weight(rows):
        packed = quantize(table.T, bits=TABLE_BITS)
        scope.builder.weight(rows, packed.values.T)
        scope.builder.weight(scales, packed.scales[:, None])
    words = scope.value("Cast", [scope.value("Gather", [rows, ids])], to=TensorProto.FLOAT)
    return scope.value("Mul", [words, scope.value("Gather", [scales, ids])])


def _attention_int8(
    scope: Scope, hidden: str, mask: str, segments: Sequence[HeadSegment], bias: Array, bias_name: str, rows: Rows
) -> list[str]:
    weight = scope.builder.weight
    values, scale, zero = scope.node("DynamicQuantizeLinear", [hidden], outputs=3)
    terms = []
    for index, segment in enumerate(segments):
        qkv, qkv_scale, qkv_zero = quantized(scope, f"{segment.name}.qkv", segment.qkv)
        qkv_bias = weight(f"{segment.name}.qkv_bias", segment.qkv_bias)
        context = scope.value(
            "QAttention",
            [values, qkv, qkv_bias, scale, qkv_scale, mask, zero, qkv_zero],
            domain=CONTRIB,
            num_heads=segment.heads,
        )
        output = quantized(scope, f"{segment.name}.output", segment.output)
        terms.append(
            _dynamic_matmul(scope, rows(scope, context), output, weight(bias_name, bias) if index == 0 else "")
        )
    return terms


def _ffn_int8(scope: Scope, hidden: str, segments: Sequence[NeuronSegment], bias: Array, bias_name: str) -> list[str]:
    weight = scope.builder.weight
    values, scale, zero = scope.node("DynamicQuantizeLinear", [hidden], outputs=3)
    terms = []
    for index, segment in enumerate(segments):
        into, into_scale, into_zero = quantized(scope, f"{segment.name}.in", segment.ffn_in)
        inner_bias = weight(f"{segment.name}.in_bias", segment.ffn_in_bias)
        inner = scope.value(
            "MatMulIntegerToFloat",
            [values, into, scale, into_scale, zero, into_zero, inner_bias],
            domain=CONTRIB,
        )
        active = scope.value("Gelu", [inner], domain=CONTRIB)
        out = quantized(scope, f"{segment.name}.out", segment.ffn_out)
        terms.append(_dynamic_matmul(scope, active, out, weight(bias_name, bias) if index == 0 else ""))
    return terms


def _linear_int8(scope: Scope, value: str, name: str, matrix: Array, bias: Array) -> str:
    return _dynamic_matmul(scope, value, quantized(scope, name, matrix), scope.builder.weight(f"{name}_bias", bias))


def _dynamic_matmul(scope: Scope, value: str, matrix: tuple[str, str, str], bias: str) -> str:
    """Append a product that quantises its float input; `bias` is "" for all but the first segment, always kept."""
    values, scales, zeros = matrix
    inputs = [value, values, scales, zeros, *([bias] if bias else [])]
    return scope.value("DynamicQuantizeMatMul", inputs, domain=CONTRIB)


def _mask(scope: Scope, given: str) -> str:
    """Cast the mask to int32, as the attention operators need."""
    return scope.value("Cast", [given], to=TensorProto.INT32)


def _gelu(scope: Scope, value: str) -> str:
    return scope.value("Gelu", [value], domain=CONTRIB)


RECIPES = {
    "fp32": Recipe(_attention_float, _ffn_float, linear, _lookup_float, _mask, _gelu),
    "int8": Recipe(_attention_int8, _ffn_int8, _linear_int8, _lookup_int8, _mask, _gelu),
    "fp16": Recipe(_attention_float, _ffn_float, linear, _lookup_float, _mask, _gelu, np.float16),
}
"""Precision -> recipe of the fastest operators. The fp16 ones have kernels on GPUs; a CPU runs them in float32."""

OPERATORS: Mapping[str, Mapping[str, Recipe]] = {
    "fast": RECIPES,
    "standard": {"fp32": standard_recipe(np.float32), "fp16": standard_recipe(np.float16)},
}
"""Name of a table of operators -> precision -> recipe. `standard` has no ONNX Runtime operators, for other engines."""
