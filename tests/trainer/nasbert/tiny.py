"""Small spaces of mixed operations, and models of them, that the tests share."""

from __future__ import annotations

import itertools

import torch

from gearshift.runtime.mixed import OPERATIONS, Block, MixedShape, MixedSpace, MixedStage
from gearshift.trainer.model import Dropout, Head
from gearshift.trainer.nasbert.model import MixedModel
from tests.trainer.tiny import scatter

SIZES = (16, 32)


def mixed_shape(*, embedding: int = 32, bridge: int = 0) -> MixedShape:
    return MixedShape(
        vocabulary=100, positions=32, types=2, embedding=embedding, head_size=8, expansion=2, bridge=bridge
    )


def shared_space() -> MixedSpace:
    """Two stages behind a bridge, each with blocks that end in every operation, at two hidden sizes."""
    blocks = [Block(size, (one,)) for size, one in itertools.product(SIZES, OPERATIONS)]
    longer = [Block(16, ("conv3", "attention", "ffn", "ffn")), Block(32, ("attention", "ffn", "conv5"))]
    stages = (MixedStage((*blocks, *longer)), MixedStage((*longer, *blocks)))
    return MixedSpace(mixed_shape(bridge=32), stages)


def lone_space(*, embedding: int = 24) -> MixedSpace:
    """One net of three blocks of different widths, and as many operations."""
    blocks = (Block(16, ("attention", "ffn")), Block(32, ("conv7",)), Block(16, ("conv3", "ffn", "attention", "ffn")))
    return MixedSpace(mixed_shape(embedding=embedding), tuple(MixedStage((block,)) for block in blocks))


def random_mixed(space: MixedSpace, labels: int = 8, *, head: Head | None = None, seed: int = 0) -> MixedModel:
    """A model with weights large enough that every subnet answers something else; in eval mode."""
    torch.manual_seed(seed)
    model = MixedModel(space, labels, head=head, dropout=Dropout(0.1, 0.1))
    scatter(model)
    return model.eval()
