"""What can be switched: subnets, and the space of stages and options they are picked from.

Heads and neurons of a layer are sorted by importance, so keeping `n` of them always means the first `n`.
`Subnet.kept` is the one place that says which layers, heads and neurons a subnet keeps; the trainer,
the exporter and the counters all call it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gearshift.runtime.errors import InputError, UnknownSubnetError

WIDTHS = (1.0, 0.75, 0.5, 0.25)
"""Width multipliers of DynaBERT: the share of heads and of neurons that each layer keeps."""

DEPTHS = (1.0, 0.75, 0.5)
"""Depth multipliers of DynaBERT: the share of layers that is kept."""


@dataclass(frozen=True)
class EncoderShape:
    """The sizes of the full encoder: what counting, cutting and exporting need to know."""

    layers: int
    hidden: int
    heads: int
    neurons: int
    """FFN neurons of each layer."""
    vocabulary: int
    positions: int
    types: int
    """Rows of the token-type table; 0 where the model has none."""
    embedding: int = 0
    """Width of the embeddings where a projection makes them as wide as the layers (ELECTRA); 0 where they are."""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "neurons", "vocabulary", "positions"):
            if getattr(self, name) < 1:
                raise InputError(f"encoder shape: {name} must be at least 1, got {getattr(self, name)}")
        if self.hidden % self.heads:
            raise InputError(f"encoder shape: hidden {self.hidden} is no multiple of heads {self.heads}")

    @property
    def head_size(self) -> int:
        """Dimensions of one head."""
        return self.hidden // self.heads

    def layer_differences(self, other: EncoderShape) -> str:
        """Which sizes of the layers another shape has otherwise, such as `hidden 384, not 312`; empty where none.

        Vocabulary, positions, types and the width of the embeddings are not of the layers.
        """
        names = ("layers", "hidden", "heads", "neurons")
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        return ", ".join(f"{name} {mine}, not {its}" for name, mine, its in pairs if mine != its)

    def to_dict(self) -> dict[str, int]:
        """Plain integers by name, for JSON."""
        sizes = dict(vars(self))
        if not self.embedding:
            del sizes["embedding"]
        return sizes


@dataclass(frozen=True)
class Kept:
    """What a subnet keeps of one layer: its first `heads` heads and first `neurons` neurons."""

    layer: int
    heads: int
    neurons: int


@dataclass(frozen=True)
class Subnet:
    """What is kept, layer by layer: `(heads, neurons)` of each layer, `(0, 0)` for a skipped one."""

    layers: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        for index, (heads, neurons) in enumerate(self.layers):
            if heads < 0 or neurons < 0 or (heads == 0) != (neurons == 0):
                raise InputError(
                    f"subnet: layer {index} keeps ({heads}, {neurons}) heads and neurons; "
                    "expected both positive, or (0, 0) for a skipped layer"
                )
        # No layers at all: what is no encoder, such as a DAN.
        if self.layers and not any(heads for heads, _ in self.layers):
            raise InputError("subnet: every layer is skipped; at least one must be kept")

    def kept(self) -> tuple[Kept, ...]:
        """The layers that run, in order, with what is kept of each."""
        return tuple(Kept(i, heads, neurons) for i, (heads, neurons) in enumerate(self.layers) if heads)

    def fits(self, shape: EncoderShape) -> bool:
        """Whether this is a subnet of an encoder of that shape."""
        return len(self.layers) == shape.layers and all(
            heads <= shape.heads and neurons <= shape.neurons for heads, neurons in self.layers
        )

    def parameters(self, shape: EncoderShape) -> int:
        """Parameters of the encoder with its embeddings, without the task head."""
        return embedding_parameters(shape) + sum(
            layer_parameters(shape, kept.heads, kept.neurons) for kept in self.kept()
        )

    def macs(self, shape: EncoderShape, tokens: int) -> int:
        """Multiply-accumulates of the encoder's matrix products for one text of that many tokens."""
        return sum(layer_macs(shape, kept.heads, kept.neurons, tokens) for kept in self.kept())


def embedding_parameters(shape: EncoderShape) -> int:
    """Parameters of the embeddings, with their LayerNorm and their projection where there is one."""
    rows = shape.vocabulary + shape.positions + shape.types + 2  # and LayerNorm's two
    projection = (shape.embedding + 1) * shape.hidden if shape.embedding else 0
    return rows * (shape.embedding or shape.hidden) + projection


