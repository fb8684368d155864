"""Subnets, and the shape that defines the parts of their layers.

A layer of an elastic encoder is `(heads, neurons)`; a layer of a NAS-BERT net is a block of operations. The parameters,
MACs and bytes of a subnet are sums over the parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

from gearshift.errors import InputError
from gearshift.runtime.space.parts import Part, projection_part

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    L = TypeVar("L", default=tuple[int, int])
else:
    from typing import TypeVar

    L = TypeVar("L")

SKIPPED = (0, 0)
"""Layer that does not run."""

Options = tuple[int, tuple[tuple[L, ...], ...]]
"""Number of a stage's first layer, and the layers that each of its options keeps."""


class Shape(ABC, Generic[L]):
    """Sizes shared by all subnets of a space."""

    kind: ClassVar[str]
    """Name of the kind of net, in files."""
    unit: ClassVar[str]
    """Word for a single layer in messages and reports."""
    vocabulary: int
    positions: int
    types: int

    @property
    @abstractmethod
    def embedding_width(self) -> int:
        """Width of a word embedding."""

    @abstractmethod
    def layer_parts(self, layer: L, place: int | None = None) -> tuple[Part, ...]:
        """Return the parts of a layer; nothing for a skipped one.

        `place`: index of the layer, for nets whose first layer differs from the others; None for one of the others.
        """

    @abstractmethod
    def joints(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """Return the widths (from, to) of the projections from the embeddings through layers of these widths.

        A pair of equal widths needs no projection.
        """

    @abstractmethod
    def width(self, layer: L) -> int:
        """Return the width at which a layer computes."""

    @abstractmethod
    def layer_differences(self, other: Shape[Any]) -> str:
        """Describe the layer sizes that differ in another shape, such as `hidden 384, not 312`; empty if none do.

        Vocabulary, positions, types and the width of the embeddings do not belong to the layers.
        """

    def differences(self, other: Shape[Any], names: Sequence[str]) -> str:
        """Describe the named sizes that differ in another shape; of another kind of net the kind alone."""
        if "kind" in names and self.kind != getattr(other, "kind", None):
            names = ("kind",)
        pairs = [(name, getattr(self, name), getattr(other, name, None)) for name in names]
        return ", ".join(f"{name} {mine}, not {its}" for name, mine, its in pairs if mine != its)

    @abstractmethod
    def fits(self, layers: Sequence[L]) -> bool:
        """Return whether a net of this shape can keep these layers."""

    @abstractmethod
    def check(self, stages: Sequence[Options[L]]) -> None:
        """Raise InputError if nets of this shape cannot have these stages."""

    @abstractmethod
    def subnet(self, layers: tuple[L, ...]) -> Subnet[L]:
        """Return the subnet of these layers."""

    @abstractmethod
    def alone(self) -> Self:
        """Return the shape of a standalone subnet, cut out of the space."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the sizes by name, for JSON."""

    @abstractmethod
    def plain_space(self, stages: Sequence[Options[L]]) -> dict[str, Any]:
        """Return a space of this shape as plain lists, for JSON."""

    @classmethod
    @abstractmethod
    def read_space(cls, raw: dict[str, Any]) -> tuple[Self, list[Options[L]]]:
        """Read the shape and the stages that `plain_space` wrote."""

    def stored(self, layers: Sequence[L]) -> tuple[L, ...]:
        """Return what the weights of a net with these layers keep: these layers, unless some share their weights."""
        return tuple(layers)

    @property
    def embedding_parameters(self) -> int:
        """Number of parameters of the embedding tables and their norm."""
        return (self.vocabulary + self.positions + self.types + 2) * self.embedding_width

    def embedding_bytes(self, precision: str) -> int:
        """Return the bytes of the embeddings at a precision.

        int8: 1 byte per weight of the word table, 5 per row for its scale and zero point, fp32 for the other tables.
        """
        if precision != "int8":
            return self.embedding_parameters * {"fp32": 4, "fp16": 2}[precision]
        words = self.vocabulary * self.embedding_width
        return words + 5 * self.vocabulary + 4 * (self.embedding_parameters - words)


@dataclass(frozen=True)
class Kept:
    """Kept part of a layer: its first `heads` heads and its first `neurons` neurons."""

    layer: int
    heads: int
    neurons: int


@dataclass(frozen=True)
class Subnet(Generic[L]):
    """Subnet: `(heads, neurons)` of each layer, `(0, 0)` for a skipped one. `BlockSubnet` has blocks instead.

    Heads and neurons are sorted by importance: to keep `n` of them is to keep the first `n`.
    """

    layers: tuple[L, ...]

    def __post_init__(self) -> None:
        self._check()

    def _check(self: Subnet[Any]) -> None:
        for index, (heads, neurons) in enumerate(self.layers):
            if heads < 0 or neurons < 0 or (heads == 0) != (neurons == 0):
                raise InputError(
                    f"subnet: layer {index} keeps ({heads}, {neurons}) heads and neurons; "
                    "expected both positive, or (0, 0) for a skipped layer"
                )
        # No layers at all: no encoder, such as a DAN.
        if self.layers and not any(heads for heads, _ in self.layers):
            raise InputError("subnet: every layer is skipped; at least one must be kept")

    @property
    def name(self) -> str:
        """Layers, joined: `12x3072-0x0`. Pools have shorter names (`uniform.subnet_name`)."""
        return "-".join("x".join(map(str, layer)) for layer in self.layers)  # type: ignore[call-overload]

    @property
    def places(self) -> tuple[int, ...]:
        """Indices of the layers that run, in order."""
        return tuple(place for place, layer in enumerate(self.layers) if layer != SKIPPED)

    def kept(self: Subnet) -> tuple[Kept, ...]:
        """Return the kept part of each layer that runs, in order; trainer and exporter both call it."""
        return tuple(Kept(i, heads, neurons) for i, (heads, neurons) in enumerate(self.layers) if heads)

    def as_wide_as(self, full: Subnet[L]) -> bool:
        """Return whether all layers that run are as wide as those of the full net."""
        return all(layer in (whole, SKIPPED) for layer, whole in zip(self.layers, full.layers, strict=True))

    def fits(self, shape: Shape[L]) -> bool:
        """Return whether a net of this shape has the subnet."""
        return shape.fits(self.layers)

    def widths(self, shape: Shape[L]) -> list[int]:
        """Return the widths at which the layers compute."""
        return [shape.width(layer) for layer in self.layers]

    def parts(self, shape: Shape[L], *, stored: bool = False) -> list[Part]:
        """Return all parts except the embedding tables and the task head.

        `stored`: only once those of layers that share their weights.
        """
        kept = shape.stored(self.layers) if stored else self.layers
        projections = (projection_part(*pair) for pair in shape.joints(self.widths(shape)))
        layers = (shape.layer_parts(layer, place) for place, layer in enumerate(kept))
        return [*projections, *(part for parts in layers for part in parts)]

    def size(self, shape: Shape[L]) -> tuple[int, int]:
        """Return parameters and MACs for one token, to sort subnets by."""
        return self.parameters(shape), self.macs(shape, 1)

    def parameters(self, shape: Shape[L]) -> int:
        """Return the number of parameters, with the embeddings, without the task head."""
        return shape.embedding_parameters + sum(part.parameters for part in self.parts(shape, stored=True))

    def macs(self, shape: Shape[L], tokens: int) -> int:
        """Return the MACs for one text of `tokens` tokens."""
        return sum(part.macs(tokens) for part in self.parts(shape))

    def bytes(self, shape: Shape[L], precision: str) -> int:
        """Return the bytes of the weights at a precision, with the embeddings, without the task head."""
        parts = self.parts(shape, stored=True)
        return shape.embedding_bytes(precision) + sum(part.bytes(precision) for part in parts)

    def to_plain(self) -> Any:
        """Return the subnet as plain lists, for JSON; `space.read_subnet` reads it."""
        return [list(layer) for layer in self.layers]  # type: ignore[call-overload]
