"""Importance against finite differences and a plain reading of the formula; reordering against itself."""

import copy
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gearshift.runtime.space.uniform import uniform_subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.importance import Importance, measure_importance, reorder
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.encoder.layer import ElasticLayer
from tests.trainer.tiny import SHAPE, random_batch, random_model

HALF = uniform_subnet(SHAPE, 0.5, 1)
BATCHES = [random_batch([9, 4, 12], seed=seed) for seed in (0, 1)]


OTHER_FORM = replace(
    SHAPE,
    gated=True,
    norm_first=True,
    biases=False,
    relative_buckets=32,
    rotary=(100.0,) * 4,
    windows=(0, 4, 4, 0),
    position_terms=("c2p", "p2c"),
    position_buckets=4,
    position_farthest=20,
    position_products=True,
)
"""All that a form may have together, which no family of encoders does."""


@pytest.fixture
def model() -> ElasticClassifier:
    return random_model()


def loss_of(model: ElasticClassifier, batch: Batch, gates: Tensor | None = None) -> Tensor:
    return F.cross_entropy(model(batch, model.full, gates).logits, batch.labels)


@pytest.mark.parametrize("shared", [False, True])
def test_a_heads_importance_is_how_fast_the_loss_changes_with_its_output(shared: bool) -> None:
    """With one set of weights for all layers: with its outputs in all of them."""
    model = random_model(replace(SHAPE, shared=shared))
    sets = model.shape.sets
    assert sets == (1 if shared else SHAPE.layers)
    found = measure_importance(model, BATCHES).heads
    model.double()  # so that a small step is not lost in rounding
    step = 1e-5
    assert found.shape == (sets, SHAPE.heads)
    for layer in range(sets):
        for head in range(SHAPE.heads):
            expected = 0.0
            for batch in BATCHES:
                gates = torch.ones(sets, SHAPE.heads, dtype=torch.float64)
                with torch.no_grad():
                    gates[layer, head] = 1 + step
                    above = loss_of(model, batch, gates)
                    gates[layer, head] = 1 - step
                    expected += abs(float(above - loss_of(model, batch, gates))) / (2 * step)
            assert found[layer, head] == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_a_neurons_importance_is_the_formula_of_the_paper(model: ElasticClassifier) -> None:
    found = measure_importance(model, BATCHES).neurons
    expected = torch.zeros(SHAPE.layers, SHAPE.neurons)
    for batch in BATCHES:
        for index in range(SHAPE.layers):
            layer = cast(ElasticLayer, model.layers[index])
            parts = [layer.ffn_in.weight, layer.ffn_in.bias, layer.ffn_out.weight]
            into, bias, out = torch.autograd.grad(loss_of(model, batch), parts)
            for neuron in range(SHAPE.neurons):
                incoming = parts[0][neuron] @ into[neuron] + parts[1][neuron] * bias[neuron]
                outgoing = parts[2][:, neuron] @ out[:, neuron]
                expected[index, neuron] += float((incoming.abs() + outgoing.abs()).detach())
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_a_gate_counts_among_the_incoming_weights_of_its_neuron() -> None:
    model = random_model(OTHER_FORM)
    found = measure_importance(model, BATCHES[:1]).neurons
    for index in range(SHAPE.layers):
        layer = cast(ElasticLayer, model.layers[index])
        assert layer.ffn_gate is not None
        parts = [layer.ffn_in.weight, layer.ffn_gate.weight, layer.ffn_out.weight]
        into, gate, out = torch.autograd.grad(loss_of(model, BATCHES[0]), parts)
        incoming = (parts[0] * into).sum(1) + (parts[1] * gate).sum(1)
        expected = incoming.abs() + (parts[2] * out).sum(0).abs()
        assert torch.allclose(found[index], expected.detach(), rtol=1e-3, atol=1e-6)


def test_heads_and_neurons_of_another_form_are_sorted_with_all_that_is_theirs() -> None:
    model = random_model(OTHER_FORM)
    before, batch = measure_importance(model, BATCHES), BATCHES[0]
    with torch.no_grad():
        expected = model(batch, model.full).logits
        reorder(model, before)
        assert (model(batch, model.full).logits - expected).abs().max() < 1e-5
    after = measure_importance(model, BATCHES)
    for old, new in ((before.heads, after.heads), (before.neurons, after.neurons)):
        assert torch.allclose(new, old.sort(descending=True).values, rtol=1e-3, atol=1e-6)


