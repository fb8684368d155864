"""Our names of weights and those of a Hugging Face checkpoint, one to one."""

from pathlib import Path

import pytest
import torch
import transformers

from gearshift.runtime.bundle.tasks import TEXT_TASKS
from gearshift.trainer.model.names import ARCHITECTURES, CLASS_SUFFIXES, from_checkpoint, to_checkpoint
from tests.trainer.tiny import random_model


@pytest.mark.parametrize("task", TEXT_TASKS)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_architecture_has_a_class_for_every_task(model_type: str, task: str) -> None:
    assert set(CLASS_SUFFIXES) == set(TEXT_TASKS)
    lacking = (model_type, task) == ("modernbert", "question-answering") and transformers.__version__.startswith("4.4")
    assert lacking or hasattr(transformers, ARCHITECTURES[model_type].class_name(task))


@pytest.mark.parametrize("task", TEXT_TASKS)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_no_two_of_our_weights_have_the_same_name_in_a_checkpoint(model_type: str, task: str) -> None:
    """But those that lie one below the other in one matrix of ModernBERT's."""
    names = ARCHITECTURES[model_type].names(task)
    shared = {theirs: [ours for ours in names if names[ours] == theirs] for theirs in names.values()}
    together = [ours for ours in shared.values() if len(ours) > 1]
    if model_type == "modernbert":
        assert together == [
            ["layers.{}.query", "layers.{}.key", "layers.{}.value"],
            ["layers.{}.ffn_in", "layers.{}.ffn_gate"],
        ]
    else:
        assert not together


def test_every_weight_of_a_checkpoint_is_used_once(checkpoint_path: Path) -> None:
    theirs = transformers.BertForSequenceClassification.from_pretrained(checkpoint_path).state_dict()
    named = to_checkpoint(random_model().state_dict(), "bert")
    assert set(named) == set(theirs)
    assert len(named) == len(random_model().state_dict())


def test_there_and_back_gives_the_same_weights() -> None:
    state = random_model().state_dict()
    back = from_checkpoint(to_checkpoint(state, "bert"), list(state), "bert")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_layers_are_told_apart() -> None:
    state = {f"layers.{layer}.query.weight": torch.tensor(layer) for layer in (0, 1, 10, 11)}
    named = to_checkpoint(state, "bert")
    for layer in (0, 1, 10, 11):
        assert named[f"bert.encoder.layer.{layer}.attention.self.query.weight"] == layer
