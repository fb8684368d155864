"""Torch model of nets of blocks. Each operation is followed by a residual connection and a norm, as in BERT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.runtime.space.blocks import Block, BlockShape, BlockSubnet
from gearshift.runtime.space.parts import KERNELS, ROUNDS
from gearshift.runtime.space.space import BlockSpace
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.elastic import Head, Output, TaskModel
from gearshift.trainer.model.encoder.embeddings import Embeddings
from gearshift.trainer.model.encoder.layer import Dropout, attend


class Attention(nn.Module):
    """Multi-head self-attention with residual and norm."""

    def __init__(self, hidden: int, heads: int, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps=norm_eps)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Run it on (batch, tokens, hidden), keeping the shape; `mask` (batch, tokens) is true for real tokens."""

        def split(projected: Tensor) -> Tensor:  # (batch, heads, tokens, head_size)
            return projected.view(*projected.shape[:2], self.heads, -1).transpose(1, 2)

        dropout = self.dropout.attention if self.training else 0.0
        parts = (split(self.query(hidden)), split(self.key(hidden)), split(self.value(hidden)))
        context = attend(*parts, mask[:, None, None, :], dropout)
        attended = self.output(context.transpose(1, 2).flatten(2))
        normed: Tensor = self.norm(hidden + F.dropout(attended, self.dropout.hidden, self.training))
        return normed


