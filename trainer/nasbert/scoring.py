"""Losses of many blocks on the same text; common prefixes of blocks are computed once, in a prefix tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gearshift.runtime.space.blocks import Block
from gearshift.trainer.nasbert.model import MixedStageModel
from gearshift.trainer.nasbert.shrinking import Floats


@dataclass(frozen=True)
class BlockBatch:
    """Inputs and targets of a block for one batch of text: the teacher's states before and after it."""

    inputs: Tensor
    """States of the teacher before the block, shape (batch, tokens, hidden)."""
    targets: Tensor
    """States of the teacher after the block, shape (real tokens, hidden)."""
    mask: Tensor
    """Mask of real tokens, shape (batch, tokens)."""

    def to(self, device: torch.device) -> BlockBatch:
        """Return the batch on another device."""
        return BlockBatch(self.inputs.to(device), self.targets.to(device), self.mask.to(device))

    def loss(self, model: MixedStageModel, hidden: Tensor, size: int) -> Tensor:
        """Compute the mean squared error of a block's output from its last states (batch, tokens, size)."""
        return F.mse_loss(model.leave(hidden[self.mask], size), self.targets)


@dataclass
class _Node:
    number: int | None = None
    """Index of the block that ends here."""
    after: dict[str, _Node] = field(default_factory=dict)


@torch.no_grad()
def block_losses(model: MixedStageModel, blocks: Sequence[Block], batches: Sequence[BlockBatch]) -> Floats:
    """Measure the mean loss of each block over all real tokens, shape (blocks,); restores the model's mode."""
    trees: dict[int, _Node] = {}
    for number, block in enumerate(blocks):
        node = trees.setdefault(block.hidden, _Node())
        for name in block.operations:
            node = node.after.setdefault(name, _Node())
        assert node.number is None, f"{block.name} is there twice"
        node.number = number
    was_training = model.training
    model.eval()
    total = np.zeros(len(blocks))
    device = next(model.parameters()).device
    for batch in (each.to(device) for each in tqdm(batches, desc="scores", unit="batch", disable=None, leave=False)):
        for size, tree in trees.items():
            found: list[tuple[int, Tensor]] = []
            _visit(model, batch, size, tree, 0, model.enter(batch.inputs, size), found)
            # Transferred together, so that a GPU is waited for once.
            losses = torch.stack([loss for _, loss in found]).double().cpu().numpy()
            total[[number for number, _ in found]] += len(batch.targets) * losses
    model.train(was_training)
    return total / sum(len(batch.targets) for batch in batches)


def _visit(
    model: MixedStageModel,
    batch: BlockBatch,
    size: int,
    node: _Node,
    place: int,
    hidden: Tensor,
    found: list[tuple[int, Tensor]],
) -> None:
    """Append to `found` the loss of every block that ends at a node or below it."""
    if node.number is not None:
        found.append((node.number, batch.loss(model, hidden, size)))
    for name, child in node.after.items():
        step = model.step(hidden, batch.mask, size, place, name)
        _visit(model, batch, size, child, place + 1, step, found)
