"""Small spaces of mixed operations, and models of them, that the tests share."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch

from gearshift.runtime.space.blocks import OPERATIONS, Block, BlockShape
from gearshift.runtime.space.space import BlockSpace, block_stage
from gearshift.trainer.model.elastic import Head
from gearshift.trainer.model.encoder.layer import Dropout
from gearshift.trainer.nasbert.model import MixedModel
from gearshift.trainer.nasbert.settings import NetSettings, SearchSettings, TuneSettings
from tests.trainer.tiny import make_rows, scatter

SIZES = (16, 32)

SEARCH = SearchSettings(
    block_layers=2,
    sizes=(8, 16),
    max_length=16,
    tokens=600,
    dev_tokens=150,
    batch_size=16,
    lr=2e-2,
    warm_epochs=2,
    buckets=3,
    sampled=400,
    deleted=0.8,
    kept=3,
    score_batches=1,
    save_every_s=60,
)
"""Two stages of 1,560 blocks, three buckets of 520; four or five deletions."""

NET = NetSettings(
    embedding=16, block_layers=2, max_length=16, tokens=600, dev_tokens=150, batch_size=16, epochs=2, lr=3e-3
)

TUNE = TuneSettings(max_length=16, batch_size=16, epochs=30, lr=1e-3, head_lr_factor=1)


def mixed_shape(*, embedding: int = 32, bridge: int = 0) -> BlockShape:
    return BlockShape(
        vocabulary=100, positions=32, types=2, embedding=embedding, head_size=8, expansion=2, bridge=bridge
    )


def shared_space() -> BlockSpace:
    """Two stages behind a bridge, each with blocks that end in every operation, at two hidden sizes."""
    blocks = [Block(size, (one,)) for size, one in itertools.product(SIZES, OPERATIONS)]
    longer = [Block(16, ("conv3", "attention", "ffn", "ffn")), Block(32, ("attention", "ffn", "conv5"))]
    stages = (block_stage(0, (*blocks, *longer)), block_stage(1, (*longer, *blocks)))
    return BlockSpace(mixed_shape(bridge=32), stages)


def lone_space(*, embedding: int = 24) -> BlockSpace:
    """One net of three blocks of different widths, and as many operations."""
    blocks = (Block(16, ("attention", "ffn")), Block(32, ("conv7",)), Block(16, ("conv3", "ffn", "attention", "ffn")))
    return BlockSpace(
        mixed_shape(embedding=embedding), tuple(block_stage(number, (block,)) for number, block in enumerate(blocks))
    )


def random_mixed(space: BlockSpace, labels: int = 8, *, head: Head | None = None, seed: int = 0) -> MixedModel:
    """A model with weights large enough that every subnet answers something else; in eval mode."""
    torch.manual_seed(seed)
    model = MixedModel(space, labels, head=head, dropout=Dropout(0.1, 0.1))
    scatter(model)
    return model.eval()


def write_text(target: Path) -> Path:
    """Some hundred lines of the words that the tiny checkpoint knows."""
    target.write_text("\n".join(row.text for row in make_rows(150, longest=14)))
    return target
