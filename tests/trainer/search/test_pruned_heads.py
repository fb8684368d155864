"""A search of a supernet that lacks some of its heads."""

from __future__ import annotations

from pathlib import Path

import torch

from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import SUPERNET, load_supernet, save_run
from gearshift.trainer.search.search import search_run
from tests.trainer.brought import prune_heads
from tests.trainer.tiny import LABELS, make_data, scatter


def test_a_search_has_no_heads_that_are_not_there(checkpoint_path: Path, tmp_path: Path) -> None:
    whole = load_checkpoint(checkpoint_path, LABELS)
    torch.manual_seed(0)
    scatter(whole.model)
    save_run(tmp_path / "model", whole, subnets={}, accuracies={}, facts={})
    (tmp_path / "model" / SUPERNET).unlink()
    prune_heads(tmp_path / "model", {1: [0, 3], 3: [2]})
    checkpoint = load_checkpoint(tmp_path / "model", LABELS)
    facts = {"max_length": 16, "settings": {"widths": [1.0, 0.5]}}
    save_run(tmp_path / "run", checkpoint, subnets=checkpoint.model.grid(), accuracies={}, facts=facts)
    report = search_run(load_supernet(tmp_path / "run"), make_data(), pool=4, rescored=6)
    assert report.pool[0].name == "w100-d100"
    assert report.pool[0].subnet.layers == ((4, 64), (2, 64), (4, 64), (3, 64))
    for member in report.pool:
        kept = [heads for heads, _ in member.subnet.layers]
        assert all(heads <= own for heads, own in zip(kept, checkpoint.model.heads, strict=True))
    assert load_supernet(tmp_path / "run").subnets == {member.name: member.subnet for member in report.pool}
