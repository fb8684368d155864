"""Recipe: the interface of a table of operators, which builds the parts of a layer at one precision."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from gearshift.export.graph.blocks import Blocks
from gearshift.export.graph.builder import Scope
from gearshift.export.graph.disentangled import Skew
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment, Norm


@dataclass(frozen=True)
class View:
    """Names of the values by which a layer's attention sees a text: they lie in the root graph."""

    mask: str
    """Mask in the form that `Recipe.mask` gives it."""
    bias: str = ""
    """Numbers added to the scores, (1, heads or 1, queries, keys); empty for none. With several heads, they are those
    of relative positions, of which each segment takes its own."""
    rotation: tuple[str, str] | None = None
    """Cosines and sines of rotary positions, (positions, head_size / 2); None without."""

    blocks: Blocks | None = None
    """Blocks that the text is cut into for a window; mask and bias are then those of a block. None without."""
    skew: Skew | None = None
    """Values that terms of disentangled attention need; None without."""

    @property
    def plain(self) -> bool:
        """Whether nothing but the mask decides which tokens are seen, and how."""
        return not self.bias and self.rotation is None and self.skew is None


Rows = Callable[[Scope, str], str]
"""Function that selects the tokens that the rest of the net needs: all, or the first if only that one is classified."""
Attention = Callable[[Scope, str, View, Sequence[HeadSegment], Array | None, str, Rows], list[str]]
Ffn = Callable[[Scope, str, Sequence[NeuronSegment], Array | None, str], list[str]]
Linear = Callable[[Scope, str, str, Array, Array], str]
"""Function that appends value x matrix + bias; (scope, value, name, matrix (inputs, outputs), bias) -> result.

It is for layers of their own, not for segments.
"""
Lookup = Callable[[Scope, str, Array, str], str]
Operator = Callable[[Scope, str], str]
"""Function that appends an operator with one input and one output."""
Add = Callable[[Scope, Sequence[str]], str]
"""Function that appends the sum of two or more terms: (scope, terms) -> sum."""
AddNorm = Callable[[Scope, Sequence[str], Norm, str, float], str]
"""Function that appends the norm of a sum: (scope, terms, scales and shifts, name of these, epsilon) -> normed sum."""
Activate = Callable[[Scope, str, str], str]
"""Function that appends an activation, named as in `shape.ACTIVATIONS`, or `tanh`: (scope, name, value) -> result."""


@dataclass(frozen=True)
class Recipe:
    """Operators of one precision for all parts of a net.

    Attention and FFN return the names of the terms of a sum; the caller adds the residual and the norm.
    """

    attention: Attention
    ffn: Ffn
    linear: Linear
    lookup: Lookup
    """Look-up of rows of the word table."""
    mask: Operator
    """Conversion of the int64 mask (batch, tokens) to the form that `attention` takes; once, in the root graph."""
    activate: Activate
    """Activation as an operator of its own."""
    add: Add
    """Sum of the terms of a half-layer and what is added to them."""
    floats: type[np.floating] = np.float32
    """Float type of weights and values."""
    blocks: bool = True
    """Whether attention within windows goes block by block where texts are long; otherwise windows are masked."""

    add_norm: AddNorm | None = None
    """Sum of the terms of a half-layer and what is added to them, with the norm behind it; None: two operators."""

    def to_float32(self, scope: Scope, value: str) -> str:
        """Cast a value of this recipe to float32, the type of a graph's output."""
        return value if self.floats is np.float32 else scope.value("Cast", [value], to=TensorProto.FLOAT)

    def from_float32(self, scope: Scope, value: str) -> str:
        """Cast a float32 value to the type of this recipe."""
        return value if self.floats is np.float32 else scope.value("Cast", [value], to=TensorProto.FLOAT16)


def added_at_once(scope: Scope, terms: Sequence[str]) -> str:
    """Append one operator for a sum."""
    return scope.value("Sum", terms)


def added_in_turn(scope: Scope, terms: Sequence[str]) -> str:
    """Append an addition for each term but the first, in the order in which `Sum` adds them up.

    WebGPU has no `Sum` in ONNX Runtime: its terms would be copied to the CPU, and the result back.
    """
    return functools.reduce(lambda total, term: scope.value("Add", [total, term]), terms)


def bias_term(scope: Scope, name: str, bias: Array | None) -> list[str]:
    """Return the term of a sum that an output bias is; none without one."""
    return [] if bias is None else [scope.builder.weight(name, bias)]


def gated(scope: Scope, inner: str, activate: Operator) -> str:
    """Append activation x gate, for columns (batch, tokens, 2 x neurons): those to activate, then the gates."""
    active, gate = scope.node("Split", [inner], outputs=2, axis=-1, num_outputs=2)
    return scope.value("Mul", [activate(scope, active), gate])


def own_bias(scope: Scope, view: View, segment: HeadSegment) -> str:
    """Return the numbers added to the scores of a segment's heads: those of its heads, if each head has its own."""
    if segment.head_ids is None or not view.bias:
        return view.bias
    ids = scope.builder.weight(f"{segment.name}.head_ids", segment.head_ids)
    return scope.value("Gather", [view.bias, ids], axis=1)
