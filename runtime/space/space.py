"""Space of subnets: stages, and the options of each stage.

An option is what a stage computes: a share of the heads and neurons of its elastic layers, or one block of operations
(NAS-BERT). The shape defines the parts of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic

from gearshift.errors import InputError, UnknownSubnetError
from gearshift.runtime.space.blocks import Block, BlockShape, BlockSubnet
from gearshift.runtime.space.convolutions import ConvolutionShape, ConvolutionSubnet, Kept
from gearshift.runtime.space.shape import EncoderShape, read_layers
from gearshift.runtime.space.subnet import SKIPPED, L, Shape, Subnet

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    S = TypeVar("S", bound=Shape[Any], default=EncoderShape)
else:
    from typing import TypeVar

    S = TypeVar("S")

Choice = tuple[int, ...]
"""Option index of each stage: the integers that the graph takes for a subnet."""


@dataclass(frozen=True)
class Option(Generic[L]):
    """Option of a stage: the layers that it keeps, as in `Subnet.layers`."""

    layers: tuple[L, ...]

    @property
    def skips(self) -> bool:
        """Whether the option skips all layers of the stage."""
        return all(layer == SKIPPED for layer in self.layers)


@dataclass(frozen=True)
class Stage(Generic[L]):
    """Consecutive layers from `first` on that are switched together, with their options."""

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
    """Stages of a net with their options; a *choice* is one option index per stage."""

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
        """Number of options in all stages that have more than one: the graph tests each of them in turn."""
        return sum(len(stage.options) for stage in self.stages if len(stage.options) > 1)

    def choice(self, subnet: Subnet[L]) -> Choice:
        """Return the choice of a subnet; raises UnknownSubnetError if the space does not have it."""
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
        """Return the subnet of a choice; raises UnknownSubnetError if an index is out of range."""
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
        """Return the space with only these options of each stage."""
        stages = (
            Stage(stage.first, tuple(stage.options[number] for number in numbers))
            for stage, numbers in zip(self.stages, options, strict=True)
        )
        return Space(self.shape, tuple(stages))

    def options_of(self, layer: int) -> Iterator[L]:
        """Yield the variants of one layer: one for each option of its stage."""
        for stage in self.stages:
            if stage.first <= layer < stage.first + stage.length:
                yield from (option.layers[layer - stage.first] for option in stage.options)

    def head_cuts(self: Space, layer: int) -> tuple[int, ...]:
        """Return the ends of the head segments of a layer: the counts that its options keep, ascending."""
        return tuple(sorted({heads for heads, _ in self._variants(layer)} - {0}))

    def neuron_cuts(self: Space, layer: int) -> tuple[int, ...]:
        """Return the ends of the neuron segments of a layer: the counts that its options keep, ascending."""
        return tuple(sorted({neurons for _, neurons in self._variants(layer)} - {0}))

    def _variants(self: Space, layer: int) -> Iterator[tuple[int, int]]:
        """Yield the variants of a layer, and of those that share its weights."""
        for each in range(self.length) if self.shape.shared else (layer,):
            yield from self.options_of(each)

    def to_dict(self) -> dict[str, Any]:
        """Return the space as plain lists, for JSON."""
        return self.shape.plain_space(self._plain_stages())

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Space[Any, Any]:
        """Read the space that `to_dict` wrote; raises InputError for an unknown kind of net."""
        kind = raw.get("kind", EncoderShape.kind)
        if kind not in SHAPES:
            raise InputError(f"space: expected kind {' or '.join(SHAPES)}, found {kind!r}; install a newer gearshift")
        shape, stages = SHAPES[kind].read_space(raw)
        return Space(shape, tuple(Stage(first, tuple(map(Option, options))) for first, options in stages))

    def _plain_stages(self) -> list[tuple[int, tuple[tuple[L, ...], ...]]]:
        return [(stage.first, tuple(option.layers for option in stage.options)) for stage in self.stages]


SHAPES: dict[str, type[Shape[Any]]] = {shape.kind: shape for shape in (EncoderShape, BlockShape, ConvolutionShape)}
"""Kind of net, as in files -> class of its shape."""

BlockSpace = Space[Block, BlockShape]

ConvolutionSpace = Space[Kept, ConvolutionShape]


def read_subnet(raw: Any) -> Subnet[Any]:
    """Read the subnet that `Subnet.to_plain` wrote."""
    if "channels" in raw:
        return ConvolutionSubnet.from_plain(raw)
    return BlockSubnet.from_plain(raw) if "blocks" in raw else Subnet(read_layers(raw))


def cut_space(shape: EncoderShape, subnets: list[Subnet], layers_per_stage: int) -> Space:
    """Return stages of `layers_per_stage` layers with the options that these subnets use, largest first.

    With one layer per stage, the options of all layers can be mixed freely. With all layers in one stage, the options
    are the subnets themselves. A layer is cut only where one of the subnets cuts it.
    """
    if layers_per_stage < 1:
        raise InputError(f"layers per stage: expected 1 or more, got {layers_per_stage}")
    stages = []
    for first in range(0, shape.layers, layers_per_stage):
        used = {subnet.layers[first : first + layers_per_stage] for subnet in subnets}
        stages.append(Stage(first, tuple(Option(layers) for layers in sorted(used, reverse=True))))
    return Space(shape, tuple(stages))


def layer_space(shape: EncoderShape, subnets: list[Subnet]) -> Space:
    """Return the space with one stage per layer and the options that these subnets use."""
    return cut_space(shape, subnets, 1)


def block_stage(number: int, blocks: Iterable[Block]) -> Stage[Block]:
    """Return a stage whose options are these blocks."""
    return Stage(number, tuple(Option((block,)) for block in blocks))


def block_space(shape: BlockShape, subnets: Iterable[Subnet[Block]]) -> BlockSpace:
    """Return the space of the blocks that these subnets use, in order of first use."""
    columns = zip(*(subnet.layers for subnet in subnets), strict=True)
    return Space(shape, tuple(block_stage(number, dict.fromkeys(column)) for number, column in enumerate(columns)))


def listed_space(shape: ConvolutionShape, subnets: Iterable[Subnet[Kept]]) -> ConvolutionSpace:
    """Return the space whose only stage lists these subnets: their norms have statistics of their own, so that their
    groups cannot be mixed."""
    return Space(shape, (Stage(0, tuple(Option(subnet.layers) for subnet in subnets)),))
