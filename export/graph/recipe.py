"""Recipe: the interface of a table of operators, which builds the parts of a layer at one precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from gearshift.export.graph.builder import Scope
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment

Rows = Callable[[Scope, str], str]
"""Function that selects the tokens that the rest of the net needs: all, or the first if only that one is classified."""
Attention = Callable[[Scope, str, str, Sequence[HeadSegment], Array, str, Rows], list[str]]
Ffn = Callable[[Scope, str, Sequence[NeuronSegment], Array, str], list[str]]
Linear = Callable[[Scope, str, str, Array, Array], str]
"""Function that appends value x matrix + bias; (scope, value, name, matrix (inputs, outputs), bias) -> result.

It is for layers of their own, not for segments.
"""
Lookup = Callable[[Scope, str, Array, str], str]
Operator = Callable[[Scope, str], str]
"""Function that appends an operator with one input and one output."""


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
    gelu: Operator
    """GELU as an operator of its own."""
    floats: type[np.floating] = np.float32
    """Float type of weights and values."""

    def to_float32(self, scope: Scope, value: str) -> str:
        """Cast a value of this recipe to float32, the type of a graph's output."""
        return value if self.floats is np.float32 else scope.value("Cast", [value], to=TensorProto.FLOAT)
