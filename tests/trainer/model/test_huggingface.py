"""Every encoder with every head: what transformers answers, the elastic model answers."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from gearshift.errors import ModelError
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.learning.importance import Importance, reorder
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.configs import read_config, shape_of
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.huggingface import HEAD_ORDER, load_model
from gearshift.trainer.model.names import ARCHITECTURES
from gearshift.trainer.model.run import load_supernet, save_run
from tests.trainer.encoders import (
    CASES,
    HEADS,
    POSITIONS,
    add_tokenizer,
    answer_of,
    batch_for,
    write_model,
)


@torch.no_grad()
def shuffle(model: ElasticClassifier) -> None:
    """Put heads and neurons in a random order, another in each layer."""
    source = torch.Generator().manual_seed(3)
    sizes = (model.shape.sets, model.shape.heads), (model.shape.sets, model.shape.neurons)
    reorder(model, Importance(*(torch.rand(size, generator=source) for size in sizes)))


LENGTHS = ([1], [2], [17], [POSITIONS], [17] * 4, [17, 1, POSITIONS, 2])


@pytest.mark.parametrize(("encoder", "head_name"), CASES, ids=map(", ".join, CASES))
def test_the_full_subnet_answers_as_transformers_does(encoder: str, head_name: str, tmp_path: Path) -> None:
    head = HEADS[head_name]
    theirs = write_model(tmp_path, encoder, head)
    model, lacking = load_model(tmp_path, read_config(tmp_path), head.task, head.outputs)
    assert not lacking
    model.eval()
    for lengths in LENGTHS:
        batch = batch_for(theirs, model.shape, lengths)
        with torch.no_grad():
            found = model(batch, model.full).logits
        wanted = answer_of(theirs, batch, head)
        assert found.shape == wanted.shape
        real = batch.attention_mask.bool() if TASKS[head.task].per_token else ...
        assert (found[real] - wanted[real]).abs().max() < 1e-5


@pytest.mark.parametrize(("encoder", "head_name"), CASES, ids=map(", ".join, CASES))
def test_a_run_of_it_is_a_checkpoint_that_transformers_loads(
    encoder: str, head_name: str, checkpoint_path: Path, tmp_path: Path
) -> None:
    """With its heads and neurons in another order."""
    head = HEADS[head_name]
    theirs = write_model(tmp_path / "model", encoder, head)
    add_tokenizer(tmp_path / "model", checkpoint_path)
    labels = tuple(f"LABEL_{number}" for number in range(head.outputs)) if TASKS[head.task].labelled else ()
    checkpoint = load_checkpoint(tmp_path / "model", labels, task=head.task)
    assert checkpoint.has_classifier
    shuffle(checkpoint.model)
    grid = uniform_grid(checkpoint.model.shape)
    save_run(tmp_path / "run", checkpoint, subnets=grid, accuracies=dict.fromkeys(grid, 0.5), facts={"max_length": 16})
    loaded, report = getattr(
        transformers, ARCHITECTURES[theirs.config.model_type].class_name(head.task)
    ).from_pretrained(tmp_path / "run", output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert all("pooler" in name for name in report["missing_keys"])  # which an embedding does not use
    back = load_supernet(tmp_path / "run").checkpoint
    assert (back.task, back.labels, back.model.head) == (head.task, labels, checkpoint.model.head)
    batch = batch_for(theirs, checkpoint.model.shape, [5, 17])
    real = batch.attention_mask.bool() if TASKS[head.task].per_token else ...
    with torch.no_grad():
        answers = [answer_of(loaded.eval(), batch, head), back.model.eval()(batch, back.model.full).logits]
    for found in answers:
        assert (found[real] - answer_of(theirs, batch, head)[real]).abs().max() < 1e-5
    state, again = checkpoint.model.state_dict(), back.model.state_dict()
    assert state.keys() == again.keys() and all(torch.equal(again[name], state[name]) for name in state)


def test_a_head_order_that_is_none_is_refused(checkpoint_path: Path, tmp_path: Path) -> None:
    write_model(tmp_path, "MPNet", HEADS["classification"])
    config = json.loads((tmp_path / "config.json").read_text())
    for order in ([[0, 1, 2, 2]] * 3, [[0, 1, 2, 3]] * 2, "0123", [[0, 1, 2]] * 3, [["a", 1, 2, 3]] * 3):
        (tmp_path / "config.json").write_text(json.dumps({**config, HEAD_ORDER: order}))
        with pytest.raises(ModelError, match=r"gearshift_head_order: expected the heads 0 to 3 in some order for each"):
            load_model(tmp_path, read_config(tmp_path), "classification", 3)


def test_rows_of_the_position_table_that_no_token_uses_are_left_out(tmp_path: Path) -> None:
    write_model(tmp_path, "RoBERTa", HEADS["classification"])
    shape = shape_of(read_config(tmp_path))
    assert (shape.positions, shape.types) == (POSITIONS, 0)


def test_a_head_for_another_task_is_not_taken_for_one_of_this_task(checkpoint_path: Path, tmp_path: Path) -> None:
    write_model(tmp_path, "BERT", HEADS["classification"])
    add_tokenizer(tmp_path, checkpoint_path)
    assert not load_checkpoint(tmp_path, task="question-answering").has_classifier
    assert not load_checkpoint(tmp_path, task="regression").has_classifier
    assert not load_checkpoint(tmp_path, ("a", "b"), task="token-classification").has_classifier
    assert load_checkpoint(tmp_path, task="embedding").has_classifier  # it has no weights of its own
