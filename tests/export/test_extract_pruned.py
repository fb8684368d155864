"""Subnets that `export --checkpoint` wrote are models that training and export take again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gearshift.export.extract import extract_subnet
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.run import load_supernet, save_run
from tests.trainer.brought import Brought
from tests.trainer.encoders import add_tokenizer, batch_for
from tests.trainer.tiny import LABELS as WORDS
from tests.trainer.tiny import SETTINGS, make_data, scatter, write_checkpoint

LABELS = ("LABEL_0", "LABEL_1", "LABEL_2")
PADDED: Any = SimpleNamespace(config=SimpleNamespace(pad_token_id=0))


@torch.no_grad()
def answers(checkpoint: Checkpoint, subnet: Subnet) -> torch.Tensor:
    logits: torch.Tensor = checkpoint.model.eval()(batch_for(PADDED, checkpoint.model.shape, [17, 1, 9]), subnet).logits
    return logits


def cut_out(checkpoint: Checkpoint, name: str, place: Path, labels: tuple[str, ...] = LABELS) -> Checkpoint:
    """A subnet of a supernet with this model, written and read again."""
    grid = checkpoint.model.grid()
    save_run(place / "run", checkpoint, subnets=grid, accuracies={}, facts={})
    extract_subnet(load_supernet(place / "run"), name, grid[name], place / name)
    return load_checkpoint(place / name, labels)


@pytest.mark.parametrize("name", ["w050-d100", "w075-d050", "w100-d100"])
def test_a_subnet_that_was_written_is_taken_and_cut_again(name: str, tmp_path: Path) -> None:
    Brought().write(tmp_path / "model")
    add_tokenizer(tmp_path / "model", write_checkpoint(tmp_path / "other"))
    whole = load_checkpoint(tmp_path / "model", LABELS)
    subnet = whole.model.grid()[name]
    small = cut_out(whole, name, tmp_path / "first")
    assert small.model.full.layers == tuple(layer for layer in subnet.layers if layer != (0, 0))
    assert (answers(small, small.model.full) - answers(whole, subnet)).abs().max() < 1e-5
    narrow = small.model.grid()["w025-d100"]
    smaller = cut_out(small, "w025-d100", tmp_path / "second")
    assert (answers(smaller, smaller.model.full) - answers(small, narrow)).abs().max() < 1e-5
    config = json.loads((tmp_path / "second" / "w025-d100" / "config.json").read_text())
    assert {len(gone) for gone in config["pruned_heads"].values()} == {3}
    assert "gearshift_heads" not in config


def test_a_training_keeps_the_order_of_a_subnet_that_was_written(tmp_path: Path) -> None:
    whole = load_checkpoint(write_checkpoint(tmp_path / "model"), WORDS)
    torch.manual_seed(0)
    scatter(whole.model)
    small = cut_out(whole, "w100-d050", tmp_path, WORDS)
    settings = dataclasses.replace(
        SETTINGS, teacher_epochs=0, width_epochs=0, depth_epochs=0, importance_rows=None, save_every_s=1e9
    )
    run = train_supernet(small.source, make_data(), settings, tmp_path / "trained")
    for width in ("w100", "w025"):
        found = answers(run.checkpoint, run.subnets[f"{width}-d100"])
        assert (found - answers(whole, whole.model.grid()[f"{width}-d050"])).abs().max() < 1e-5
    (note,) = run.facts["notes"]
    assert note.startswith(f"{small.source}: is a supernet, its heads and neurons keep their order")
