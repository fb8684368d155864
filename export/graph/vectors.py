"""Head of an embedding in the elastic graph: pooling, then the steps behind it, all in float32.

`trainer.model.embedding_head` has the same in torch. Only operators of the ONNX standard are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gearshift.export.graph.builder import Scope
from gearshift.export.graph.segments import Weights
from gearshift.trainer.model.elastic import Head
from gearshift.trainer.model.embedding_head import Dense, LayerNorm, Normalize, Step, Truncate
from gearshift.trainer.model.names import STEPS

EPSILON = 1e-12
"""Lower bound of the length that a vector is divided by, as in torch's `normalize`."""

NORM_EPSILON = 1e-5
"""Epsilon of torch's layer norm, unless another is given."""

LEAST_COUNT = 1e-9
"""Lower bound of the count that a sum is divided by; a text may have nothing besides its prompt."""

_FLOAT = 1


def vectors(scope: Scope, weights: Weights, head: Head, states: str, mask: str) -> str:
    """Append pooling and steps: (batch, tokens, hidden) -> (batch, width).

    `states`: float32; (batch, hidden) of the first token if the pooling needs no other. `mask`: int64 (batch, tokens).
    """
    value = states if head.poolings == ("first",) else pooled(scope, head, states, mask)
    for place, step in enumerate(head.steps):
        value = _step(scope, weights, step, f"{STEPS}{place}.", value)
    return value


def pooled(scope: Scope, head: Head, states: str, mask: str) -> str:
    """Append the poolings of float32 states (batch, tokens, hidden), side by side."""
    return _Pooling(scope, head, states, mask).pooled()


class _Pooling:
    """Pooling of states in a scope; values that several poolings share are appended once."""

    def __init__(self, scope: Scope, head: Head, states: str, mask: str) -> None:
        self.scope, self.head, self.states = scope, head, states
        builder = scope.builder
        self.tokens = builder.constant("token_axis", [1])
        self.last_axis = builder.constant("last_axis", [2])
        self.mask = scope.value("Cast", [mask], to=_FLOAT)
        self.place = ""
        if head.skipped or {"weightedmean", "lasttoken"} & set(head.poolings):
            # Padding is behind the tokens: their places are 1, 2, 3 ...
            self.place = scope.value("CumSum", [self.mask, builder.constant("token_axis_alone", 1)])
        self.kept = self.mask
        if head.skipped:
            skipped = builder.weight("prompt_tokens", np.array(head.skipped, np.float32))
            behind = scope.value("Cast", [scope.value("Greater", [self.place, skipped])], to=_FLOAT)
            self.kept = scope.value("Mul", [self.mask, behind])

    def pooled(self) -> str:
        """Append all poolings, side by side."""
        found = [_POOL[mode](self) for mode in self.head.poolings]
        return found[0] if len(found) == 1 else self.scope.value("Concat", found, axis=1)

    def first(self) -> str:
        return self.scope.value("Gather", [self.states, self.scope.builder.constant("first_token", 0)], axis=1)

    def max(self) -> str:
        least = self.scope.builder.weight("least_state", np.array(-np.inf, np.float32))
        real = self.scope.value("Cast", [self._column(self.kept)], to=9)  # bool
        return self.scope.value(
            "ReduceMax", [self.scope.value("Where", [real, self.states, least]), self.tokens], keepdims=0
        )

    def mean(self) -> str:
        return self._divided(self.kept)

    def mean_sqrt(self) -> str:
        count = self.scope.value("Sqrt", [self._count(self.kept)])
        return self.scope.value("Div", [self._weighted(self.kept), count])

    def weighted_mean(self) -> str:
        return self._divided(self.scope.value("Mul", [self.kept, self.place]))

    def last(self) -> str:
        count = self.scope.value("ReduceMax", [self.place, self.tokens], keepdims=1)
        last = self.scope.value("Cast", [self.scope.value("Equal", [self.place, count])], to=_FLOAT)
        return self._weighted(self.scope.value("Mul", [self.kept, last]))

    def _divided(self, weights: str) -> str:
        return self.scope.value("Div", [self._weighted(weights), self._count(weights)])

    def _weighted(self, weights: str) -> str:
        """Append a sum of weighted states: (batch, tokens) -> (batch, hidden)."""
        product = self.scope.value("Mul", [self.states, self._column(weights)])
        return self.scope.value("ReduceSum", [product, self.tokens], keepdims=0)

    def _count(self, weights: str) -> str:
        """Append the sum of weights: (batch, tokens) -> (batch, 1)."""
        count = self.scope.value("ReduceSum", [weights, self.tokens], keepdims=1)
        if not self.head.skipped:  # a text has a token
            return count
        least = self.scope.builder.weight("least_count", np.array(LEAST_COUNT, np.float32))
        return self.scope.value("Max", [count, least])

    def _column(self, weights: str) -> str:
        return self.scope.value("Unsqueeze", [weights, self.last_axis])


