"""Weight pruning: the smallest weights become zeros, and stay zeros while the others learn on.

A zero is its own mask: which weights are pruned is stored nowhere else. So masks outlive saving, interruptions and the
sorting of heads and neurons, and every subnet, a prefix of the same matrices, has its part of them. Pruning makes
a bundle smaller to download (`gearshift export --compress`), and not faster: the device computes with dense tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from gearshift.errors import ModelError
from gearshift.trainer.learning.settings import Pruning
from gearshift.trainer.model.elastic import ElasticClassifier

MATRICES = ("query", "key", "value", "attention_output", "ffn_in", "ffn_out")
"""Of each layer; with the pooler and, where asked for, the word table these are pruned (Gordon et al., section 3)."""


TIMES = 20
"""How often weights are pruned on the way to the full share."""


def prunable(model: ElasticClassifier, *, embeddings: bool) -> dict[str, Tensor]:
    """Name -> weights that may be pruned."""
    ends = tuple(f"{name}.weight" for name in (*MATRICES, "pooler"))
    return {
        name: parameter.data
        for name, parameter in model.named_parameters()
        if name.endswith(ends) or (embeddings and name == "embeddings.word.weight")
    }


def sparsity_of(weights: Mapping[str, Tensor]) -> float:
    """Share of weights that are zeros."""
    total = sum(weight.numel() for weight in weights.values())
    return sum(int((weight == 0).sum()) for weight in weights.values()) / max(1, total)


def reached(model: ElasticClassifier, pruning: Pruning) -> float:
    """Share of zeros of a model that was pruned; raises ModelError where it is less than what was asked for."""
    found = sparsity_of(prunable(model, embeddings=pruning.embeddings))
    if found < pruning.sparsity - 0.005:
        raise ModelError(
            f"pruning: expected {pruning.sparsity:g} of the weights to be zeros, found {found:g}; report it"
        )
    return found


def prune_smallest(weights: Mapping[str, Tensor], sparsity: float, scope: str) -> None:
    """Make the smallest weights zeros, until this share is; what is zero already counts, and stays."""
    if scope == "global":
        limit = _magnitude(torch.cat([weight.flatten() for weight in weights.values()]), sparsity)
    for weight in weights.values():
        if scope == "matrix":
            limit = _magnitude(weight, sparsity)
        weight.mul_(weight.abs() > limit)


def _magnitude(weight: Tensor, share: float) -> float:
    """The largest magnitude among that share of the weights, the smallest ones; -1 for none of them."""
    count = round(share * weight.numel())
    return float(weight.abs().flatten().kthvalue(count).values) if count else -1.0


class Pruner:
    """Keeps a model pruned through a stage of training: a constraint of `loop.run_stage`.

    Of a model that has its zeros already it takes no more: the share that is asked for on the way is less.
    """

    def __init__(self, model: ElasticClassifier, pruning: Pruning) -> None:
        self._model, self._pruning = model, pruning
        self._masks: dict[str, Tensor] = {}

    def _weights(self) -> dict[str, Tensor]:
        """Those of now: a model that goes to a GPU has other tensors there."""
        return prunable(self._model, embeddings=self._pruning.embeddings)

    def begin(self) -> None:
        """Note the zeros there are."""
        self._masks = {name: weight != 0 for name, weight in self._weights().items()}

    def after_step(self, step: int, total: int) -> None:
        """Bring zeros back that the optimizer moved, and make more of them where it is time; steps count from 0."""
        weights = self._weights()
        for name, weight in weights.items():
            weight.mul_(self._masks[name].to(weight.device))
        steps = max(1, math.ceil(self._pruning.ramp * total))
        done = step + 1
        every = max(1, steps // TIMES)
        if done <= steps and (done % every == 0 or done == steps):
            prune_smallest(weights, self._pruning.sparsity_after(done / steps), self._pruning.scope)
            self.begin()
