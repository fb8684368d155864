"""The space of subnets: what can be switched.

A space has stages, a stage has options, and an option keeps some of its stage's layers: a share of the heads and
neurons of elastic layers, or one block of operations (NAS-BERT). The shape says what a layer is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic

from gearshift.errors import InputError, UnknownSubnetError
from gearshift.runtime.space.blocks import Block, BlockShape, BlockSubnet
from gearshift.runtime.space.shape import EncoderShape, read_layers
from gearshift.runtime.space.subnet import SKIPPED, L, Shape, Subnet

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    S = TypeVar("S", bound=Shape[Any], default=EncoderShape)
else:
    from typing import TypeVar

    S = TypeVar("S")

Choice = tuple[int, ...]
"""An option of each stage: the integers that the graph takes for a subnet."""


@dataclass(frozen=True)
class Option(Generic[L]):
    """One thing that a stage may be: the layers it keeps, as in `Subnet.layers`."""

    layers: tuple[L, ...]

    @property
    def skips(self) -> bool:
        """Whether nothing of the stage runs."""
        return all(layer == SKIPPED for layer in self.layers)


@dataclass(frozen=True)
class Stage(Generic[L]):
    """Consecutive layers that are switched together, from `first` on, and the options they have."""

    first: int
    options: tuple[Option[L], ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise InputError(f"stage at layer {self.first}: no options")
        lengths = {len(option.layers) for option in self.options}
        if len(lengths) > 1:
            raise InputError(
                f"stage at layer {self.first}: options cover {sorted(lengths)} layers; expected one length"
            )
        if len(set(self.options)) < len(self.options):
            raise InputError(f"stage at layer {self.first}: an option is listed twice")

    @property
    def length(self) -> int:
        """Number of layers that the stage covers."""
        return len(self.options[0].layers)


@dataclass(frozen=True)
class Space(Generic[L, S]):
    """All stages with their options.

    A *choice* is one option index per stage: the integers that the elastic graph takes for a subnet.
    """

    shape: S
    stages: tuple[Stage[L], ...]

    def __post_init__(self) -> None:
        first = 0
        for stage in self.stages:
            if stage.first != first:
                raise InputError(f"space: a stage starts at layer {stage.first}; expected {first}")
            first += stage.length
        self.shape.check(self._plain_stages())

    @cached_property
    def length(self) -> int:
        """Number of layers that all stages cover."""
        return sum(stage.length for stage in self.stages)

    @property
    def switches(self) -> int:
        """Options of all stages that have a choice: a graph asks for each of them whether it is the one."""
        return sum(len(stage.options) for stage in self.stages if len(stage.options) > 1)

    def choice(self, subnet: Subnet[L]) -> Choice:
        """The option index of each stage that makes this subnet; raises UnknownSubnetError."""
        if len(subnet.layers) != self.length:
            raise UnknownSubnetError(f"expected a subnet of {self.length} {self.shape.unit}s, got {subnet!r}")
        indices = []
        for stage in self.stages:
            part = Option(subnet.layers[stage.first : stage.first + stage.length])
            if part not in stage.options:
                raise UnknownSubnetError(
                    f"no option at {self.shape.unit} {stage.first} keeps {part.layers}; "
                    "export the bundle with this subnet"
                )
            indices.append(stage.options.index(part))
        return tuple(indices)

    def subnet(self, choice: Sequence[int]) -> Subnet[L]:
        """The subnet that a choice makes; raises UnknownSubnetError where an index is out of range."""
        if len(choice) != len(self.stages):
            raise UnknownSubnetError(f"choice: expected {len(self.stages)} integers, got {len(choice)}")
        layers: list[L] = []
        for stage, index in zip(self.stages, choice, strict=True):
            if not 0 <= index < len(stage.options):
                raise UnknownSubnetError(
                    f"choice: the stage at {self.shape.unit} {stage.first} has options 0 to {len(stage.options) - 1}, "
                    f"got {index}"
                )
            layers.extend(stage.options[index].layers)
        made: Subnet[L] = self.shape.subnet(tuple(layers))
        return made

    def thinned(self, options: Sequence[Sequence[int]]) -> Space[L, S]:
        """The space with only these options of each stage."""
        stages = (
            Stage(stage.first, tuple(stage.options[number] for number in numbers))
            for stage, numbers in zip(self.stages, options, strict=True)
        )
        return Space(self.shape, tuple(stages))

    def options_of(self, layer: int) -> Iterator[L]:
        """Layers that the options of one layer's stage keep in its place."""
        for stage in self.stages:
            if stage.first <= layer < stage.first + stage.length:
                yield from (option.layers[layer - stage.first] for option in stage.options)

    def head_cuts(self: Space, layer: int) -> tuple[int, ...]:
        """Ends of the segments of heads: ascending counts that some option keeps of this layer."""
        return tuple(sorted({heads for heads, _ in self.options_of(layer)} - {0}))

    def neuron_cuts(self: Space, layer: int) -> tuple[int, ...]:
        """Ends of the segments of neurons: ascending counts that some option keeps of this layer."""
        return tuple(sorted({neurons for _, neurons in self.options_of(layer)} - {0}))

    def to_dict(self) -> dict[str, Any]:
        """The space as plain lists, for JSON."""
        return self.shape.plain_space(self._plain_stages())

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Space[Any, Any]:
        """The space that `to_dict` wrote."""
        kind = raw.get("kind", EncoderShape.kind)
        if kind not in SHAPES:
            raise InputError(f"space: expected kind {' or '.join(SHAPES)}, found {kind!r}; install a newer gearshift")
        shape, stages = SHAPES[kind].read_space(raw)
        return Space(shape, tuple(Stage(first, tuple(map(Option, options))) for first, options in stages))

    def _plain_stages(self) -> list[tuple[int, tuple[tuple[L, ...], ...]]]:
        return [(stage.first, tuple(option.layers for option in stage.options)) for stage in self.stages]


