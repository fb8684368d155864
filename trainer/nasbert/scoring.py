"""The losses of many blocks on the same text. Blocks that begin alike share what they begin with: a tree of them."""

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
class Lesson:
    """What a block is given and is to give, of one batch of text."""

    given: Tensor
    """(batch, tokens, hidden): what the teacher passes on before the block."""
    wanted: Tensor
    """(real tokens, hidden): what it passes on behind it."""
    mask: Tensor
    """(batch, tokens): true where a token is real."""

    def to(self, device: torch.device) -> Lesson:
        """The same lesson on another device."""
        return Lesson(self.given.to(device), self.wanted.to(device), self.mask.to(device))

    def loss(self, model: MixedStageModel, hidden: Tensor, size: int) -> Tensor:
        """Mean squared error of what a block passes on, out of its last states (batch, tokens, size)."""
        return F.mse_loss(model.leave(hidden[self.mask], size), self.wanted)


@dataclass
class _Node:
    number: int | None = None
    """Of the block that ends here."""
    after: dict[str, _Node] = field(default_factory=dict)


@torch.no_grad()
def block_losses(model: MixedStageModel, blocks: Sequence[Block], lessons: Sequence[Lesson]) -> Floats:
    """(blocks,) the mean loss of each over all real tokens; leaves the model in the mode that it was in."""
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
    for lesson in (each.to(device) for each in tqdm(lessons, desc="scores", unit="batch", disable=None, leave=False)):
        for size, tree in trees.items():
            found: list[tuple[int, Tensor]] = []
            _visit(model, lesson, size, tree, 0, model.enter(lesson.given, size), found)
            # Brought over together: a GPU need not wait for each.
            losses = torch.stack([loss for _, loss in found]).double().cpu().numpy()
            total[[number for number, _ in found]] += len(lesson.wanted) * losses
    model.train(was_training)
    return total / sum(len(lesson.wanted) for lesson in lessons)


def _visit(
    model: MixedStageModel,
    lesson: Lesson,
    size: int,
    node: _Node,
    place: int,
    hidden: Tensor,
    found: list[tuple[int, Tensor]],
) -> None:
    """Note the loss of every block that ends at a node or behind it."""
    if node.number is not None:
        found.append((node.number, lesson.loss(model, hidden, size)))
    for name, child in node.after.items():
        step = model.step(hidden, lesson.mask, size, place, name)
        _visit(model, lesson, size, child, place + 1, step, found)
