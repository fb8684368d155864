"""The model of a space of mixed operations: one net, or the weights that all nets of a search share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.runtime.mixed import Block, MixedShape, MixedSpace, MixedStage, MixedSubnet, block_parts
from gearshift.trainer.batches import Batch
from gearshift.trainer.model import Dropout, Embeddings, Head, Output, TaskModel
from gearshift.trainer.nasbert.operations import make_operation


def cell_name(hidden: int, place: int, operation: str) -> str:
    """The weights of an operation at a place of its block: all blocks of that hidden size share them."""
    return f"{hidden}_{place}_{operation}"


class MixedStageModel(nn.Module):
    """The weights of all blocks of a stage. Blocks of one hidden size share what they have at the same place."""

    def __init__(self, shape: MixedShape, stage: MixedStage, before: int, dropout: Dropout, norm_eps: float) -> None:
        super().__init__()
        sizes = sorted({block.hidden for block in stage.options})
        cells = {(block.hidden, place, name) for block in stage.options for place, name in enumerate(block.operations)}
        self.into = nn.ModuleDict({str(size): nn.Linear(before, size) for size in sizes if size != before})
        self.cells = nn.ModuleDict(
            {cell_name(*cell): make_operation(cell[2], shape, cell[0], dropout, norm_eps) for cell in sorted(cells)}
        )
        after = shape.bridge
        self.out = nn.ModuleDict({str(size): nn.Linear(size, after) for size in sizes if after not in (0, size)})

    def forward(self, hidden: Tensor, mask: Tensor, block: Block) -> Tensor:
        """What a block makes of (batch, tokens, width); `mask` (batch, tokens) is true where a token is real."""
        return self.leave(self.run(self.enter(hidden, block.hidden), mask, block), block.hidden)

    def enter(self, hidden: Tensor, size: int) -> Tensor:
        """What blocks of a hidden size make of what they are given, before their first operation."""
        return self.into[str(size)](hidden) if str(size) in self.into else hidden

    def run(self, hidden: Tensor, mask: Tensor, block: Block) -> Tensor:
        """The operations of a block."""
        for place, name in enumerate(block.operations):
            hidden = self.step(hidden, mask, block.hidden, place, name)
        return hidden

    def step(self, hidden: Tensor, mask: Tensor, size: int, place: int, name: str) -> Tensor:
        """One operation."""
        result: Tensor = self.cells[cell_name(size, place, name)](hidden, mask)
        return result

    def leave(self, hidden: Tensor, size: int) -> Tensor:
        """What blocks of a hidden size pass on."""
        return self.out[str(size)](hidden) if str(size) in self.out else hidden


class MixedModel(TaskModel):
    """Embeddings, stages and a task head; runs any subnet of its space."""

    def __init__(
        self,
        space: MixedSpace,
        labels: int,
        *,
        head: Head | None = None,
        dropout: Dropout | None = None,
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__(head=head, dropout=dropout, norm_eps=norm_eps)
        self.space = space
        shape = self.shape
        widths = [shape.bridge or stage.options[0].hidden for stage in space.stages]
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
            MixedStageModel(shape, stage, before, self.dropout, norm_eps)
            for stage, before in zip(space.stages, befores, strict=True)
        )
        self.add_head(widths[-1], labels)

    @property
    def shape(self) -> MixedShape:
        """The sizes that all subnets have in common."""
        return self.space.shape

    @property
    def full(self) -> MixedSubnet:
        """The subnet of most parameters."""

        def parameters(block: Block) -> int:
            return sum(part.parameters for part in block_parts(self.shape, block))

        return MixedSubnet(tuple(max(stage.options, key=parameters) for stage in self.space.stages))

    def forward(self, batch: Batch, subnet: MixedSubnet) -> Output:
        """Logits of a subnet, and its states: embeddings, then what each block passes on."""
        drop = self.dropout.hidden
        hidden = F.dropout(self.embeddings(batch.input_ids, batch.token_type_ids), drop, self.training)
        mask = batch.attention_mask.bool()
        states = [hidden]
        for stage, block in zip(self.stages, subnet.blocks, strict=True):
            hidden = stage(hidden, mask, block)
            states.append(hidden)
        return Output(self.answer(hidden, batch.attention_mask), tuple(states))