_POOL: Mapping[str, Callable[[_Pooling], str]] = {
    "first": _Pooling.first,
    "max": _Pooling.max,
    "mean": _Pooling.mean,
    "mean_sqrt_len_tokens": _Pooling.mean_sqrt,
    "weightedmean": _Pooling.weighted_mean,
    "lasttoken": _Pooling.last,
}


def _step(scope: Scope, weights: Weights, step: Step, name: str, value: str) -> str:
    """Append a step on (batch, width); `name`: prefix of its weights."""
    builder = scope.builder
    if isinstance(step, Dense):
        return _dense(scope, weights, step, name, value)
    if isinstance(step, LayerNorm):
        parts = [builder.weight(f"{name}norm.{part}", weights[f"{name}norm.{part}"]) for part in ("weight", "bias")]
        return scope.value("LayerNormalization", [value, *parts], axis=-1, epsilon=NORM_EPSILON)
    if isinstance(step, Truncate):
        ends = [builder.constant("from_first", [0]), builder.constant(f"{name}width", [step.outputs])]
        return scope.value("Slice", [value, *ends, builder.constant("token_axis", [1])])
    assert isinstance(step, Normalize)
    length = scope.value("ReduceL2", [value, builder.constant("token_axis", [1])], keepdims=1)
    least = builder.weight("least_length", np.array(EPSILON, np.float32))
    return scope.value("Div", [value, scope.value("Max", [length, least])])


def _dense(scope: Scope, weights: Weights, step: Dense, name: str, value: str) -> str:
    activated = ACTIVATED[step.activation](scope, _gemm(scope, weights, value, f"{name}linear"))
    if not step.residual:
        return activated
    beside = value if step.inputs == step.outputs else _gemm(scope, weights, value, f"{name}residual")
    return scope.value("Add", [activated, beside])


def _gemm(scope: Scope, weights: Weights, value: str, name: str) -> str:
    names = [each for each in (f"{name}.weight", f"{name}.bias") if each in weights]
    return scope.value("Gemm", [value, *(scope.builder.weight(each, weights[each]) for each in names)], transB=1)


def _gelu(scope: Scope, value: str) -> str:
    """Append x / 2 * (1 + erf(x / sqrt(2)))."""
    builder = scope.builder
    root, one, half = (
        builder.weight(f"gelu_{name}", np.array(number, np.float32))
        for name, number in (("root", 2**0.5), ("one", 1), ("half", 0.5))
    )
    grown = scope.value("Add", [scope.value("Erf", [scope.value("Div", [value, root])]), one])
    return scope.value("Mul", [scope.value("Mul", [value, half]), grown])


ACTIVATED: Mapping[str, Callable[[Scope, str], str]] = {
    "Identity": lambda scope, value: value,
    "Tanh": lambda scope, value: scope.value("Tanh", [value]),
    "ReLU": lambda scope, value: scope.value("Relu", [value]),
    "GELU": _gelu,
    "SiLU": lambda scope, value: scope.value("Mul", [value, scope.value("Sigmoid", [value])]),
    "Sigmoid": lambda scope, value: scope.value("Sigmoid", [value]),
    "LeakyReLU": lambda scope, value: scope.value("LeakyRelu", [value], alpha=0.01),
    "ELU": lambda scope, value: scope.value("Elu", [value], alpha=1.0),
}
"""Name of an activation in `embedding_head.ACTIVATIONS` -> function that appends it."""
