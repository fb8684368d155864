"""The task heads of the elastic graph: what turns the last layer's states into the answer."""

from __future__ import annotations

from gearshift.export.builder import Scope
from gearshift.export.segments import Weights


def classify(scope: Scope, weights: Weights, first: str) -> str:
    """Logits (batch, labels) from the first token's state (batch, hidden): pooler, tanh, classifier."""
    pooled = scope.value("Tanh", [_linear(scope, weights, first, "pooler")])
    return _linear(scope, weights, pooled, "classifier")


def first_row(scope: Scope, value: str) -> str:
    """(batch, tokens, width) -> (batch, width) of the first token."""
    return scope.value("Gather", [value, scope.builder.constant("first_token", 0)], axis=1)


def _linear(scope: Scope, weights: Weights, value: str, name: str) -> str:
    weight, bias = (scope.builder.weight(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return scope.value("Gemm", [value, weight, bias], transB=1)
