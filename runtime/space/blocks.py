"""Nets of blocks, as NAS-BERT (KDD 2021) finds them: a layer is a block of operations at a hidden size of its own.

A block runs its operations one after the other, each with a residual and a norm behind it; the identities that the
paper has at its end are left out. Attention has heads of `head_size`, the FFN `expansion` times as many neurons as its
block is wide.
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
"""As the paper's table 10 writes architectures."""


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
        """Name such as `128MFS3`."""
        return f"{self.hidden}{''.join(LETTERS[one] for one in self.operations)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {"hidden": self.hidden, "operations": list(self.operations)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Block:
        """The block that `to_dict` wrote."""
        return cls(int(raw["hidden"]), tuple(raw["operations"]))


@dataclass(frozen=True)
class BlockSubnet(Subnet[Block]):
    """One block of each stage."""

    def _check(self) -> None:
        if not self.layers:
            raise InputError("subnet of blocks: expected a block at least, got none")

    @property
    def name(self) -> str:
        """Names of its blocks, such as `128MF-64S3M`."""
        return "-".join(block.name for block in self.layers)

    def to_plain(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {"blocks": [block.to_dict() for block in self.layers]}

    @classmethod
    def from_plain(cls, raw: Mapping[str, Any]) -> BlockSubnet:
        """The subnet that `to_plain` wrote."""
        return cls(tuple(Block.from_dict(block) for block in raw["blocks"]))


def parse_subnet(name: str) -> BlockSubnet:
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
    return BlockSubnet(tuple(blocks))


@dataclass(frozen=True)
class BlockShape(Shape[Block]):
    """Sizes that all nets of a search have in common; a layer is a block."""

    kind: ClassVar[str] = "mixed"
    unit: ClassVar[str] = "block"
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
                raise InputError(f"shape of blocks: {name} must be at least 1, got {getattr(self, name)}")

    def to_dict(self) -> dict[str, int]:
        """Plain integers by name, for JSON."""
        return dict(vars(self))

    @property
    def embedding_width(self) -> int:
        """Numbers of a word's embedding."""
        return self.embedding

    def operation_part(self, hidden: int, operation: str) -> Part:
        """One operation at a hidden size."""
        parts: dict[str, Callable[[], Part]] = {
            "attention": lambda: attention_part(hidden, hidden),
            "ffn": lambda: ffn_part(hidden, self.expansion * hidden),
        }
        return parts[operation]() if operation in parts else convolution_part(hidden, KERNELS[operation])

    def layer_parts(self, layer: Block) -> tuple[Part, ...]:
        """Operations of a block."""
        return tuple(self.operation_part(layer.hidden, one) for one in layer.operations)

    def layer_parameters(self, block: Block) -> int:
        """Parameters of a block's operations."""
        return sum(part.parameters for part in self.layer_parts(block))

    def joints(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """Widths (from, to) that lead from the embeddings to the last block's states; equal ones need nothing."""
        if self.bridge:
            around = [pair for width in widths for pair in ((self.bridge, width), (width, self.bridge))]
            return [(self.embedding, self.bridge), *around]
        return list(itertools.pairwise((self.embedding, *widths)))

    def width(self, layer: Block) -> int:
        """Width at which a block computes."""
        return layer.hidden

    def layer_differences(self, other: Shape[Any]) -> str:
        """Sizes of the operations that another shape has otherwise."""
        return self.differences(other, ("kind", "head_size", "expansion"))

    def fits(self, layers: Sequence[Block]) -> bool:
        """Whether all blocks have whole heads."""
        return all(block.hidden % self.head_size == 0 for block in layers)

    def check(self, stages: Sequence[Options[Block]]) -> None:
        """Raise InputError where stages are not of a block each, or of sizes that what follows cannot take."""
        for number, (_, options) in enumerate(stages):
            if any(len(option) != 1 for option in options):
                raise InputError(f"space of blocks: stage {number}: expected options of one block")
            sizes = sorted({option[0].hidden for option in options})
            if len(sizes) > 1 and not self.bridge:
                raise InputError(
                    f"space of blocks: stage {number} has hidden sizes {sizes}; without a bridge "
                    "expected one, or what follows would not know what it gets"
                )
            if any(size % self.head_size for size in sizes):
                raise InputError(
                    f"space of blocks: stage {number} has hidden sizes {sizes}, "
                    f"not all of them multiples of the head size {self.head_size}"
                )

    def subnet(self, layers: tuple[Block, ...]) -> BlockSubnet:
        """The subnet of these blocks."""
        return BlockSubnet(layers)

    def alone(self, embedding: int | None = None) -> BlockShape:
        """The shape of a net without a bridge, with embeddings of that width (the same unless given)."""
        return dataclasses.replace(self, bridge=0, embedding=embedding or self.embedding)

    def plain_space(self, stages: Sequence[Options[Block]]) -> dict[str, Any]:
        """A space of blocks as plain lists, for JSON."""
        plain = [{"options": [block.to_dict() for option in options for block in option]} for _, options in stages]
        return {"kind": self.kind, "shape": self.to_dict(), "stages": plain}

    @classmethod
    def read_space(cls, raw: dict[str, Any]) -> tuple[BlockShape, list[Options[Block]]]:
        """The shape and the stages that `plain_space` wrote."""
        stages: list[Options[Block]] = [
            (number, tuple((Block.from_dict(block),) for block in stage["options"]))
            for number, stage in enumerate(raw["stages"])
        ]
        return cls(**raw["shape"]), stages
