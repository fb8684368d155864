"""Nets of convolutions (Once-for-All, ICLR 2020): elastic channels inside of blocks, and blocks that can be skipped.

A layer is an *inner group*: channels that one dense convolution makes and another takes, with nothing but operations
channel by channel between them. It keeps its first channels, and depthwise filters of its own or of a smaller size. A
block between the ends of a residual connection may be skipped, with all its groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gearshift.errors import InputError
from gearshift.runtime.space.parts import Part
from gearshift.runtime.space.shape import read_layers
from gearshift.runtime.space.subnet import SKIPPED, Options, Shape, Subnet

Kept = tuple[int, int]
"""(channels, kernel size) that a subnet keeps of a group; `SKIPPED` if its block does not run."""


@dataclass(frozen=True)
class Group:
    """Inner group of channels."""

    channels: int
    kernel: int = 1
    """Size of the depthwise filters inside of the group; 1 without any."""
    block: int = -1
    """Number of the block that can be skipped; -1 if the group always runs."""
    stage: int = -1
    """Number of the stage, whose blocks are skipped from the last on; -1 if the group always runs."""
    smallest: int = 0
    """Size of the smallest depthwise filters that a subnet may have; 0 if they keep their size."""

    @property
    def kernels(self) -> tuple[int, ...]:
        """Sizes that its depthwise filters can have, largest first: a ring of taps less each time."""
        return tuple(range(self.kernel, (self.smallest or self.kernel) - 1, -2))


@dataclass(frozen=True)
class Convolution:
    """Convolution or linear layer, with the sizes that its costs follow from."""

    inputs: int
    outputs: int
    taps: int = 1
    """Places of a filter: 9 for 3 x 3."""
    pixels: int = 1
    """Pixels of the image for each place of the output: 4 at half its height and width."""
    depthwise: bool = False
    source: int = -1
    """Group of its input channels; -1 if they are always all kept."""
    target: int = -1
    """Group of its output channels; -1 if they are always all kept."""
    block: int = -1
    """Number of the block that it is in, if that can be skipped; else -1."""

    def part(self, layers: Sequence[Kept]) -> Part:
        """Return its part of a subnet in which its block runs."""
        inputs = self.inputs if self.source < 0 else layers[self.source][0]
        outputs = self.outputs if self.target < 0 else layers[self.target][0]
        if self.depthwise:
            # Filters that cannot be smaller have at most the taps of their group's kernel.
            taps = self.taps if self.target < 0 else min(self.taps, layers[self.target][1] ** 2)
            weights = outputs * taps
            return Part(others=weights + outputs, filters=weights, pixels=self.pixels)
        return Part(((inputs * self.taps, outputs),), outputs, pixels=self.pixels)


@dataclass(frozen=True)
class ConvolutionSubnet(Subnet[Kept]):
    """Subnet with the channels that each group keeps."""

    def _check(self) -> None:
        for index, (channels, kernel) in enumerate(self.layers):
            if channels < 0 or kernel < 0 or (channels == 0) != (kernel == 0):
                raise InputError(
                    f"subnet: group {index} keeps {channels} channels of kernel size {kernel}; "
                    "expected both positive, or (0, 0) for one that is skipped"
                )

    def as_wide_as(self, full: Subnet[Kept]) -> bool:
        """Return whether all groups that run keep all channels, of whatever kernel size."""
        pairs = zip(self.layers, full.layers, strict=True)
        return all(layer[0] in (whole[0], SKIPPED[0]) for layer, whole in pairs)

    def parts(self, shape: Shape[Kept], *, stored: bool = False) -> list[Part]:
        """Return all parts; nothing is stored twice."""
        assert isinstance(shape, ConvolutionShape), f"a subnet of convolutions in a net of kind {shape.kind}"
        skipped = shape.skipped(self.layers)
        return [one.part(self.layers) for one in shape.convolutions if one.block not in skipped]

    def to_plain(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {"channels": [list(layer) for layer in self.layers]}

    @classmethod
    def from_plain(cls, raw: Mapping[str, Any]) -> ConvolutionSubnet:
        """Read the subnet that `to_plain` wrote."""
        return cls(read_layers(raw["channels"]))


@dataclass(frozen=True)
class ConvolutionShape(Shape[Kept]):
    """Groups and convolutions of a net, in the order in which they run."""

    kind: ClassVar[str] = "convolutional"
    unit: ClassVar[str] = "group"
    groups: tuple[Group, ...]
    convolutions: tuple[Convolution, ...]
    vocabulary: int = 0
    positions: int = 0
    types: int = 0

    def __post_init__(self) -> None:
        known = range(-1, len(self.groups))
        for one in self.convolutions:
            if one.source not in known or one.target not in known or min(one.inputs, one.outputs, one.pixels) < 1:
                raise InputError(f"shape of convolutions: expected groups up to {len(self.groups) - 1}, found {one}")
        for group in self.groups:
            if group.channels < 1 or group.kernel < 1:
                raise InputError(f"shape of convolutions: expected channels and a kernel size, found {group}")
            if group.smallest and (not 0 < group.smallest <= group.kernel or (group.kernel - group.smallest) % 2):
                raise InputError(f"shape of convolutions: expected a smallest kernel by whole rings, found {group}")

    @property
    def full(self) -> ConvolutionSubnet:
        """The whole net."""
        return ConvolutionSubnet(tuple((group.channels, group.kernel) for group in self.groups))

    @property
    def embedding_width(self) -> int:
        """Width of a word embedding: none."""
        return 0

    @property
    def embedding_parameters(self) -> int:
        """Number of parameters of embeddings: none."""
        return 0

    def layer_parts(self, layer: Kept, place: int | None = None) -> tuple[Part, ...]:
        """Return the parts that read the channels of a group, with all others whole: a bound for the sizes of a graph,
        no row of a table, since one convolution lies between two groups."""
        full = self.full.layers
        places = range(len(full)) if place is None else (place,)
        return tuple(
            one.part([*full[:index], layer, *full[index + 1 :]])
            for index in places
            for one in self.convolutions
            if index in (one.source, one.target)
        )

    def joints(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """Return no projections: convolutions are listed."""
        return []

    def width(self, layer: Kept) -> int:
        """Return the channels of a group."""
        return layer[0]

    def layer_differences(self, other: Shape[Any]) -> str:
        """Describe what differs in another shape."""
        return self.differences(other, ("kind", "groups"))

    def fits(self, layers: Sequence[Kept]) -> bool:
        """Return whether each group has as many channels and so large a filter, and whole blocks are skipped, the last
        ones of a stage first."""
        if len(layers) != len(self.groups):
            return False
        pairs = list(zip(self.groups, layers, strict=True))
        sizes = all(kept == SKIPPED or self._has(group, kept) for group, kept in pairs)
        skipped = self.skipped(layers)
        whole = all((kept == SKIPPED) == (group.block in skipped) for group, kept in pairs)
        return sizes and whole and -1 not in skipped and self._first_kept(skipped)

    def skipped(self, layers: Sequence[Kept]) -> frozenset[int]:
        """Return the numbers of the blocks that do not run."""
        pairs = zip(self.groups, layers, strict=True)
        return frozenset(group.block for group, kept in pairs if kept == SKIPPED)

    def _has(self, group: Group, kept: Kept) -> bool:
        return 0 < kept[0] <= group.channels and kept[1] in group.kernels

    def _first_kept(self, skipped: frozenset[int]) -> bool:
        """Return whether no block runs behind a skipped one of its stage."""
        over: set[int] = set()
        for group in self.groups:
            if group.block in skipped:
                over.add(group.stage)
            elif group.block >= 0 and group.stage in over:
                return False
        return True

    def check(self, stages: Sequence[Options[Kept]]) -> None:
        """Raise InputError for options that no net of this shape has."""
        for first, options in stages:
            for option in options:
                groups = self.groups[first : first + len(option)]
                fits = len(groups) == len(option) and all(
                    (kept == SKIPPED and group.block >= 0) or self._has(group, kept)
                    for group, kept in zip(groups, option, strict=True)
                )
                if not fits:
                    raise InputError(f"space of convolutions: no group from {first} on can keep {option}")

    def subnet(self, layers: tuple[Kept, ...]) -> ConvolutionSubnet:
        """Return the subnet of these groups."""
        return ConvolutionSubnet(layers)

    def alone(self) -> ConvolutionShape:
        """Return the shape of a standalone subnet: the same."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        named = {"groups": self.groups, "convolutions": self.convolutions}
        return {name: [vars(one) for one in each] for name, each in named.items()}

    def plain_space(self, stages: Sequence[Options[Kept]]) -> dict[str, Any]:
        """Return a space of groups as plain lists, for JSON."""
        plain = [
            {"first": first, "options": [[list(kept) for kept in option] for option in options]}
            for first, options in stages
        ]
        return {"kind": self.kind, "shape": self.to_dict(), "stages": plain}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ConvolutionShape:
        """Read the shape that `to_dict` wrote."""
        groups = tuple(Group(**one) for one in raw["groups"])
        return cls(groups, tuple(Convolution(**one) for one in raw["convolutions"]))

    @classmethod
    def read_space(cls, raw: dict[str, Any]) -> tuple[ConvolutionShape, list[Options[Kept]]]:
        """Read the shape and the stages that `plain_space` wrote."""
        stages: list[Options[Kept]] = [
            (int(stage["first"]), tuple(read_layers(option) for option in stage["options"])) for stage in raw["stages"]
        ]
        return cls.from_dict(raw["shape"]), stages