def layer_parameters(shape: EncoderShape, heads: int, neurons: int) -> int:
    """Parameters of a layer with so many heads and neurons; none of (0, 0)."""
    if not heads:
        return 0
    inner = heads * shape.head_size
    attention = 4 * shape.hidden * inner + 3 * inner + shape.hidden
    ffn = 2 * shape.hidden * neurons + neurons + shape.hidden
    return attention + ffn + 4 * shape.hidden  # two LayerNorms


def layer_macs(shape: EncoderShape, heads: int, neurons: int, tokens: int) -> int:
    """Multiply-accumulates of a layer's matrix products for one text; none of (0, 0)."""
    inner = heads * shape.head_size
    weights = 4 * shape.hidden * inner + 2 * shape.hidden * neurons
    return tokens * weights + 2 * tokens * tokens * inner


def layer_bytes(shape: EncoderShape, heads: int, neurons: int, precision: str) -> int:
    """Bytes of a layer's weights at `fp32`, `fp16` or `int8`, in one segment; none of (0, 0).

    int8: a byte for each weight of a matrix, 5 for its columns' scales and zero points, fp32 for all else.
    """
    parameters = layer_parameters(shape, heads, neurons)
    if precision != "int8" or not heads:
        return parameters * {"fp32": 4, "fp16": 2, "int8": 4}[precision]
    inner = heads * shape.head_size
    matrices = 4 * shape.hidden * inner + 2 * shape.hidden * neurons
    columns = 3 * inner + neurons + 2 * shape.hidden
    return matrices + 5 * columns + 4 * (parameters - matrices)


def embedding_bytes(shape: EncoderShape, precision: str) -> int:
    """Bytes of the embeddings at a precision; int8: the word table in bytes, with 5 for each of its rows."""
    parameters = embedding_parameters(shape)
    if precision != "int8":
        return parameters * {"fp32": 4, "fp16": 2}[precision]
    words = shape.vocabulary * (shape.embedding or shape.hidden)
    return words + 5 * shape.vocabulary + 4 * (parameters - words)


def kept_layers(layers: int, depth: float) -> tuple[int, ...]:
    """The layers, from 0, that depth multiplier `depth` keeps.

    DynaBERT (section 2.2) drops layer d where (d + 1) mod round(1 / (1 - depth)) = 0: of twelve layers
    .75 drops 3, 7, 11 and .5 the odd ones; of six, .75 drops 3.
    """
    if not 0.5 <= depth <= 1:
        raise InputError(f"depth multiplier: expected a number from 0.5 to 1, got {depth!r}")
    if depth == 1:
        return tuple(range(layers))
    step = round(1 / (1 - depth))
    return tuple(layer for layer in range(layers) if (layer + 1) % step)


def uniform_subnet(shape: EncoderShape, width: float, depth: float) -> Subnet:
    """The subnet with the same width in every kept layer (DynaBERT): at least one head and one neuron."""
    if not 0 < width <= 1:
        raise InputError(f"width multiplier: expected a number above 0, at most 1, got {width!r}")
    kept = set(kept_layers(shape.layers, depth))
    sizes = (max(1, round(shape.heads * width)), max(1, round(shape.neurons * width)))
    return Subnet(tuple(sizes if layer in kept else (0, 0) for layer in range(shape.layers)))


def uniform_name(width: float, depth: float) -> str:
    """The name of a uniform subnet: `w050-d100` is half the width at full depth."""
    return f"w{round(width * 100):03d}-d{round(depth * 100):03d}"


def uniform_grid(
    shape: EncoderShape, widths: tuple[float, ...] = WIDTHS, depths: tuple[float, ...] = DEPTHS
) -> dict[str, Subnet]:
    """Name -> subnet for every width x depth, largest first; of equal subnets the first name stays.

    A small encoder can make two multipliers equal: of one head, every width keeps that head.
    """
    grid: dict[str, Subnet] = {}
    for depth, width in itertools.product(depths, widths):
        subnet = uniform_subnet(shape, width, depth)
        if subnet not in grid.values():
            grid[uniform_name(width, depth)] = subnet
    return grid


def subnet_name(shape: EncoderShape, subnet: Subnet) -> str:
    """A name for any subnet: that of the uniform grid where it is in it, else `m042-1f3a9c`.

    42 is the share of the full encoder's weights that its layers keep, in per cent; the rest is a hash of what is
    kept.
    """
    for name, uniform in uniform_grid(shape).items():
        if uniform == subnet:
            return name
    full = shape.layers * layer_parameters(shape, shape.heads, shape.neurons)
    share = (subnet.parameters(shape) - embedding_parameters(shape)) / full
    return f"m{round(100 * share):03d}-{hashlib.sha256(repr(subnet.layers).encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Option:
    """One thing that a stage may be: `(heads, neurons)` of each of the stage's layers."""

    layers: tuple[tuple[int, int], ...]

    @property
    def skips(self) -> bool:
        """Whether nothing of the stage runs."""
        return not any(heads for heads, _ in self.layers)


