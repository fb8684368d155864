"""Embeddings and task heads of the elastic graph: the first and the last step of every subnet."""

from __future__ import annotations

from collections.abc import Callable

from gearshift.export.graph.builder import Scope
from gearshift.export.graph.recipe import Recipe
from gearshift.export.graph.segments import Array, Weights
from gearshift.export.graph.vectors import vectors
from gearshift.trainer.model.elastic import POOLED, Head

_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu"}


def needs_first_only(head: Head) -> bool:
    """Return whether the answer depends on the first token's state alone."""
    return head.task in POOLED or (head.task == "embedding" and head.poolings == ("first",))


def answer(scope: Scope, weights: Weights, head: Head, recipe: Recipe, states: str, mask: str) -> str:
    """Append the head and return its answer in float32.

    `states`: last states, shape (batch, hidden) of the first token if the head needs no other, else
    (batch, tokens, hidden). `mask`: int64 attention mask, shape (batch, tokens).
    """
    if head.task == "embedding":
        states = recipe.to_float32(scope, states)  # float16 cannot represent the square of a length
        return vectors(scope, weights, head, states, mask)
    if head.task in POOLED:
        pooled = _activated(scope, head, recipe, _gemm(scope, weights, states, "pooler"))
        return recipe.to_float32(scope, _gemm(scope, weights, pooled, "classifier"))
    return recipe.to_float32(scope, linear(scope, weights, states, "classifier"))


def _activated(scope: Scope, head: Head, recipe: Recipe, value: str) -> str:
    if head.activation == "gelu":
        return recipe.gelu(scope, value)
    return scope.value(_ACTIVATIONS[head.activation], [value])


def first_row(scope: Scope, value: str) -> str:
    """Select the first token: (batch, tokens, width) -> (batch, width)."""
    return scope.value("Gather", [value, scope.builder.constant("first_token", 0)], axis=1)


def linear(scope: Scope, weights: Weights, value: str, name: str) -> str:
    """Append a linear layer over the last of three axes."""
    matrix = scope.builder.weight(f"{name}.weight", weights[f"{name}.weight"].T)
    product = scope.value("MatMul", [value, matrix])
    return scope.value("Add", [product, scope.builder.weight(f"{name}.bias", weights[f"{name}.bias"])])


def _gemm(scope: Scope, weights: Weights, value: str, name: str) -> str:
    weight, bias = (scope.builder.weight(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return scope.value("Gemm", [value, weight, bias], transB=1)


Norm = Callable[[Scope, str, str, tuple[Array, Array]], str]
"""Function that appends a layer norm to a scope: (scope, value, name, (scale, shift)) -> result."""


def embed(scope: Scope, weights: Weights, recipe: Recipe, input_ids: str, token_types: str | None, norm: Norm) -> str:
    """Append the embeddings: ids (batch, tokens) -> (batch, tokens, hidden).

    `token_types`: name of their ids; None if the model has none.
    """
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
