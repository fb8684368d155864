"""What can be switched: subnets, and the space of stages and options they are picked from.

Heads and neurons of a layer are sorted by importance, so keeping `n` of them always means the first `n`.
`Subnet.kept` is the one place that says which layers, heads and neurons a subnet keeps; the trainer,
the exporter and the counters all call it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gearshift.errors import InputError, UnknownSubnetError
from gearshift.runtime.space.shape import EncoderShape, embedding_parameters, layer_macs, layer_parameters


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


Choice = tuple[int, ...]