@dataclass(frozen=True)
class Stage:
    """Consecutive layers that are switched together, from `first` on, and the options they have."""

    first: int
    options: tuple[Option, ...]

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
        """How many layers the stage covers."""
        return len(self.options[0].layers)


@dataclass(frozen=True)
class Space:
    """All stages with their options: what can be switched.

    A *choice* is one option index per stage: the integers that the elastic graph takes for a subnet.
    """

    shape: EncoderShape
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        first = 0
        for stage in self.stages:
            if stage.first != first:
                raise InputError(f"space: a stage starts at layer {stage.first}; expected {first}")
            first += stage.length
        if first != self.shape.layers:
            raise InputError(f"space: the stages cover {first} layers, the encoder has {self.shape.layers}")
        for stage in self.stages:
            for option in stage.options:
                for heads, neurons in option.layers:
                    if heads > self.shape.heads or neurons > self.shape.neurons:
                        raise InputError(
                            f"space: an option at layer {stage.first} keeps ({heads}, {neurons}) of "
                            f"({self.shape.heads}, {self.shape.neurons}) heads and neurons"
                        )

    def choice(self, subnet: object) -> tuple[int, ...]:
        """The option index of each stage that makes this subnet; raises UnknownSubnetError."""
        if not isinstance(subnet, Subnet):
            raise UnknownSubnetError(f"expected a subnet of {self.shape.layers} layers, got {subnet!r}")
        indices = []
        for stage in self.stages:
            part = Option(subnet.layers[stage.first : stage.first + stage.length])
            if part not in stage.options:
                raise UnknownSubnetError(
                    f"no option at layer {stage.first} keeps {part.layers}; export the bundle with this subnet"
                )
            indices.append(stage.options.index(part))
        return tuple(indices)

    def subnet(self, choice: tuple[int, ...]) -> Subnet:
        """The subnet that a choice makes; raises UnknownSubnetError where an index is out of range."""
        if len(choice) != len(self.stages):
            raise UnknownSubnetError(f"choice: expected {len(self.stages)} integers, got {len(choice)}")
        layers: list[tuple[int, int]] = []
        for stage, index in zip(self.stages, choice, strict=True):
            if not 0 <= index < len(stage.options):
                raise UnknownSubnetError(
                    f"choice: the stage at layer {stage.first} has options 0 to {len(stage.options) - 1}, got {index}"
                )
            layers.extend(stage.options[index].layers)
        return Subnet(tuple(layers))

    def thinned(self, options: Sequence[Sequence[int]]) -> Space:
        """The space with only these options of each stage."""
        stages = (
            Stage(stage.first, tuple(stage.options[number] for number in numbers))
            for stage, numbers in zip(self.stages, options, strict=True)
        )
        return Space(self.shape, tuple(stages))

    def options_of(self, layer: int) -> Iterator[tuple[int, int]]:
        """`(heads, neurons)` of every option of one layer."""
        for stage in self.stages:
            if stage.first <= layer < stage.first + stage.length:
                yield from (option.layers[layer - stage.first] for option in stage.options)

    def head_cuts(self, layer: int) -> tuple[int, ...]:
        """Ends of the segments of heads: ascending counts that some option keeps of this layer."""
        return tuple(sorted({heads for heads, _ in self.options_of(layer)} - {0}))

    def neuron_cuts(self, layer: int) -> tuple[int, ...]:
        """Ends of the segments of neurons: ascending counts that some option keeps of this layer."""
        return tuple(sorted({neurons for _, neurons in self.options_of(layer)} - {0}))

    def to_dict(self) -> dict[str, Any]:
        """The space as plain lists, for JSON."""
        return {
            "shape": self.shape.to_dict(),
            "stages": [
                {
                    "first": stage.first,
                    "options": [[list(layer) for layer in option.layers] for option in stage.options],
                }
                for stage in self.stages
            ],
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Space:
        """The space that `to_dict` wrote."""
        stages = tuple(
            Stage(stage["first"], tuple(Option(_pairs(option)) for option in stage["options"]))
            for stage in raw["stages"]
        )
        return cls(EncoderShape(**raw["shape"]), stages)


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


def _pairs(raw: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(heads), int(neurons)) for heads, neurons in raw)
