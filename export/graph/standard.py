"""Recipe of standard ONNX operators only (opset 18), for other engines.

ONNX has `Gelu` from opset 20 and `Attention` from opset 23; here they are built from smaller operators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from onnx import helper

from gearshift.export.graph.builder import Scope
from gearshift.export.graph.disentangled import position_scores
from gearshift.export.graph.recipe import Activate, Recipe, Rows, View, added_in_turn, bias_term, gated, own_bias
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment
from gearshift.trainer.model.encoder.activations import QUICK_GELU

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

    def activate(scope: Scope, name: str, value: str) -> str:
        """Append an activation, built from smaller operators."""

        def times(factor: float, label: str, value: str) -> str:
            return scope.value("Mul", [value, number(scope, label, factor)])

        if name in ("tanh", "relu"):
            return scope.value(name.capitalize(), [value])
        if name in ("silu", "quick_gelu"):
            scaled = value if name == "silu" else times(QUICK_GELU, "quick_gelu", value)
            return scope.value("Mul", [value, scope.value("Sigmoid", [scaled])])
        if name == "gelu":  # x / 2 * (1 + erf(x / sqrt 2))
            grown = scope.value("Erf", [times(0.5**0.5, "half_root", value)])
        else:  # x / 2 * (1 + tanh(sqrt(2 / pi) * x * (1 + 0.044715 x^2)))
            square = times(0.044715, "cubic", scope.value("Mul", [value, value]))
            rising = scope.value("Add", [square, number(scope, "one", 1)])
            grown = scope.value(
                "Tanh", [scope.value("Mul", [times((2 / math.pi) ** 0.5, "root_of_share", value), rising])]
            )
        doubled = scope.value("Mul", [value, scope.value("Add", [grown, number(scope, "one", 1)])])
        return times(0.5, "half", doubled)

    def ffn(
        scope: Scope, hidden: str, segments: Sequence[NeuronSegment], bias: Array | None, bias_name: str
    ) -> list[str]:
        terms = []
        for segment in segments:
            inner = linear(scope, hidden, f"{segment.name}.in", segment.ffn_in, segment.ffn_in_bias)
            out = scope.builder.weight(f"{segment.name}.out", segment.ffn_out)
            own = partial(_named, activate, segment.activation)
            active = gated(scope, inner, own) if segment.gated else own(scope, inner)
            terms.append(scope.value("MatMul", [active, out]))
        return [*terms, *bias_term(scope, bias_name, bias)]

    return Recipe(_attention, ffn, linear, _lookup, mask, activate, added_in_turn, floats)


def _named(activate: Activate, name: str, scope: Scope, value: str) -> str:
    return activate(scope, name, value)


def _attention(
    scope: Scope,
    hidden: str,
    view: View,
    segments: Sequence[HeadSegment],
    bias: Array | None,
    bias_name: str,
    rows: Rows,
) -> list[str]:
    weight = scope.builder.weight
    terms = []
    for segment in segments:
        output = weight(f"{segment.name}.output", segment.output)
        terms.append(scope.value("MatMul", [rows(scope, _context(scope, hidden, view, segment)), output]))
    return [*terms, *bias_term(scope, bias_name, bias)]


def _context(scope: Scope, hidden: str, view: View, segment: HeadSegment) -> str:
    """Append softmax(q k / sqrt(head_size) + mask) v of a segment's heads, shape (batch, tokens, heads * head_size)."""
    size = len(segment.output) // segment.heads
    qkv = linear(scope, hidden, f"{segment.name}.qkv", segment.qkv, segment.qkv_bias)
    apart = scope.builder.constant(f"split_{segment.heads}_heads", [0, 0, segment.heads, size])
    together = scope.builder.constant(f"join_{segment.heads}_heads", [0, 0, segment.heads * size])
    sides: list[str] = []
    parts: list[str] = []
    for part, order in zip(
        scope.node("Split", [qkv], outputs=3, axis=-1, num_outputs=3),
        ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]),
        strict=True,
    ):
        value = scope.value("Reshape", [part, apart])
        if view.rotation is not None and len(parts) < 2:  # values have no positions
            value = _rotated(scope, value, view.rotation)
        if view.blocks is not None:
            cut = view.blocks.of_keys if parts else view.blocks.of_queries  # keys and values behind queries
            value = scope.value("Reshape", [cut(scope, scope.value("Reshape", [value, together])), apart])
        sides.append(value)
        parts.append(scope.value("Transpose", [value], perm=order))
    query, key, value = parts
    # Scaled before the product, so that it does not overflow in float16.
    scale = scope.builder.weight("score_scale", np.array(size**-0.5, segment.qkv.dtype))
    scores = scope.value("MatMul", [scope.value("Mul", [query, scale]), key])
    by_position = ""
    if view.skew is not None:
        by_position = position_scores(scope, view.skew, segment.name, segment.position_tables, *sides[:2])
    for added in (view.mask, own_bias(scope, view, segment), by_position):
        scores = scope.value("Add", [scores, added]) if added else scores
    shares = scope.value("Softmax", [scores], axis=-1)
    context = scope.value("Transpose", [scope.value("MatMul", [shares, value])], perm=[0, 2, 1, 3])
    joined = scope.value("Reshape", [context, together])
    return joined if view.blocks is None else view.blocks.joined(scope, joined)


def _rotated(scope: Scope, value: str, rotation: tuple[str, str]) -> str:
    """Append the rotation of (batch, tokens, heads, head_size) by angles of (tokens, head_size / 2)."""
    heads = scope.builder.constant("token_axis", [1])
    cosines, sines = (scope.value("Unsqueeze", [part, heads]) for part in rotation)
    first, second = scope.node("Split", [value], outputs=2, axis=-1, num_outputs=2)

    def times(value: str, factor: str) -> str:
        return scope.value("Mul", [value, factor])

    turned = (
        scope.value("Sub", [times(first, cosines), times(second, sines)]),
        scope.value("Add", [times(second, cosines), times(first, sines)]),
    )
    return scope.value("Concat", turned, axis=-1)


def linear(scope: Scope, value: str, name: str, matrix: Array, bias: Array | None) -> str:
    """Append value x matrix + bias, in any float type."""
    product = scope.value("MatMul", [value, scope.builder.weight(name, matrix)])
    if bias is None:
        return product
    return scope.value("Add", [product, scope.builder.weight(f"{name}_bias", bias)])


def _lookup(scope: Scope, name: str, table: Array, ids: str) -> str:
    return scope.value("Gather", [scope.builder.weight(name, table), ids])
