"""Tests of which weights become zeros, when, and that they stay."""

import itertools
from dataclasses import replace

import pytest
import torch

from gearshift.errors import ModelError
from gearshift.trainer.learning.settings import SCOPES, Pruning
from gearshift.trainer.learning.sparsity import MATRICES, Pruner, prunable, prune_smallest, reached, sparsity_of
from gearshift.trainer.model.elastic import ElasticClassifier
from tests.trainer.tiny import SHAPE, random_model

NUMBERS = {"small": torch.arange(1.0, 11), "large": -torch.arange(101.0, 111)}


def copies() -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in NUMBERS.items()}


def zeros(weights: dict[str, torch.Tensor]) -> dict[str, list[bool]]:
    return {name: (weight == 0).tolist() for name, weight in weights.items()}


@pytest.fixture
def model() -> ElasticClassifier:
    return random_model()


def test_the_matrices_of_the_layers_and_the_pooler_are_pruned_and_the_word_table_on_demand(
    model: ElasticClassifier,
) -> None:
    plain = [name for name in MATRICES if name != "ffn_gate"]
    layers = {f"layers.{layer}.{name}.weight" for layer in range(4) for name in plain}
    assert set(prunable(model, embeddings=False)) == layers | {"pooler.weight"}
    assert set(prunable(model, embeddings=True)) == layers | {"pooler.weight", "embeddings.word.weight"}


def test_gates_are_pruned_with_the_other_matrices() -> None:
    gated = prunable(random_model(replace(SHAPE, gated=True)), embeddings=False)
    assert {f"layers.{layer}.ffn_gate.weight" for layer in range(4)} <= set(gated)


def test_a_matrix_loses_its_own_smallest_weights() -> None:
    weights = copies()
    prune_smallest(weights, 0.3, "matrix")
    assert zeros(weights) == {name: [True] * 3 + [False] * 7 for name in weights}
    assert torch.equal(weights["large"][3:], NUMBERS["large"][3:])


def test_all_matrices_together_lose_the_smallest_weights() -> None:
    weights = copies()
    prune_smallest(weights, 0.3, "global")
    assert zeros(weights) == {"small": [True] * 6 + [False] * 4, "large": [False] * 10}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("share", [0, 0.1, 0.4, 0.9])
def test_the_share_is_met_and_what_was_zero_counts_and_stays(scope: str, share: float) -> None:
    weights = copies()
    weights["large"][4] = 0
    before = sparsity_of(weights)
    prune_smallest(weights, share, scope)
    assert weights["large"][4] == 0
    assert sparsity_of(weights) == pytest.approx(max(share, before))


def test_the_share_grows_as_the_cubic_schedule_says() -> None:
    pruning = Pruning(0.8)
    assert [pruning.sparsity_after(part) for part in (0, 0.25, 0.5, 1, 2)] == pytest.approx(
        [0, 0.8 * (1 - 0.75**3), 0.7, 0.8, 0.8]
    )


def move(model: ElasticClassifier) -> None:
    """Do what an optimizer does: every weight is another afterwards."""
    for parameter in model.parameters():
        parameter.data += 0.01


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("embeddings", [False, True])
def test_zeros_become_more_along_the_ramp_and_then_stay(model: ElasticClassifier, scope: str, embeddings: bool) -> None:
    pruner = Pruner(model, Pruning(0.5, scope, embeddings, ramp=0.5))
    weights = prunable(model, embeddings=embeddings)
    pruner.begin()
    seen, masks = [], []
    for step in range(8):
        move(model)
        pruner.after_step(step, 8)
        seen.append(sparsity_of(weights))
        masks.append({name: weight == 0 for name, weight in weights.items()})
    assert seen == pytest.approx([0.5 * (1 - (1 - part) ** 3) for part in (0.25, 0.5, 0.75, 1)] + [0.5] * 4, abs=0.001)
    for earlier, later in itertools.pairwise(masks):
        assert all(bool((later[name] | ~earlier[name]).all()) for name in weights)
    assert sparsity_of({"word": model.embeddings.word.weight.data}) == pytest.approx(0) or embeddings


def test_weights_that_moved_are_those_that_are_pruned_and_stay_so(model: ElasticClassifier) -> None:
    """Check weights that moved to a GPU, for example: `Module.to` gives every parameter another tensor."""
    pruner = Pruner(model, Pruning(0.5, embeddings=True))
    for step in range(4):
        move(model)
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
        if step == 0:
            pruner.begin()
            for parameter in model.parameters():
                parameter.data = parameter.data.clone()
        pruner.after_step(step, 4)
    assert reached(model, Pruning(0.5, embeddings=True)) == pytest.approx(0.5, abs=0.001)


def test_a_model_that_was_not_pruned_is_not_passed_off_as_pruned(model: ElasticClassifier) -> None:
    with pytest.raises(ModelError, match=r"expected 0\.5 of the weights to be zeros, found 0"):
        reached(model, Pruning(0.5))


def test_without_a_ramp_all_are_pruned_after_the_first_step(model: ElasticClassifier) -> None:
    pruner = Pruner(model, Pruning(0.5, ramp=0))
    pruner.begin()
    pruner.after_step(0, 8)
    assert sparsity_of(prunable(model, embeddings=False)) == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_model_that_is_pruned_already_keeps_its_zeros_and_gets_no_more(model: ElasticClassifier, scope: str) -> None:
    weights = prunable(model, embeddings=False)
    prune_smallest(weights, 0.4, scope)
    before = {name: weight == 0 for name, weight in weights.items()}
    pruner = Pruner(model, Pruning(0.4, scope))
    pruner.begin()
    for step in range(4):
        move(model)
        pruner.after_step(step, 4)
    assert all(torch.equal(weight == 0, before[name]) for name, weight in weights.items())
