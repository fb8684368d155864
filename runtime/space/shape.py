"""Shape of an elastic encoder: its layers keep some of their heads and neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gearshift.errors import InputError
from gearshift.runtime.space.parts import Part, attention_part, ffn_part
from gearshift.runtime.space.subnet import Options, Shape, Subnet

Layer = tuple[int, int]
"""(heads, neurons) that are kept; `(0, 0)`: the layer is skipped."""


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
    """Rows of the token-type table; 0 if the model has none."""
    embedding: int = 0
    """Width of the embeddings if a projection leads from them to the layers (ELECTRA); 0: as wide as the layers."""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "neurons", "vocabulary", "positions"):
            if getattr(self, name) < 1:
                raise InputError(f"encoder shape: {name} must be at least 1, got {getattr(self, name)}")
        if self.hidden % self.heads:
            raise InputError(f"encoder shape: hidden {self.hidden} is no multiple of heads {self.heads}")

    @property
    def head_size(self) -> int:
        """Dimensions of one attention head."""
        return self.hidden // self.heads

    def layer_differences(self, other: Shape[Any]) -> str:
        """Describe the sizes of layers that differ in another shape."""
        return self.differences(other, ("kind", "layers", "hidden", "heads", "neurons"))

    def to_dict(self) -> dict[str, int]:
        """Return the sizes by name, for JSON."""
        sizes = dict(vars(self))
        if not self.embedding:
            del sizes["embedding"]
        return sizes

    @property
    def embedding_width(self) -> int:
        """Width of a word embedding."""
        return self.embedding or self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Number of parameters of the embedding tables, their norm and, if there is one, their projection."""
        projection = (self.embedding + 1) * self.hidden if self.embedding else 0
        return super().embedding_parameters + projection

    def layer_parts(self, layer: Layer) -> tuple[Part, ...]:
        """Return attention and feed-forward of a layer; nothing for `(0, 0)`."""
        heads, neurons = layer
        return (attention_part(self.hidden, heads * self.head_size), ffn_part(self.hidden, neurons)) if heads else ()

    def joints(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """Return no projections: all layers have one width."""
        return []

    def width(self, layer: Layer) -> int:
        """Return the hidden size, which all layers share."""
        return self.hidden

    def fits(self, layers: Sequence[Layer]) -> bool:
        """Return whether an encoder of this shape can keep these layers."""
        return len(layers) == self.layers and all(
            heads <= self.heads and neurons <= self.neurons for heads, neurons in layers
        )

    def check(self, stages: Sequence[Options[Layer]]) -> None:
        """Raise InputError if the stages do not cover the encoder, or keep more heads or neurons than it has."""
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
        """Return the subnet of these layers."""
        return Subnet(layers)

    def alone(self) -> EncoderShape:
        """Return this shape: a subnet has the embeddings and the width of the encoder."""
        return self

    def plain_space(self, stages: Sequence[Options[Layer]]) -> dict[str, Any]:
        """Return a space of elastic layers as plain lists, for JSON."""
        plain = [
            {"first": first, "options": [[list(layer) for layer in option] for option in options]}
            for first, options in stages
        ]
        return {"shape": self.to_dict(), "stages": plain}

    @classmethod
    def read_space(cls, raw: dict[str, Any]) -> tuple[EncoderShape, list[Options[Layer]]]:
        """Read the shape and the stages that `plain_space` wrote."""
        stages = [(stage["first"], tuple(map(read_layers, stage["options"]))) for stage in raw["stages"]]
        return cls(**raw["shape"]), stages


def read_layers(raw: list[list[int]]) -> tuple[Layer, ...]:
    """Read layers from the lists of JSON."""
    return tuple((int(heads), int(neurons)) for heads, neurons in raw)
