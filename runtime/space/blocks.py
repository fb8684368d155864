"""Nets of blocks (NAS-BERT, KDD 2021): each layer is a block of operations with its own hidden size.

A block runs its operations in sequence, each followed by a residual connection and a norm. The identities at the end of
the paper's blocks are left out. Attention has heads of `head_size`; the FFN has `expansion` x hidden size neurons.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gearshift.errors import InputError
from gearshift.runtime.space.parts import KERNELS, Part, attention_part, convolution_part, ffn_part
from gearshift.runtime.space.subnet import Options, Shape, Subnet

OPERATIONS = ("attention", "ffn", *KERNELS)

LETTERS = {"attention": "M", "ffn": "F", "conv3": "S3", "conv5": "S5", "conv7": "S7"}
"""Operation -> its letters in the notation of the paper's table 10."""


@dataclass(frozen=True)
class Block:
    """Sequence of operations at one hidden size."""

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
        """Name such as `128MFS3`."""
        return f"{self.hidden}{''.join(LETTERS[one] for one in self.operations)}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {"hidden": self.hidden, "operations": list(self.operations)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Block:
        """Read the block that `to_dict` wrote."""
        return cls(int(raw["hidden"]), tuple(raw["operations"]))


@dataclass(frozen=True)
class BlockSubnet(Subnet[Block]):
    """Subnet with one block per stage."""

    def _check(self) -> None:
        if not self.layers:
            raise InputError("subnet of blocks: expected at least one block, got none")

    @property
    def name(self) -> str:
        """Names of the blocks, joined: `128MF-64S3M`."""
        return "-".join(block.name for block in self.layers)

    def to_plain(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {"blocks": [block.to_dict() for block in self.layers]}

    @classmethod
    def from_plain(cls, raw: Mapping[str, Any]) -> BlockSubnet:
        """Read the subnet that `to_plain` wrote."""
        return cls(tuple(Block.from_dict(block) for block in raw["blocks"]))


def parse_subnet(name: str) -> BlockSubnet:
    """Parse a name such as `128MF-64S3M`; raises InputError."""
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
    return BlockSubnet(tuple(blocks))


@dataclass(frozen=True)
class BlockShape(Shape[Block]):
    """Sizes shared by all nets of a search; a layer is a block."""

    kind: ClassVar[str] = "mixed"
    unit: ClassVar[str] = "block"
    vocabulary: int
    positions: int
    types: int
    """Rows of the token-type table; 0 if the model has none."""
    embedding: int
    """Width of the embeddings. If the first block has another width, a projection lies between them."""
    head_size: int
    """Dimensions of one attention head."""
    expansion: int = 4
    """FFN neurons / hidden size of the block."""
    bridge: int = 0
    """Width of the states between blocks. A projection leads into each block and out of it, so that any block can
    follow any other. 0: no bridge; one projection lies between two blocks of different widths."""

    def __post_init__(self) -> None:
        for name in ("vocabulary", "positions", "embedding", "head_size", "expansion"):
            if getattr(self, name) < 1:
                raise InputError(f"shape of blocks: {name} must be at least 1, got {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain integers by name, for JSON."""
        return dict(vars(self))

    @property
    def embedding_width(self) -> int:
        """Width of a word embedding."""
        return self.embedding

    def operation_part(self, hidden: int, operation: str) -> Part:
        """Return the part of an operation at a hidden size."""
        parts: dict[str, Callable[[], Part]] = {
            "attention": lambda: attention_part(hidden, hidden),
            "ffn": lambda: ffn_part(hidden, self.expansion * hidden),
        }
        return parts[operation]() if operation in parts else convolution_part(hidden, KERNELS[operation])

    def layer_parts(self, layer: Block, place: int | None = None) -> tuple[Part, ...]:
        """Return the parts of a block: one per operation."""
        return tuple(self.operation_part(layer.hidden, one) for one in layer.operations)

    def layer_parameters(self, block: Block) -> int:
        """Return the number of parameters of a block's operations."""
        return sum(part.parameters for part in self.layer_parts(block))

    def joints(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """Return the widths (from, to) of the projections from the embeddings to the last block.

        A pair of equal widths needs no projection.
        """
        if self.bridge:
            around = [pair for width in widths for pair in ((self.bridge, width), (width, self.bridge))]
            return [(self.embedding, self.bridge), *around]
        return list(itertools.pairwise((self.embedding, *widths)))

    def width(self, layer: Block) -> int:
        """Return the hidden size of a block."""
        return layer.hidden

    def layer_differences(self, other: Shape[Any]) -> str:
        """Describe the sizes of operations that differ in another shape."""
        return self.differences(other, ("kind", "head_size", "expansion"))

    def fits(self, layers: Sequence[Block]) -> bool:
        """Return whether every hidden size is a multiple of the head size."""
        return all(block.hidden % self.head_size == 0 for block in layers)

    def check(self, stages: Sequence[Options[Block]]) -> None:
        """Raise InputError unless each option is one block, of a hidden size that the next stage can take."""
        for number, (_, options) in enumerate(stages):
            if any(len(option) != 1 for option in options):
                raise InputError(f"space of blocks: stage {number}: expected one block in each option")
            sizes = sorted({option[0].hidden for option in options})
            if len(sizes) > 1 and not self.bridge:
                raise InputError(
                    f"space of blocks: stage {number} has hidden sizes {sizes}; without a bridge "
                    "expected one, since the next stage takes one width"
                )
            if any(size % self.head_size for size in sizes):
                raise InputError(
                    f"space of blocks: stage {number} has hidden sizes {sizes}, "
                    f"not all of them multiples of the head size {self.head_size}"
                )

    def subnet(self, layers: tuple[Block, ...]) -> BlockSubnet:
        """Return the subnet of these blocks."""
        return BlockSubnet(layers)

    def alone(self, embedding: int | None = None) -> BlockShape:
        """Return the shape of a standalone net: no bridge, and embeddings of width `embedding` (default: as here)."""
        return dataclasses.replace(self, bridge=0, embedding=embedding or self.embedding)

    def plain_space(self, stages: Sequence[Options[Block]]) -> dict[str, Any]:
        """Return a space of blocks as plain lists, for JSON."""
        plain = [{"options": [block.to_dict() for option in options for block in option]} for _, options in stages]
        return {"kind": self.kind, "shape": self.to_dict(), "stages": plain}

    @classmethod
    def read_space(cls, raw: dict[str, Any]) -> tuple[BlockShape, list[Options[Block]]]:
        """Read the shape and the stages that `plain_space` wrote."""
        stages: list[Options[Block]] = [
            (number, tuple((Block.from_dict(block),) for block in stage["options"]))
            for number, stage in enumerate(raw["stages"])
        ]
        return cls(**raw["shape"]), stages
