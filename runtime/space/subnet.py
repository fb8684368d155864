"""A subnet, and the shape that says what its layers are made of.

A layer of an elastic encoder is `(heads, neurons)`, one of a NAS-BERT net a block of operations. A shape of either kind
gives the parts of a layer; parameters, multiply-accumulates and bytes follow from these.
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
"""A layer that does not run."""

Options = tuple[int, tuple[tuple[L, ...], ...]]
"""Number of a stage's first layer, and the layers that each of its options keeps."""


class Shape(ABC, Generic[L]):
    """Sizes that all subnets of a space have in common."""

    kind: ClassVar[str]
    """Name of the kind of net, in files."""
    unit: ClassVar[str]
    """Word for a layer that is switched alone."""
    vocabulary: int
    positions: int
    types: int

    @property
    @abstractmethod
    def embedding_width(self) -> int:
        """Numbers of a word's embedding."""

    @abstractmethod
    def layer_parts(self, layer: L) -> tuple[Part, ...]:
        """Parts of a layer; none of one that is skipped."""

    @abstractmethod
    def joints(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """Widths (from, to) of the projections on the way from the embeddings through layers of these widths.

        Between equal widths there is none.
        """

    @abstractmethod
    def width(self, layer: L) -> int:
        """Width at which a layer computes."""

    @abstractmethod
    def layer_differences(self, other: Shape[Any]) -> str:
        """Sizes of the layers that another shape has otherwise, such as `hidden 384, not 312`; empty where none.

        Vocabulary, positions, types and the width of the embeddings are not of the layers.
        """

    def differences(self, other: Shape[Any], names: Sequence[str]) -> str:
        """Sizes of these names that another shape has otherwise, or lacks."""
        pairs = [(name, getattr(self, name), getattr(other, name, None)) for name in names]
        return ", ".join(f"{name} {mine}, not {its}" for name, mine, its in pairs if mine != its)

    @abstractmethod
    def fits(self, layers: Sequence[L]) -> bool:
        """Whether a net of this shape has these layers."""

    @abstractmethod
    def check(self, stages: Sequence[Options[L]]) -> None:
        """Raise InputError where these are no stages of such nets."""

    @abstractmethod
    def subnet(self, layers: tuple[L, ...]) -> Subnet[L]:
        """The subnet of these layers."""

    @abstractmethod
    def alone(self) -> Self:
        """The shape of one subnet that is cut out of the space."""

    @abstractmethod
    def to_dict(self) -> dict[str, int]:
        """Plain integers by name, for JSON."""

    @abstractmethod
    def plain_space(self, stages: Sequence[Options[L]]) -> dict[str, Any]:
        """A space of this shape as plain lists, for JSON."""

    @classmethod
    @abstractmethod
    def read_space(cls, raw: dict[str, Any]) -> tuple[Self, list[Options[L]]]:
        """The shape and the stages that `plain_space` wrote."""

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding tables with their norm."""
        return (self.vocabulary + self.positions + self.types + 2) * self.embedding_width

    def embedding_bytes(self, precision: str) -> int:
        """Bytes of the embeddings at a precision; int8: the word table in bytes, with 5 for each of its rows."""
        if precision != "int8":
            return self.embedding_parameters * {"fp32": 4, "fp16": 2}[precision]
        words = self.vocabulary * self.embedding_width
        return words + 5 * self.vocabulary + 4 * (self.embedding_parameters - words)


@dataclass(frozen=True)
class Kept:
    """The first `heads` heads and the first `neurons` neurons of a layer."""

    layer: int
    heads: int
    neurons: int


@dataclass(frozen=True)
class Subnet(Generic[L]):
    """Layers of a subnet: `(heads, neurons)` of each, `(0, 0)` for a skipped one. `BlockSubnet` has blocks.

    Heads and neurons are sorted by importance, so that keeping `n` of them always means the first `n`.
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
        """Its layers one after the other, such as `12x3072-0x0`; pools have shorter names (`uniform.subnet_name`)."""
        return "-".join("x".join(map(str, layer)) for layer in self.layers)  # type: ignore[call-overload]

    @property
    def places(self) -> tuple[int, ...]:
        """Numbers of the layers that run, in order."""
        return tuple(place for place, layer in enumerate(self.layers) if layer != SKIPPED)

    def kept(self: Subnet) -> tuple[Kept, ...]:
        """The layers that run, in order, with what is kept of each: trainer and exporter both call it."""
        return tuple(Kept(i, heads, neurons) for i, (heads, neurons) in enumerate(self.layers) if heads)

    def fits(self, shape: Shape[L]) -> bool:
        """Whether this is a subnet of a net of that shape."""
        return shape.fits(self.layers)

    def widths(self, shape: Shape[L]) -> list[int]:
        """Widths at which its layers compute."""
        return [shape.width(layer) for layer in self.layers]

    def parts(self, shape: Shape[L]) -> list[Part]:
        """Everything but the embedding tables and the task head."""
        projections = (projection_part(*pair) for pair in shape.joints(self.widths(shape)))
        return [*projections, *(part for layer in self.layers for part in shape.layer_parts(layer))]

    def parameters(self, shape: Shape[L]) -> int:
        """Parameters with the embeddings, without the task head."""
        return shape.embedding_parameters + sum(part.parameters for part in self.parts(shape))

    def macs(self, shape: Shape[L], tokens: int) -> int:
        """Multiply-accumulates for one text of that many tokens."""
        return sum(part.macs(tokens) for part in self.parts(shape))

    def bytes(self, shape: Shape[L], precision: str) -> int:
        """Bytes of the weights at a precision, with the embeddings, without the task head."""
        return shape.embedding_bytes(precision) + sum(part.bytes(precision) for part in self.parts(shape))

    def to_plain(self) -> Any:
        """The subnet as plain lists, for JSON; `space.read_subnet` reads it."""
        return [list(layer) for layer in self.layers]  # type: ignore[call-overload]