SHAPES: dict[str, type[Shape[Any]]] = {shape.kind: shape for shape in (EncoderShape, BlockShape)}
"""Kind of net, as files name it -> its shape."""

BlockSpace = Space[Block, BlockShape]


def read_subnet(raw: Any) -> Subnet[Any]:
    """The subnet that `Subnet.to_plain` wrote."""
    return BlockSubnet.from_plain(raw) if "blocks" in raw else Subnet(read_layers(raw))


def cut_space(shape: EncoderShape, subnets: list[Subnet], layers_per_stage: int) -> Space:
    """Stages of that many layers, with the options that these subnets use, largest first.

    1 is a stage per layer: every mix of the layers' options can be chosen. All layers in one stage list
    the subnets themselves. A layer is cut only where one of the subnets cuts it.
    """
    if layers_per_stage < 1:
        raise InputError(f"layers per stage: expected 1 or more, got {layers_per_stage}")
    stages = []
    for first in range(0, shape.layers, layers_per_stage):
        used = {subnet.layers[first : first + layers_per_stage] for subnet in subnets}
        stages.append(Stage(first, tuple(Option(layers) for layers in sorted(used, reverse=True))))
    return Space(shape, tuple(stages))


def layer_space(shape: EncoderShape, subnets: list[Subnet]) -> Space:
    """One stage per layer, with the options that these subnets use."""
    return cut_space(shape, subnets, 1)


def block_stage(number: int, blocks: Iterable[Block]) -> Stage[Block]:
    """A stage that may be any of these blocks."""
    return Stage(number, tuple(Option((block,)) for block in blocks))


def block_space(shape: BlockShape, subnets: Iterable[Subnet[Block]]) -> BlockSpace:
    """The space of the blocks that these subnets use, in the order in which they come."""
    columns = zip(*(subnet.layers for subnet in subnets), strict=True)
    return Space(shape, tuple(block_stage(number, dict.fromkeys(column)) for number, column in enumerate(columns)))
