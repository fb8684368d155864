"""Disentangled attention (DeBERTa) of a graph: terms of the scores by relative position.

Vectors of relative positions enter no text, so that their products with the matrices of a layer are stored. A text of T
tokens needs those of 2 T distances, one column each; a product with T queries is then skewed: row i, whose columns are
distances, is moved by i places, which makes its columns keys (as in Transformer-XL, Dai et al. 2019,
https://arxiv.org/abs/1901.02860, appendix B).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gearshift.export.graph.builder import Scope
from gearshift.export.graph.segments import PositionTables
from gearshift.runtime.space.shape import EncoderShape
from gearshift.trainer.model.encoder.positions import log_bucket_of

TO_THE_END = 2**62
"""End of a slice that goes on to the last place."""


@dataclass(frozen=True)
class Skew:
    """Names of the values of the root graph that skew the terms of all layers."""

    rows: tuple[str, str]
    """Rows of the vectors for the columns of a product with queries, and with keys, (2 x tokens,)."""
    length: str
    """Number of tokens, (1,)."""
    square: str
    """Shape (0, 0, tokens, -1)."""


def append_skew(scope: Scope, shape: EncoderShape, places: str, length: str) -> Skew:
    """Append what skews the terms of all layers to the root graph.

    `places`: 0, 1, 2 ... of the tokens, (tokens,). Columns of a product are the distances -tokens, ..., tokens - 1 from
    its row's token, of which the first is beyond the text.
    """
    builder = scope.builder
    behind = scope.value("Sub", [places, length])
    columns = scope.value("Concat", [behind, places], axis=0)
    middle = builder.constant("positions", shape.positions)
    shifted = scope.value("Add", [columns, middle])
    distances = torch.arange(-shape.positions, shape.positions)
    buckets = {
        f"position_rows.{name}": log_bucket_of(side, shape.position_buckets, shape.position_farthest).numpy()
        for name, side in (("c2p", -distances), ("p2c", distances))
    }
    queries, keys = (scope.value("Gather", [builder.weight(name, of), shifted]) for name, of in buckets.items())
    batch, rest = builder.constant("same_axes", [0, 0]), builder.constant("rest_of_axis", [-1])
    return Skew((queries, keys), length, scope.value("Concat", [batch, length, rest], axis=0))


def position_scores(scope: Scope, skew: Skew, name: str, tables: PositionTables, query: str, key: str) -> str:
    """Append the terms of the scores of a segment, (batch, heads, tokens, tokens).

    `name`: that of the segment. `query`, `key`: (batch, tokens, heads, head_size).
    """
    sides = zip(("position_keys", "position_queries"), tables, skew.rows, (query, key), strict=True)
    terms = []
    for part, table, rows, side in sides:
        if table is None:
            continue
        near = scope.value("Gather", [scope.builder.weight(f"{name}.{part}", table), rows])
        vectors = scope.value("Transpose", [near], perm=[1, 2, 0])  # (heads, head_size, 2 x tokens)
        product = scope.value("MatMul", [scope.value("Transpose", [side], perm=[0, 2, 1, 3]), vectors])
        skewed = _skewed(scope, skew, product)
        terms.append(skewed if side == query else scope.value("Transpose", [skewed], perm=[0, 1, 3, 2]))
    return terms[0] if len(terms) == 1 else scope.value("Add", terms)


def _skewed(scope: Scope, skew: Skew, product: str) -> str:
    """Append (batch, heads, tokens, 2 x tokens) -> (batch, heads, tokens, tokens): column j - i + T of row i is key j.

    Without the first T numbers, rows of 2 T - 1 begin one place further on each time.
    """
    constant = scope.builder.constant
    flat = scope.value("Reshape", [product, constant("flat_rows", [0, 0, -1])])
    end, axis = constant("to_the_end", [TO_THE_END]), constant("flat_axis", [2])
    rows = scope.value("Reshape", [scope.value("Slice", [flat, skew.length, end, axis]), skew.square])
    return scope.value("Slice", [rows, constant("from_first", [0]), skew.length, constant("key_axis", [3])])
