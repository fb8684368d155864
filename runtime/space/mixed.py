"""Nets of mixed operations, as NAS-BERT (KDD 2021) finds them: blocks of operations at a hidden size of their own.

A block runs its operations one after the other, each with a residual and a norm behind it; what the paper calls
identities at its end are left out. Attention has heads of `head_size`, the FFN `expansion` times as many neurons as
its block is wide. A separable convolution is two rounds of a depthwise convolution along the tokens, a product and
Gelu (as in Microsoft's port, ML.NET).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gearshift.errors import InputError, UnknownSubnetError

KERNELS = {"conv3": 3, "conv5": 5, "conv7": 7}
"""Separable convolution -> tokens that it looks at."""


OPERATIONS = ("attention", "ffn", *KERNELS)


LETTERS = {"attention": "M", "ffn": "F", "conv3": "S3", "conv5": "S5", "conv7": "S7"}
"""As the paper's table 10 writes architectures."""


ROUNDS = 2
"""Of a separable convolution."""


@dataclass(frozen=True)
class MixedShape:
    """The sizes that all subnets of a space of mixed operations have in common."""

    vocabulary: int
    positions: int
    types: int
    """Rows of the token-type table; 0 where the model has none."""
    embedding: int
    """Width of the embeddings; a projection makes them as wide as what follows, where that is another width."""
    head_size: int
    """Dimensions of one attention head."""
    expansion: int = 4
    """Neurons of an FFN / hidden size of its block."""
    bridge: int = 0
    """Width of what blocks pass on, with a projection into each block and out of it: any block can follow any other.
    0: a block passes on its own width, and one projection leads to the next where that is another."""

    def __post_init__(self) -> None:
        for name in ("vocabulary", "positions", "embedding", "head_size", "expansion"):
            if getattr(self, name) < 1:
                raise InputError(f"shape of mixed operations: {name} must be at least 1, got {getattr(self, name)}")

    def to_dict(self) -> dict[str, int]:
        """Plain integers by name, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Block:
    """Operations one after the other, at one hidden size."""

    hidden: int
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = [one for one in self.operations if one not in OPERATIONS]
        if unknown or not self.operations or self.hidden < 1:
            raise InputError(
                f"block: expected a hidden size and some of {', '.join(OPERATIONS)}, got {self.hidden}, "
                f"{', '.join(self.operations) or 'none'}"
            )

    @property
    def name(self) -> str:
        """Such as `128MFS3`."""
        return f"{self.hidden}{''.join(LETTERS[one] for one in self.operations)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {"hidden": self.hidden, "operations": list(self.operations)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Block:
        """The block that `to_dict` wrote."""
        return cls(int(raw["hidden"]), tuple(raw["operations"]))


@dataclass(frozen=True)
class Part:
    """What a piece of a net is made of, for counting."""

    matrices: tuple[tuple[int, int], ...] = ()
    """(inputs, outputs) of each product with a weight matrix."""
    others: int = 0
    """Parameters that are in no matrix: biases, norms, filters."""
    filters: int = 0
    """Multiply-accumulates of a token that no matrix makes."""
    attended: int = 0
    """Dimensions over which tokens attend to one another."""

    @property
    def parameters(self) -> int:
        """All numbers that are learnt."""
        return sum(inputs * outputs for inputs, outputs in self.matrices) + self.others

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one text."""
        products = sum(inputs * outputs for inputs, outputs in self.matrices)
        return tokens * (products + self.filters) + 2 * tokens * tokens * self.attended

    def bytes(self, precision: str) -> int:
        """Of the weights; int8: a byte for each weight of a matrix, 5 for a column's scale and zero point."""
        if precision != "int8":
            return self.parameters * {"fp32": 4, "fp16": 2}[precision]
        return sum(inputs * outputs + 5 * outputs for inputs, outputs in self.matrices) + 4 * self.others


