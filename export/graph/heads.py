"""Embeddings and task heads of the elastic graph: the first and the last step of every subnet."""

from __future__ import annotations

from collections.abc import Callable

from gearshift.export.graph.builder import Scope
from gearshift.export.graph.recipe import Recipe
from gearshift.export.graph.segments import Norm, Weights
from gearshift.export.graph.vectors import pooled, vectors
from gearshift.trainer.model.elastic import POOLED, Head


def needs_first_only(head: Head) -> bool:
    """Return whether the answer depends on the first token's state alone."""
    return (head.task in POOLED or head.task == "embedding") and head.poolings == ("first",)


def answer(
    scope: Scope,
    weights: Weights,
    head: Head,
    recipe: Recipe,
    states: str,
    mask: str,
    norm: AppendNorm,
    own: str = "",
) -> str:
    """Append the head and return its answer in float32.

    `states`: last states, shape (batch, hidden) of the first token if the head needs no other, else
    (batch, tokens, hidden). `mask`: int64 attention mask, shape (batch, tokens). `own`: prefix of the names of its
    weights, if it is one of several heads.
    """
    if head.task == "embedding":
        states = recipe.to_float32(scope, states)  # float16 cannot represent the square of a length
        return vectors(scope, weights, head, states, mask)
    product = linear
    if head.task in POOLED:
        product = _gemm
        if head.poolings != ("first",):
            states = recipe.from_float32(scope, pooled(scope, head, recipe.to_float32(scope, states), mask))
    if head.pools:
        states = recipe.activate(scope, head.activation, product(scope, weights, states, f"{own}pooler"))
    if head.pools and head.prediction:
        states = norm(scope, states, f"{own}pooler_norm", (weights[f"{own}pooler_norm.weight"], None))
    return recipe.to_float32(scope, product(scope, weights, states, f"{own}classifier"))


def first_row(scope: Scope, value: str) -> str:
    """Select the first token: (batch, tokens, width) -> (batch, width)."""
    return scope.value("Gather", [value, scope.builder.constant("first_token", 0)], axis=1)


def linear(scope: Scope, weights: Weights, value: str, name: str) -> str:
    """Append a linear layer over the last of three axes."""
    matrix = scope.builder.weight(f"{name}.weight", weights[f"{name}.weight"].T)
    product = scope.value("MatMul", [value, matrix])
    bias = weights.get(f"{name}.bias")
    return product if bias is None else scope.value("Add", [product, scope.builder.weight(f"{name}.bias", bias)])


def _gemm(scope: Scope, weights: Weights, value: str, name: str) -> str:
    names = [each for each in (f"{name}.weight", f"{name}.bias") if each in weights]
    return scope.value("Gemm", [value, *(scope.builder.weight(each, weights[each]) for each in names)], transB=1)


AppendNorm = Callable[[Scope, str, str, Norm], str]
"""Function that appends a layer norm to a scope: (scope, value, name, its scales and shifts) -> result."""


def embed(
    scope: Scope, weights: Weights, recipe: Recipe, input_ids: str, token_types: str | None, norm: AppendNorm
) -> str:
    """Append the embeddings: ids (batch, tokens) -> (batch, tokens, hidden).

    `token_types`: name of their ids; None if the model has none.
    """
    builder = scope.builder
    position_table = weights.get("embeddings.position.weight")
    positions = ""
    if position_table is not None:
        length = scope.value("Shape", [input_ids], start=1, end=2)
        table = builder.weight("embeddings.position.weight", position_table)
        positions = scope.value("Slice", [table, builder.constant("from_first", [0]), length])
    words = recipe.lookup(scope, "embeddings.word.weight", weights["embeddings.word.weight"], input_ids)
    summed = words
    if token_types is not None:
        type_table = builder.weight("embeddings.token_type.weight", weights["embeddings.token_type.weight"])
        summed = scope.value("Add", [words, scope.value("Gather", [type_table, token_types])])
    if positions:
        summed = scope.value("Add", [summed, positions])
    own = (weights["embeddings.norm.weight"], weights.get("embeddings.norm.bias"))
    if "embeddings.project.weight" not in weights:
        return norm(scope, summed, "embeddings.norm", own)
    if len(own[0]) != weights["embeddings.project.weight"].shape[1]:  # the norm is that of projected embeddings
        return norm(scope, linear(scope, weights, summed, "embeddings.project"), "embeddings.norm", own)
    return linear(scope, weights, norm(scope, summed, "embeddings.norm", own), "embeddings.project")
