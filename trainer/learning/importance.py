"""Rank heads and FFN neurons by a first-order estimate of the loss without them, and put the important ones first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.objectives import objective_of
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.encoder.layer import ElasticLayer


@dataclass(frozen=True)
class Importance:
    """Importance scores of one encoder; higher is more important."""

    heads: Tensor
    """Scores of heads, (layers, heads); of layers that share their weights one row."""
    neurons: Tensor
    """Scores of neurons, (layers, neurons), as those of heads."""


def measure_importance(model: ElasticClassifier, batches: Iterable[Batch], *, micro_batch: int = 0) -> Importance:
    """Measure the first-order importance of every head and neuron for the task loss (DynaBERT, section 2.1).

    Head: sum over batches of |dL/dxi|, xi = 1 multiplying the head's output.
    Neuron: sum over batches of |W1 . dL/dW1 + b1 dL/db1| + |W2 . dL/dW2| over its incoming and outgoing weights; those
    of a gate are incoming ones.
    Gradients are zeroed for every batch; the published code lets them accumulate.
    Embeddings have no labels: there the score is the movement of the vectors (`losses.direction_loss`).
    `micro_batch`: rows computed at once, 0 for the whole batch. Scores are those of whole batches all the same, but for
    embeddings, where each part draws directions of its own.
    """
    was_training = model.training
    model.eval()
    shape = model.shape
    loss = objective_of(model.head.task).loss
    device = model.device
    heads = torch.zeros(shape.sets, shape.heads, device=device)
    neurons = torch.zeros(shape.sets, shape.neurons, device=device)
    for batch in (each.to(device) for each in batches):
        model.zero_grad()
        gates = torch.ones(shape.sets, shape.heads, requires_grad=True, device=device)
        size = micro_batch or len(batch.indices)
        for start in range(0, len(batch.indices), size):
            part = batch.part(start, start + size, batch.counts)
            loss(model(part, model.full, gates).logits, part).backward()  # type: ignore[no-untyped-call]
        assert gates.grad is not None
        heads += gates.grad.abs()
        for index, layer in enumerate(model.layers):
            neurons[index] += _neuron_scores(cast(ElasticLayer, layer))
    model.zero_grad()
    model.train(was_training)
    return Importance(heads, neurons)


def _neuron_scores(layer: ElasticLayer) -> Tensor:
    incoming = sum((_movement(part.weight).sum(1) for part in _into(layer)), torch.zeros(()))
    incoming = sum((_movement(part.bias) for part in _into(layer) if part.bias is not None), incoming)
    outgoing = _movement(layer.ffn_out.weight).sum(0)
    return (incoming.abs() + outgoing.abs()).detach()


def _movement(weight: Tensor) -> Tensor:
    """Return each weight times its gradient."""
    assert weight.grad is not None
    return weight * weight.grad


def _into(layer: ElasticLayer) -> list[nn.Linear]:
    """Return the linear layers that lead into the neurons."""
    return [layer.ffn_in] if layer.ffn_gate is None else [layer.ffn_in, layer.ffn_gate]


@torch.no_grad()
def reorder(model: ElasticClassifier, importance: Importance) -> None:
    """Permute heads and neurons of every layer, most important first; the outputs stay the same."""
    for layer, heads, neurons in zip(model.layers, importance.heads, importance.neurons, strict=True):
        _reorder_layer(cast(ElasticLayer, layer), _order(heads), _order(neurons))


def _order(scores: Tensor) -> Tensor:
    """Return the order by falling score; of equal scores the first stays first, so that zeros of pruned heads stay
    last."""
    return scores.argsort(descending=True, stable=True)


def _reorder_layer(layer: ElasticLayer, head_order: Tensor, neuron_order: Tensor) -> None:
    size = layer.head_size
    rows = (head_order[:, None] * size + torch.arange(size, device=head_order.device)).flatten()
    for linear in (layer.query, layer.key, layer.value, layer.position_key, layer.position_query):
        if linear is not None:
            _sort_outputs(linear, rows)
    layer.attention_output.weight.copy_(layer.attention_output.weight[:, rows].clone())
    if layer.head_order is not None:
        layer.head_order.copy_(layer.head_order[head_order].clone())
    for linear in _into(layer):
        _sort_outputs(linear, neuron_order)
    layer.ffn_out.weight.copy_(layer.ffn_out.weight[:, neuron_order].clone())


def _sort_outputs(linear: nn.Linear, order: Tensor) -> None:
    linear.weight.copy_(linear.weight[order].clone())
    if linear.bias is not None:
        linear.bias.copy_(linear.bias[order].clone())
