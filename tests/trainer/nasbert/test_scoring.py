"""Losses through a tree of blocks against one block at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gearshift.trainer.nasbert.model import MixedStageModel
from gearshift.trainer.nasbert.scoring import BlockBatch, block_losses
from tests.trainer.nasbert.tiny import random_mixed, shared_space
from tests.trainer.tiny import random_batch


def test_blocks_that_share_a_beginning_have_the_loss_that_each_has_alone() -> None:
    space = shared_space()
    stage = random_mixed(space).stages[0].train()
    assert isinstance(stage, MixedStageModel)
    batches = []
    for seed, lengths in enumerate(([5, 9], [3, 4, 12])):
        mask = random_batch(lengths).attention_mask.bool()
        source = torch.Generator().manual_seed(seed)
        given, wanted = (torch.randn(*mask.shape, 32, generator=source) for _ in range(2))
        batches.append(BlockBatch(given, wanted[mask], mask))
    blocks = tuple(space.options_of(0))
    found = block_losses(stage, blocks, batches)
    assert stage.training  # as it was
    stage.eval()
    for block, loss in zip(blocks, found, strict=True):
        with torch.no_grad():
            alone = [F.mse_loss(stage(one.inputs, one.mask, block)[one.mask], one.targets) for one in batches]
        weights = [len(one.targets) for one in batches]
        assert loss == pytest.approx(np.average(alone, weights=weights), rel=1e-5)
    assert len(set(found)) == len(blocks)
