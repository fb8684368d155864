"""Weight pruning: the smallest weights become zeros, and stay zeros while the others learn on.

A zero is its own mask: pruned weights are recorded nowhere else. So masks survive saving, interruptions and the sorting
of heads and neurons, and every subnet, a prefix of the same matrices, has its part of them.
Pruning makes a bundle smaller to download (`gearshift export --compress`), but not faster: the device computes with
dense tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from gearshift.errors import ModelError
from gearshift.trainer.learning.settings import Pruning
from gearshift.trainer.model.elastic import ElasticClassifier

MATRICES = ("query", "key", "value", "attention_output", "ffn_in", "ffn_gate", "ffn_out")
"""Matrices of each layer that are pruned, together with the pooler and, if asked for, the word table (Gordon et al.,
section 3)."""

TIMES = 20
"""Number of pruning steps on the way to the full share."""


def prunable(model: ElasticClassifier, *, embeddings: bool) -> dict[str, Tensor]:
    """Return name -> weights that may be pruned."""
    ends = tuple(f"{name}.weight" for name in (*MATRICES, "pooler"))
    return {
        name: parameter.data
        for name, parameter in model.named_parameters()
        if name.endswith(ends) or (embeddings and name == "embeddings.word.weight")
    }


def sparsity_of(weights: Mapping[str, Tensor]) -> float:
    """Return the share of weights that are zeros."""
    total = sum(weight.numel() for weight in weights.values())
    return sum(int((weight == 0).sum()) for weight in weights.values()) / max(1, total)


def reached(model: ElasticClassifier, pruning: Pruning) -> float:
    """Return the share of zeros of a pruned model; raise ModelError if it is less than asked for."""
    found = sparsity_of(prunable(model, embeddings=pruning.embeddings))
    if found < pruning.sparsity - 0.005:
        raise ModelError(
            f"pruning: expected {pruning.sparsity:g} of the weights to be zeros, found {found:g}; report it"
        )
    return found


def prune_smallest(weights: Mapping[str, Tensor], sparsity: float, scope: str) -> None:
    """Set the smallest weights to zero until they make up this share; existing zeros count, and stay."""
    if scope == "global":
        limit = _magnitude(torch.cat([weight.flatten() for weight in weights.values()]), sparsity)
    for weight in weights.values():
        if scope == "matrix":
            limit = _magnitude(weight, sparsity)
        weight.mul_(weight.abs() > limit)


def _magnitude(weight: Tensor, share: float) -> float:
    """Return the largest magnitude among that share of smallest weights; -1 for none."""
    count = round(share * weight.numel())
    return float(weight.abs().flatten().kthvalue(count).values) if count else -1.0


class Pruner:
    """Constraint of `loop.run_stage` that keeps a model pruned through a stage of training.

    A model that is already pruned loses no further weights: the shares asked for on the way are smaller.
    """

    def __init__(self, model: ElasticClassifier, pruning: Pruning) -> None:
        self._model, self._pruning = model, pruning
        self._masks: dict[str, Tensor] = {}

    def _weights(self) -> dict[str, Tensor]:
        """Return the present weights: a model moved to a GPU has other tensors there."""
        return prunable(self._model, embeddings=self._pruning.embeddings)

    def begin(self) -> None:
        """Record the present zeros."""
        self._masks = {name: weight != 0 for name, weight in self._weights().items()}

    def after_step(self, step: int, total: int) -> None:
        """Restore zeros that the optimizer moved, and add more if due; steps count from 0."""
        weights = self._weights()
        for name, weight in weights.items():
            weight.mul_(self._masks[name].to(weight.device))
        steps = max(1, math.ceil(self._pruning.ramp * total))
        done = step + 1
        every = max(1, steps // TIMES)
        if done <= steps and (done % every == 0 or done == steps):
            prune_smallest(weights, self._pruning.sparsity_after(done / steps), self._pruning.scope)
            self.begin()