def test_gradients_do_not_pile_up_from_batch_to_batch(model: ElasticClassifier) -> None:
    both = measure_importance(model, BATCHES)
    one, other = (measure_importance(model, [batch]) for batch in BATCHES)
    assert torch.allclose(both.heads, one.heads + other.heads)
    assert torch.allclose(both.neurons, one.neurons + other.neurons)
    assert not torch.allclose(one.heads, other.heads)


def test_gradients_of_before_do_not_count(model: ElasticClassifier) -> None:
    clean = measure_importance(model, BATCHES)
    loss_of(model, BATCHES[0]).backward()  # type: ignore[no-untyped-call]
    assert torch.equal(measure_importance(model, BATCHES).neurons, clean.neurons)


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_model_as_it_was(model: ElasticClassifier, training: bool) -> None:
    model.train(training)
    before = copy.deepcopy(model.state_dict())
    measure_importance(model, BATCHES)
    assert model.training == training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_dropout_is_off_while_importance_is_measured(model: ElasticClassifier) -> None:
    still = measure_importance(model, BATCHES)
    assert torch.equal(measure_importance(model.train(), BATCHES).heads, still.heads)


def test_reordering_leaves_what_the_full_net_answers(model: ElasticClassifier) -> None:
    batch = random_batch([9, 4, 32])
    importance = measure_importance(model, BATCHES)
    with torch.no_grad():
        before, smaller = model(batch, model.full), model(batch, HALF)
        reorder(model, importance)
        after = model(batch, model.full)
        assert (model(batch, HALF).logits - smaller.logits).abs().max() > 1e-3  # it did change something
    assert (after.logits - before.logits).abs().max() < 1e-5
    for mine, theirs in zip(after.hidden, before.hidden, strict=True):
        assert (mine - theirs).abs().max() < 1e-5


def test_after_reordering_the_most_important_come_first(model: ElasticClassifier) -> None:
    before = measure_importance(model, BATCHES)
    reorder(model, before)
    after = measure_importance(model, BATCHES)
    for old, new in ((before.heads, after.heads), (before.neurons, after.neurons)):
        assert torch.allclose(new, old.sort(descending=True).values, rtol=1e-3, atol=1e-6)


def test_each_layer_is_sorted_by_its_own_scores(model: ElasticClassifier) -> None:
    original = copy.deepcopy(model.state_dict())
    heads = torch.tensor([[0.0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 2, 0], [9, 0, 9.5, 0.5]])
    neurons = torch.rand(SHAPE.layers, SHAPE.neurons, generator=torch.Generator().manual_seed(0))
    reorder(model, Importance(heads, neurons))
    size = SHAPE.head_size
    for layer, order in enumerate([[3, 2, 1, 0], [0, 1, 2, 3], [1, 2, 0, 3], [2, 0, 3, 1]]):
        for place, head in enumerate(order):
            new, old = slice(place * size, (place + 1) * size), slice(head * size, (head + 1) * size)
            for part in ("query", "key", "value"):
                for kind in ("weight", "bias"):
                    name = f"layers.{layer}.{part}.{kind}"
                    assert torch.equal(model.state_dict()[name][new], original[name][old])


@pytest.mark.parametrize("rows", [1, 2])
def test_a_batch_in_parts_ranks_as_in_one(model: ElasticClassifier, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    whole = measure_importance(model, BATCHES)
    seen: list[int] = []
    really_forward = ElasticClassifier.forward

    def forward(model: ElasticClassifier, batch: Batch, *rest: object) -> object:
        seen.append(len(batch.indices))
        return really_forward(model, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ElasticClassifier, "forward", forward)
    parts = measure_importance(model, BATCHES, micro_batch=rows)
    assert max(seen) == rows
    assert sum(seen) == 6
    assert torch.allclose(parts.heads, whole.heads, rtol=1e-3, atol=1e-6)
    assert torch.allclose(parts.neurons, whole.neurons, rtol=1e-3, atol=1e-6)
