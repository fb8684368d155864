"""Recipe of standard ONNX operators only (opset 18), for other engines.

ONNX has `Gelu` from opset 20 and `Attention` from opset 23; here they are built from smaller operators.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import helper

from gearshift.export.graph.builder import Scope
from gearshift.export.graph.recipe import Recipe, Rows
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment

MASKED = -10000.0
"""Number added to the score of a padded token, whose share then underflows to 0.

float16 (up to 65504) can represent it. ONNX Runtime's own `Attention` adds the same number.
"""


def standard_recipe(floats: type[np.floating]) -> Recipe:
    """Return the recipe for values of type `floats`."""

    def number(scope: Scope, name: str, value: float) -> str:
        return scope.builder.weight(name, np.array(value, floats))

    def mask(scope: Scope, given: str) -> str:
        """Append the mask (batch, 1, 1, tokens): 0 for a real token, MASKED for padding."""
        real = scope.value("Cast", [given], to=helper.np_dtype_to_tensor_dtype(np.dtype(floats)))
        padded = scope.value("Sub", [number(scope, "one", 1), real])
        added = scope.value("Mul", [padded, number(scope, "masked", MASKED)])
        return scope.value("Unsqueeze", [added, scope.builder.constant("score_axes", [1, 2])])

    def gelu(scope: Scope, value: str) -> str:
        """Append GELU: x / 2 * (1 + erf(x / sqrt 2))."""
        erf = scope.value("Erf", [scope.value("Mul", [value, number(scope, "half_root", 0.5**0.5)])])
        doubled = scope.value("Mul", [value, scope.value("Add", [erf, number(scope, "one", 1)])])
        return scope.value("Mul", [doubled, number(scope, "half", 0.5)])

    def ffn(scope: Scope, hidden: str, segments: Sequence[NeuronSegment], bias: Array, bias_name: str) -> list[str]:
        terms = []
        for segment in segments:
            inner = linear(scope, hidden, f"{segment.name}.in", segment.ffn_in, segment.ffn_in_bias)
            out = scope.builder.weight(f"{segment.name}.out", segment.ffn_out)
            terms.append(scope.value("MatMul", [gelu(scope, inner), out]))
        return [*terms, scope.builder.weight(bias_name, bias)]

    return Recipe(_attention, ffn, linear, _lookup, mask, gelu, floats)


def _attention(
    scope: Scope, hidden: str, mask: str, segments: Sequence[HeadSegment], bias: Array, bias_name: str, rows: Rows
) -> list[str]:
    weight = scope.builder.weight
    terms = []
    for segment in segments:
        output = weight(f"{segment.name}.output", segment.output)
        terms.append(scope.value("MatMul", [rows(scope, _context(scope, hidden, mask, segment)), output]))
    return [*terms, weight(bias_name, bias)]


def _context(scope: Scope, hidden: str, mask: str, segment: HeadSegment) -> str:
    """Append softmax(q k / sqrt(head_size) + mask) v of a segment's heads, shape (batch, tokens, heads * head_size)."""
    size = len(segment.output) // segment.heads
    qkv = linear(scope, hidden, f"{segment.name}.qkv", segment.qkv, segment.qkv_bias)
    apart = scope.builder.constant(f"split_{segment.heads}_heads", [0, 0, segment.heads, size])
    query, key, value = (
        scope.value("Transpose", [scope.value("Reshape", [part, apart])], perm=order)
        for part, order in zip(
            scope.node("Split", [qkv], outputs=3, axis=-1, num_outputs=3),
            ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]),
            strict=True,
        )
    )
    # Scaled before the product, so that it does not overflow in float16.
    scale = scope.builder.weight("score_scale", np.array(size**-0.5, segment.qkv.dtype))
    scores = scope.value("MatMul", [scope.value("Mul", [query, scale]), key])
    shares = scope.value("Softmax", [scope.value("Add", [scores, mask])], axis=-1)
    context = scope.value("Transpose", [scope.value("MatMul", [shares, value])], perm=[0, 2, 1, 3])
    together = scope.builder.constant(f"join_{segment.heads}_heads", [0, 0, segment.heads * size])
    return scope.value("Reshape", [context, together])


def linear(scope: Scope, value: str, name: str, matrix: Array, bias: Array) -> str:
    """Append value x matrix + bias, in any float type."""
    product = scope.value("MatMul", [value, scope.builder.weight(name, matrix)])
    return scope.value("Add", [product, scope.builder.weight(f"{name}_bias", bias)])


def _lookup(scope: Scope, name: str, table: Array, ids: str) -> str:
    return scope.value("Gather", [scope.builder.weight(name, table), ids])
