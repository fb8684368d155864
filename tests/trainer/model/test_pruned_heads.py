"""Models that lack some of their heads: every layer has as many as it has, and they answer as transformers' do."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.learning.importance import measure_importance, reorder
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.run import load_supernet, save_run
from tests.trainer.brought import Brought, Form, pickled, prune_heads, sharded, zero_heads
from tests.trainer.encoders import HEADS, HeadCase, add_tokenizer, answer_of, batch_for

GONE = {0: [1], 2: [0, 2, 3]}
LEFT = (3, 4, 1)
LABELS = ("LABEL_0", "LABEL_1", "LABEL_2")
PADDED: Any = SimpleNamespace(config=SimpleNamespace(pad_token_id=0))
"""As much of a transformers model as `batch_for` asks for."""
NOMINAL = Subnet(((4, 48),) * 3)


def write(target: Path, checkpoint_path: Path, encoder: str = "BERT", head: HeadCase = HEADS["classification"]) -> Any:
    """A checkpoint with pruned heads, and the model of transformers whose heads are zeros instead."""
    model = zero_heads(Brought(encoder, head).write(target), GONE)
    prune_heads(target, GONE)
    add_tokenizer(target, checkpoint_path)
    return model


@torch.no_grad()
def answers(checkpoint: Checkpoint, subnet: Subnet | None = None) -> torch.Tensor:
    model = checkpoint.model.eval()
    logits: torch.Tensor = model(batch_for(PADDED, model.shape, [17, 1, 9]), subnet or model.full).logits
    return logits


@pytest.mark.parametrize(
    ("encoder", "head"),
    [
        ("BERT", "classification"),
        ("BERT", "embedding, mean"),
        ("RoBERTa", "token classification"),
        ("ELECTRA", "question answering"),
        ("DistilBERT", "regression"),
    ],
)
def test_a_model_with_pruned_heads_answers_as_transformers_does(
    encoder: str, head: str, checkpoint_path: Path, tmp_path: Path
) -> None:
    theirs = write(tmp_path, checkpoint_path, encoder, HEADS[head])
    labels = tuple(f"LABEL_{number}" for number in range(HEADS[head].outputs)) if "class" in head else ()
    checkpoint = load_checkpoint(tmp_path, labels, task=HEADS[head].task)
    assert checkpoint.has_classifier
    model = checkpoint.model.eval()
    assert model.full == Subnet(tuple((heads, 48) for heads in LEFT))
    batch = batch_for(theirs, model.shape, [17, 1, 9])
    with torch.no_grad():
        found = model(batch, model.full).logits
    real = batch.attention_mask.bool() if "token" in head or "question" in head else ...
    assert (found[real] - answer_of(theirs, batch, HEADS[head])[real]).abs().max() < 1e-5


@pytest.mark.parametrize("form", [sharded, pickled])
def test_the_form_of_the_files_does_not_matter(form: Form, checkpoint_path: Path, tmp_path: Path) -> None:
    write(tmp_path / "one", checkpoint_path)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    form(tmp_path / "other")
    one, other = (answers(load_checkpoint(tmp_path / name, LABELS)) for name in ("one", "other"))
    assert torch.equal(one, other)


def test_no_subnet_has_heads_that_are_not_there(checkpoint_path: Path, tmp_path: Path) -> None:
    write(tmp_path, checkpoint_path)
    model = load_checkpoint(tmp_path, LABELS).model
    grid = model.grid()
    assert list(grid) == list(uniform_grid(model.shape))
    heads = {name: [heads for heads, _ in subnet.layers] for name, subnet in grid.items()}
    assert heads["w100-d100"] == [3, 4, 1]
    assert heads["w075-d100"] == [3, 3, 1]
    assert heads["w050-d100"] == [2, 2, 1]
    assert heads["w025-d050"] == [1, 0, 1]


def test_training_brings_no_head_back(checkpoint_path: Path, tmp_path: Path) -> None:
    write(tmp_path, checkpoint_path)
    model = load_checkpoint(tmp_path, LABELS).model.eval()
    batch = batch_for(PADDED, model.shape, [17, 1, 9])
    before = model(batch, model.full).logits.detach()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model(batch, NOMINAL).logits.square().sum().backward()
        optimizer.step()
    with torch.no_grad():
        nominal, full = (model(batch, subnet).logits for subnet in (NOMINAL, model.full))
    assert (full - before).abs().max() > 1e-2
    assert (nominal - full).abs().max() < 1e-5


def test_ranking_leaves_the_heads_that_are_not_there_at_the_end(checkpoint_path: Path, tmp_path: Path) -> None:
    write(tmp_path, checkpoint_path)
    checkpoint = load_checkpoint(tmp_path, LABELS)
    before, narrow = answers(checkpoint), answers(checkpoint, checkpoint.model.grid()["w025-d100"])
    batch = batch_for(PADDED, checkpoint.model.shape, [17, 1, 9])
    batch = dataclasses.replace(batch, labels=batch.labels % len(LABELS))
    reorder(checkpoint.model, measure_importance(checkpoint.model, [batch]))
    assert (answers(checkpoint) - before).abs().max() < 1e-5
    assert (answers(checkpoint, checkpoint.model.grid()["w025-d100"]) - narrow).abs().max() > 1e-2


def test_a_run_of_it_keeps_the_heads_that_it_has(checkpoint_path: Path, tmp_path: Path) -> None:
    theirs = write(tmp_path / "model", checkpoint_path)
    checkpoint = load_checkpoint(tmp_path / "model", LABELS)
    grid = checkpoint.model.grid()
    save_run(tmp_path / "run", checkpoint, subnets=grid, accuracies={}, facts={})
    run = load_supernet(tmp_path / "run")
    assert (run.checkpoint.model.full, run.subnets) == (checkpoint.model.full, grid)
    for subnet in grid.values():
        assert torch.equal(answers(run.checkpoint, subnet), answers(checkpoint, subnet))
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    batch = batch_for(theirs, checkpoint.model.shape, [17, 1, 9])
    assert (answer_of(loaded, batch, HEADS["classification"]) - answers(checkpoint)).abs().max() < 1e-5


def test_a_pruned_model_in_memory_is_converted(tmp_path: Path) -> None:
    zeros, model = zero_heads(Brought().write(tmp_path / "zeros"), GONE), Brought().write(tmp_path / "model")
    prune_in_memory(model)
    supernet = Supernet.convert(model).eval()
    assert supernet.model.heads == LEFT
    assert supernet.subnets["w050-d100"] == Subnet(((2, 24), (2, 24), (1, 24)))
    assert set(supernet.sample("width")) <= {subnet for name, subnet in supernet.subnets.items() if "d100" in name}
    batch = batch_for(model, supernet.model.shape, [17, 1, 9])
    with torch.no_grad():
        found = supernet(batch).logits
    assert (found - answer_of(zeros, batch, HEADS["classification"])).abs().max() < 1e-5


def prune_in_memory(model: Any) -> None:
    """Leave the heads out of a model, as `prune_heads` does; transformers 5 has no such method."""
    size = model.config.hidden_size // model.config.num_attention_heads
    for layer, gone in GONE.items():
        kept = [row for row in range(model.config.hidden_size) if row // size not in gone]
        attention = model.base_model.encoder.layer[layer].attention
        for linear in (attention.self.query, attention.self.key, attention.self.value):
            linear.weight = torch.nn.Parameter(linear.weight[kept])
            linear.bias = torch.nn.Parameter(linear.bias[kept])
        attention.output.dense.weight = torch.nn.Parameter(attention.output.dense.weight[:, kept])
    model.config.pruned_heads = dict(GONE)
