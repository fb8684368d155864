"""The shape of an elastic encoder, whose layers keep some of their heads and neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gearshift.errors import InputError
from gearshift.runtime.space.parts import Part, attention_part, ffn_part
from gearshift.runtime.space.subnet import Options, Shape, Subnet

Layer = tuple[int, int]
"""Heads and neurons that are kept; `(0, 0)`: a layer that is skipped."""


@dataclass(frozen=True)
class EncoderShape(Shape[Layer]):
    """Sizes of the full encoder; a layer is `(heads, neurons)`."""

    kind: ClassVar[str] = "elastic"
    unit: ClassVar[str] = "layer"

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

    def layer_differences(self, other: Shape[Any]) -> str:
        """Sizes of the layers that another shape has otherwise."""
        return self.differences(other, ("kind", "layers", "hidden", "heads", "neurons"))

    def to_dict(self) -> dict[str, int]:
        """Plain integers by name, for JSON."""
        sizes = dict(vars(self))
        if not self.embedding:
            del sizes["embedding"]
        return sizes

    @property
    def embedding_width(self) -> int:
        """Numbers of a word's embedding."""
        return self.embedding or self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding tables with their norm, and of their projection where there is one."""
        projection = (self.embedding + 1) * self.hidden if self.embedding else 0
        return super().embedding_parameters + projection

    def layer_parts(self, layer: Layer) -> tuple[Part, ...]:
        """Attention and feed-forward of a layer; none of `(0, 0)`."""
        heads, neurons = layer
        return (attention_part(self.hidden, heads * self.head_size), ffn_part(self.hidden, neurons)) if heads else ()

    def joints(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """No projections: all layers are as wide as the embeddings."""
        return []

    def width(self, layer: Layer) -> int:
        """Width at which a layer computes, the same of all."""
        return self.hidden

    def fits(self, layers: Sequence[Layer]) -> bool:
        """Whether an encoder of this shape has these layers."""
        return len(layers) == self.layers and all(
            heads <= self.heads and neurons <= self.neurons for heads, neurons in layers
        )

    def check(self, stages: Sequence[Options[Layer]]) -> None:
        """Raise InputError where stages do not cover the encoder, or keep more than there is."""
        covered = sum(len(options[0]) for _, options in stages)
        if covered != self.layers:
            raise InputError(f"space: the stages cover {covered} layers, the encoder has {self.layers}")
        for first, options in stages:
            for heads, neurons in (layer for option in options for layer in option):
                if heads > self.heads or neurons > self.neurons:
                    raise InputError(
                        f"space: an option at layer {first} keeps ({heads}, {neurons}) of "
                        f"({self.heads}, {self.neurons}) heads and neurons"
                    )

    def subnet(self, layers: tuple[Layer, ...]) -> Subnet:
        """The subnet of these layers."""
        return Subnet(layers)

    def alone(self) -> EncoderShape:
        """The same shape: a subnet has the encoder's own embeddings and width."""
        return self

    def plain_space(self, stages: Sequence[Options[Layer]]) -> dict[str, Any]:
        """A space of elastic layers as plain lists, for JSON."""
        plain = [
            {"first": first, "options": [[list(layer) for layer in option] for option in options]}
            for first, options in stages
        ]
        return {"shape": self.to_dict(), "stages": plain}

    @classmethod
    def read_space(cls, raw: dict[str, Any]) -> tuple[EncoderShape, list[Options[Layer]]]:
        """The shape and the stages that `plain_space` wrote."""
        stages = [(stage["first"], tuple(map(read_layers, stage["options"]))) for stage in raw["stages"]]
        return cls(**raw["shape"]), stages


def read_layers(raw: list[list[int]]) -> tuple[Layer, ...]:
    """The layers that JSON has as lists."""
    return tuple((int(heads), int(neurons)) for heads, neurons in raw)
