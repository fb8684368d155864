"""The embeddings of the elastic graph: words, positions and token types, summed, normalised and projected."""

from __future__ import annotations

from collections.abc import Callable

from gearshift.export.builder import Scope
from gearshift.export.heads import linear
from gearshift.export.recipe import Recipe
from gearshift.export.segments import Array, Weights

Norm = Callable[[Scope, str, str, tuple[Array, Array]], str]
"""Puts a layer norm of a value, under a name, with its scale and shift into a scope."""


def embed(scope: Scope, weights: Weights, recipe: Recipe, input_ids: str, token_types: str | None, norm: Norm) -> str:
    """(batch, tokens) ids -> (batch, tokens, hidden); without token types where the model has none."""
    builder = scope.builder
    length = scope.value("Shape", [input_ids], start=1, end=2)
    position_table = builder.weight("embeddings.position.weight", weights["embeddings.position.weight"])
    positions = scope.value("Slice", [position_table, builder.constant("from_first", [0]), length])
    words = recipe.lookup(scope, "embeddings.word.weight", weights["embeddings.word.weight"], input_ids)
    summed = words
    if token_types is not None:
        type_table = builder.weight("embeddings.token_type.weight", weights["embeddings.token_type.weight"])
        summed = scope.value("Add", [words, scope.value("Gather", [type_table, token_types])])
    summed = scope.value("Add", [summed, positions])
    shift_and_scale = (weights["embeddings.norm.weight"], weights["embeddings.norm.bias"])
    normed = norm(scope, summed, "embeddings.norm", shift_and_scale)
    return linear(scope, weights, normed, "embeddings.project") if "embeddings.project.weight" in weights else normed