def operation_part(shape: MixedShape, hidden: int, operation: str) -> Part:
    """One operation at a hidden size, with its norm."""
    norm = 2 * hidden
    if operation == "attention":
        return Part(((hidden, hidden),) * 4, 4 * hidden + norm, attended=hidden)
    if operation == "ffn":
        neurons = shape.expansion * hidden
        return Part(((hidden, neurons), (neurons, hidden)), neurons + hidden + norm)
    kernel = KERNELS[operation]
    filters = ROUNDS * kernel * hidden
    return Part(((hidden, hidden),) * ROUNDS, filters + ROUNDS * (2 * hidden + norm), filters)


def projection_part(inputs: int, outputs: int) -> Part:
    """A linear layer; nothing where both widths are the same."""
    return Part() if inputs == outputs else Part(((inputs, outputs),), outputs)


def block_parts(shape: MixedShape, block: Block) -> list[Part]:
    """The operations of a block."""
    return [operation_part(shape, block.hidden, one) for one in block.operations]


@dataclass(frozen=True)
class MixedSubnet:
    """One block of each stage."""

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if not self.blocks:
            raise InputError("subnet of mixed operations: expected a block at least, got none")

    @property
    def name(self) -> str:
        """The names of its blocks, such as `128MF-64S3M`."""
        return "-".join(block.name for block in self.blocks)

    def projections(self, shape: MixedShape) -> list[tuple[int, int]]:
        """The widths (from, to) that lead from the embeddings to the last block's states; equal ones need nothing."""
        if shape.bridge:
            around = [pair for b in self.blocks for pair in ((shape.bridge, b.hidden), (b.hidden, shape.bridge))]
            return [(shape.embedding, shape.bridge), *around]
        return list(itertools.pairwise([shape.embedding, *(block.hidden for block in self.blocks)]))

    def parts(self, shape: MixedShape) -> list[Part]:
        """Everything but the embedding tables and the task head."""
        operations = [part for block in self.blocks for part in block_parts(shape, block)]
        return [*(projection_part(*pair) for pair in self.projections(shape)), *operations]

    def parameters(self, shape: MixedShape) -> int:
        """Parameters with the embeddings, without the task head."""
        return table_parameters(shape) + sum(part.parameters for part in self.parts(shape))

    def macs(self, shape: MixedShape, tokens: int) -> int:
        """Multiply-accumulates for one text of that many tokens."""
        return sum(part.macs(tokens) for part in self.parts(shape))

    def bytes(self, shape: MixedShape, precision: str) -> int:
        """Bytes of the weights at a precision, with the embeddings, without the task head."""
        return table_bytes(shape, precision) + sum(part.bytes(precision) for part in self.parts(shape))

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {"blocks": [block.to_dict() for block in self.blocks]}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> MixedSubnet:
        """The subnet that `to_dict` wrote."""
        return cls(tuple(Block.from_dict(block) for block in raw["blocks"]))


def parse_subnet(name: str) -> MixedSubnet:
    """The subnet of a name such as `128MF-64S3M`; raises InputError."""
    known = {letter: operation for operation, letter in LETTERS.items()}
    blocks = []
    for part in name.split("-"):
        found = re.fullmatch(r"(\d+)((?:M|F|S3|S5|S7)+)", part)
        if found is None:
            raise InputError(
                f"net {name!r}: expected blocks such as 128MFS3 with - between them, of "
                f"{', '.join(f'{letter} ({operation})' for letter, operation in known.items())}; got {part!r}"
            )
        letters = re.findall(r"M|F|S\d", found[2])
        blocks.append(Block(int(found[1]), tuple(known[letter] for letter in letters)))
    return MixedSubnet(tuple(blocks))


def table_parameters(shape: MixedShape) -> int:
    """Parameters of the embedding tables with their norm."""
    return (shape.vocabulary + shape.positions + shape.types + 2) * shape.embedding


def table_bytes(shape: MixedShape, precision: str) -> int:
    """Bytes of the embedding tables; int8: the word table in bytes, with 5 for each of its rows."""
    if precision != "int8":
        return table_parameters(shape) * {"fp32": 4, "fp16": 2}[precision]
    words = shape.vocabulary * shape.embedding
    return words + 5 * shape.vocabulary + 4 * (table_parameters(shape) - words)


