"""A search of layers that share their weights."""

from pathlib import Path

import pytest

from gearshift.errors import InputError
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import load_supernet, save_run
from gearshift.trainer.search.search import search_run
from tests.trainer.encoders import HEADS, add_tokenizer, write_model
from tests.trainer.tiny import make_data


def test_layers_that_share_their_weights_are_refused(checkpoint_path: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "model", "ALBERT", HEADS["classification"])
    add_tokenizer(tmp_path / "model", checkpoint_path)
    checkpoint = load_checkpoint(tmp_path / "model", ("cold", "hot", "mild"))
    grid = uniform_grid(checkpoint.model.shape)
    save_run(tmp_path / "run", checkpoint, subnets=grid, accuracies={}, facts={"max_length": 16})
    with pytest.raises(InputError, match="found layers that share them, whose parameters are no sum"):
        search_run(load_supernet(tmp_path / "run"), make_data(), widths=(1.0, 0.5))