class FeedForward(nn.Module):
    """Feed-forward network: two linear layers with GELU between them, residual and norm."""

    def __init__(self, hidden: int, neurons: int, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.into = nn.Linear(hidden, neurons)
        self.out = nn.Linear(neurons, hidden)
        self.norm = nn.LayerNorm(hidden, eps=norm_eps)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Run it on (batch, tokens, hidden), keeping the shape."""
        outer = self.out(F.gelu(self.into(hidden)))
        normed: Tensor = self.norm(hidden + F.dropout(outer, self.dropout.hidden, self.training))
        return normed


class ConvolutionRound(nn.Module):
    """Round of a separable convolution: depthwise along the tokens, pointwise, GELU, residual and norm."""

    def __init__(self, hidden: int, kernel: int, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.depthwise = nn.Conv2d(hidden, hidden, (1, kernel), padding=(0, kernel // 2), groups=hidden)
        self.pointwise = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps=norm_eps)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Run it on (batch, tokens, hidden), keeping the shape; padded tokens count as zeros."""
        real = hidden * mask[:, :, None]
        filtered = self.depthwise(real.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2)  # faster than Conv1d
        outer = F.gelu(self.pointwise(filtered))
        normed: Tensor = self.norm(hidden + F.dropout(outer, self.dropout.hidden, self.training))
        return normed


class SeparableConvolution(nn.Module):
    """Separable convolution: ROUNDS rounds."""

    def __init__(self, hidden: int, kernel: int, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(ConvolutionRound(hidden, kernel, dropout, norm_eps) for _ in range(ROUNDS))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Run it on (batch, tokens, hidden), keeping the shape."""
        for each in self.rounds:
            hidden = each(hidden, mask)
        return hidden


def make_operation(name: str, shape: BlockShape, hidden: int, dropout: Dropout, norm_eps: float) -> nn.Module:
    """Make one of `blocks.OPERATIONS` at a hidden size, with random weights."""
    if name == "attention":
        return Attention(hidden, hidden // shape.head_size, dropout, norm_eps)
    if name == "ffn":
        return FeedForward(hidden, shape.expansion * hidden, dropout, norm_eps)
    return SeparableConvolution(hidden, KERNELS[name], dropout, norm_eps)


@torch.no_grad()
def start_small(module: nn.Module) -> None:
    """Set initial weights as in BERT: normal with standard deviation 0.02, biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            part.weight.normal_(0, 0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            part.bias.zero_()


def cell_name(hidden: int, place: int, operation: str) -> str:
    """Return the name of the weights of an operation at a place; all blocks of that hidden size share them."""
    return f"{hidden}_{place}_{operation}"


class MixedStageModel(nn.Module):
    """Weights of all blocks of a stage: blocks of one hidden size share those of equal operations at the same place."""

    def __init__(
        self, shape: BlockShape, blocks: Sequence[Block], before: int, dropout: Dropout, norm_eps: float
    ) -> None:
        super().__init__()
        sizes = sorted({block.hidden for block in blocks})
        cells = {(block.hidden, place, name) for block in blocks for place, name in enumerate(block.operations)}
        self.into = nn.ModuleDict({str(size): nn.Linear(before, size) for size in sizes if size != before})
        self.cells = nn.ModuleDict(
            {cell_name(*cell): make_operation(cell[2], shape, cell[0], dropout, norm_eps) for cell in sorted(cells)}
        )
        after = shape.bridge
        self.out = nn.ModuleDict({str(size): nn.Linear(size, after) for size in sizes if after not in (0, size)})

    def forward(self, hidden: Tensor, mask: Tensor, block: Block) -> Tensor:
        """Run a block on (batch, tokens, width); `mask` (batch, tokens) is true for real tokens."""
        return self.leave(self.run(self.enter(hidden, block.hidden), mask, block), block.hidden)

    def enter(self, hidden: Tensor, size: int) -> Tensor:
        """Project the input to a hidden size, if it has another width."""
        return self.into[str(size)](hidden) if str(size) in self.into else hidden

    def run(self, hidden: Tensor, mask: Tensor, block: Block) -> Tensor:
        """Run the operations of a block."""
        for place, name in enumerate(block.operations):
            hidden = self.step(hidden, mask, block.hidden, place, name)
        return hidden

    def step(self, hidden: Tensor, mask: Tensor, size: int, place: int, name: str) -> Tensor:
        """Run one operation."""
        result: Tensor = self.cells[cell_name(size, place, name)](hidden, mask)
        return result

    def leave(self, hidden: Tensor, size: int) -> Tensor:
        """Project the states of a hidden size to the bridge, if there is one of another width."""
        return self.out[str(size)](hidden) if str(size) in self.out else hidden


class MixedModel(TaskModel):
    """Net of blocks: embeddings, stages and a task head; it can run any subnet of its space."""

    shape: BlockShape

    def __init__(
        self,
        space: BlockSpace,
        labels: int,
        *,
        head: Head | None = None,
        dropout: Dropout | None = None,
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__(head=head, dropout=dropout, norm_eps=norm_eps)
        self.space = space
        self.shape = shape = space.shape
        blocks = [tuple(space.options_of(number)) for number in range(space.length)]
        widths = [shape.bridge or of_stage[0].hidden for of_stage in blocks]
        self.embeddings = Embeddings(
            vocabulary=shape.vocabulary,
            positions=shape.positions,
            types=shape.types,
            width=shape.embedding,
            hidden=widths[0],
            norm_eps=norm_eps,
        )
        befores = [widths[0], *widths[:-1]]
        self.stages = nn.ModuleList(
            MixedStageModel(shape, of_stage, before, self.dropout, norm_eps)
            for of_stage, before in zip(blocks, befores, strict=True)
        )
        self.add_head(widths[-1], labels)

    def resized(self, **sizes: int) -> MixedModel:
        """Return a model with random weights whose shape differs in these sizes."""
        made: dict[str, Any] = {"head": self.head, "dropout": self.dropout, "norm_eps": self.norm_eps}
        return MixedModel(replace(self.space, shape=replace(self.shape, **sizes)), self.outputs, **made)

    @property
    def full(self) -> Subnet[Block]:
        """Subnet with the most parameters."""
        parameters = self.shape.layer_parameters
        places = range(self.space.length)
        return BlockSubnet(tuple(max(self.space.options_of(place), key=parameters) for place in places))

    def forward(self, batch: Batch, subnet: Subnet[Block]) -> Output:
        """Compute the logits of a subnet, and its states: embeddings, then the output of each block."""
        drop = self.dropout.hidden
        hidden = F.dropout(self.embeddings(batch.input_ids, batch.token_type_ids), drop, self.training)
        mask = batch.attention_mask.bool()
        states = [hidden]
        for stage, block in zip(self.stages, subnet.layers, strict=True):
            hidden = stage(hidden, mask, block)
            states.append(hidden)
        return Output(self.answer(hidden, batch.attention_mask), tuple(states))