@dataclass(frozen=True)
class MixedStage:
    """The blocks that a stage may be."""

    options: tuple[Block, ...]

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) < len(self.options):
            raise InputError("stage of mixed operations: expected different blocks, one at least")


@dataclass(frozen=True)
class MixedSpace:
    """All stages with their blocks. A choice is the index of one block per stage."""

    shape: MixedShape
    stages: tuple[MixedStage, ...]

    def __post_init__(self) -> None:
        for number, stage in enumerate(self.stages):
            sizes = sorted({block.hidden for block in stage.options})
            if len(sizes) > 1 and not self.shape.bridge:
                raise InputError(
                    f"space of mixed operations: stage {number} has hidden sizes {sizes}; without a bridge "
                    "expected one, or what follows would not know what it gets"
                )
            if any(size % self.shape.head_size for size in sizes):
                raise InputError(
                    f"space of mixed operations: stage {number} has hidden sizes {sizes}, "
                    f"not all of them multiples of the head size {self.shape.head_size}"
                )

    @property
    def switches(self) -> int:
        """Options of all stages that have a choice: a graph asks for each of them whether it is the one."""
        return sum(len(stage.options) for stage in self.stages if len(stage.options) > 1)

    def choice(self, subnet: object) -> tuple[int, ...]:
        """The option index of each stage that makes this subnet; raises UnknownSubnetError."""
        if not isinstance(subnet, MixedSubnet) or len(subnet.blocks) != len(self.stages):
            raise UnknownSubnetError(f"expected a subnet of {len(self.stages)} blocks, got {subnet!r}")
        for number, (stage, block) in enumerate(zip(self.stages, subnet.blocks, strict=True)):
            if block not in stage.options:
                raise UnknownSubnetError(f"stage {number} has no block {block.name}; export the bundle with it")
        return tuple(stage.options.index(block) for stage, block in zip(self.stages, subnet.blocks, strict=True))

    def subnet(self, choice: Sequence[int]) -> MixedSubnet:
        """The subnet that a choice makes; raises UnknownSubnetError where an index is out of range."""
        if len(choice) != len(self.stages):
            raise UnknownSubnetError(f"choice: expected {len(self.stages)} integers, got {len(choice)}")
        for number, (stage, index) in enumerate(zip(self.stages, choice, strict=True)):
            if not 0 <= index < len(stage.options):
                raise UnknownSubnetError(
                    f"choice: stage {number} has options 0 to {len(stage.options) - 1}, got {index}"
                )
        return MixedSubnet(tuple(s.options[index] for s, index in zip(self.stages, choice, strict=True)))

    def thinned(self, options: Sequence[Sequence[int]]) -> MixedSpace:
        """The space with only these options of each stage."""
        return MixedSpace(
            self.shape,
            tuple(
                MixedStage(tuple(stage.options[number] for number in numbers))
                for stage, numbers in zip(self.stages, options, strict=True)
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """The space as plain lists, for JSON; `kind` tells it from a space of elastic layers."""
        stages = [{"options": [block.to_dict() for block in stage.options]} for stage in self.stages]
        return {"kind": KIND, "shape": self.shape.to_dict(), "stages": stages}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> MixedSpace:
        """The space that `to_dict` wrote."""
        stages = tuple(MixedStage(tuple(map(Block.from_dict, stage["options"]))) for stage in raw["stages"])
        return cls(MixedShape(**raw["shape"]), stages)


KIND = "mixed"


def mixed_space(shape: MixedShape, subnets: Iterable[MixedSubnet]) -> MixedSpace:
    """The space of the blocks that these subnets use, in the order in which they come."""
    columns = zip(*(subnet.blocks for subnet in subnets), strict=True)
    return MixedSpace(shape, tuple(MixedStage(tuple(dict.fromkeys(column))) for column in columns))
