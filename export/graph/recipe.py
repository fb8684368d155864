"""What a table of operators must give: the parts of a layer, for one precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from gearshift.export.graph.builder import Scope
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment

Rows = Callable[[Scope, str], str]
"""Picks the token rows that the rest of the net needs: all of them, or the first where only that is classified."""
Attention = Callable[[Scope, str, str, Sequence[HeadSegment], Array, str, Rows], list[str]]
Ffn = Callable[[Scope, str, Sequence[NeuronSegment], Array, str], list[str]]
Linear = Callable[[Scope, str, str, Array, Array], str]
"""A value times a matrix (inputs, outputs) of a name, plus a bias; of a layer of its own, not of a segment."""
Lookup = Callable[[Scope, str, Array, str], str]
Operator = Callable[[Scope, str], str]
"""One value in, one value out."""


@dataclass(frozen=True)
class Recipe:
    """How one precision computes what nets are made of.

    Attention and FFN give the names of values to be added up; the residual and the norm are the caller's.
    """

    attention: Attention
    ffn: Ffn
    linear: Linear
    lookup: Lookup
    """Rows of the word table."""
    mask: Operator
    """What `attention` takes, of the int64 mask (batch, tokens); put into the root graph once."""
    gelu: Operator
    """Gelu by itself."""
    floats: type[np.floating] = np.float32
    """What float weights and values are held in."""

    def to_float32(self, scope: Scope, value: str) -> str:
        """A value of this recipe as float32, which is what a graph gives out."""
        return value if self.floats is np.float32 else scope.value("Cast", [value], to=TensorProto.FLOAT)
