"""Losses through a tree of blocks against one block at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gearshift.trainer.nasbert.model import MixedStageModel
from gearshift.trainer.nasbert.scoring import Lesson, block_losses
from tests.trainer.nasbert.tiny import random_mixed, shared_space
from tests.trainer.tiny import random_batch


def test_blocks_that_share_a_beginning_have_the_loss_that_each_has_alone() -> None:
    space = shared_space()
    stage = random_mixed(space).stages[0].train()
    assert isinstance(stage, MixedStageModel)
    lessons = []
    for seed, lengths in enumerate(([5, 9], [3, 4, 12])):
        mask = random_batch(lengths).attention_mask.bool()
        source = torch.Generator().manual_seed(seed)
        given, wanted = (torch.randn(*mask.shape, 32, generator=source) for _ in range(2))
        lessons.append(Lesson(given, wanted[mask], mask))
    blocks = tuple(space.options_of(0))
    found = block_losses(stage, blocks, lessons)
    assert stage.training  # as it was
    stage.eval()
    for block, loss in zip(blocks, found, strict=True):
        with torch.no_grad():
            alone = [F.mse_loss(stage(one.given, one.mask, block)[one.mask], one.wanted) for one in lessons]
        weights = [len(one.wanted) for one in lessons]
        assert loss == pytest.approx(np.average(alone, weights=weights), rel=1e-5)
    assert len(set(found)) == len(blocks)
