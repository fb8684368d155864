"""Shape of an elastic encoder: its sizes and the form of its layers, which keep some of their heads and neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from gearshift.errors import InputError
from gearshift.number_checks import is_finite, is_whole, shown
from gearshift.runtime.space.parts import Part, attention_part, ffn_part, norm_parameters
from gearshift.runtime.space.subnet import Options, Shape, Subnet

Layer = tuple[int, int]
"""(heads, neurons) that are kept; `(0, 0)`: the layer is skipped."""


ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "quick_gelu")
"""Activations of a feed-forward network, as transformers names them."""

POSITION_TERMS = ("c2p", "p2c")
"""Terms of disentangled attention, as DeBERTa's configs name them: a query's content with the position of a key, and a
query's position with the content of a key."""


@dataclass(frozen=True)
class EncoderShape(Shape[Layer]):
    """Sizes of the full encoder, and the form of its layers; a layer is `(heads, neurons)`.

    The form is BERT's unless a field says otherwise.
    """

    kind: ClassVar[str] = "elastic"
    unit: ClassVar[str] = "layer"

    layers: int
    hidden: int
    heads: int
    neurons: int
    """FFN neurons of each layer."""
    vocabulary: int
    positions: int
    """Tokens of the longest text; rows of the position table, if there is one (`position_rows`)."""
    types: int
    """Rows of the token-type table; 0 if the model has none."""
    embedding: int = 0
    """Width of the embeddings if a projection leads from them to the layers (ELECTRA); 0: as wide as the layers."""
    projected_first: bool = False
    """Whether that projection, then without a bias, comes before the norm of the embeddings, not behind it."""
    activation: str = "gelu"
    """Activation of the feed-forward network, one of ACTIVATIONS."""
    gated: bool = False
    """Whether a neuron multiplies its activation by a gate, a linear column of its own (GeGLU, SwiGLU)."""
    norm_first: bool = False
    """Whether layers are pre-norm: h = h + attention(norm(h)); h = h + ffn(norm(h)); a norm follows the last layer. The
    first layer has no norm before its attention, as that of the embeddings is one."""
    biases: bool = True
    """Whether the products of the layers have biases, and all norms shifts."""
    relative_buckets: int = 0
    """Rows of a table of biases for attention scores, by relative position and head; 0 without. All layers share it."""
    rotary: tuple[float, ...] = ()
    """Base of the rotary positions of each layer; empty if positions are those of a table."""
    windows: tuple[int, ...] = ()
    """Tokens on either side that each layer attends to, 0 for all; empty if all layers attend to all tokens."""
    shared: bool = False
    """Whether all layers are one set of weights, which runs once for each layer that is kept (ALBERT)."""
    absolute: bool = True
    """Whether the embeddings have a table of positions, unless positions are `rotary`."""
    position_terms: tuple[str, ...] = ()
    """Terms of disentangled attention besides that of contents, out of POSITION_TERMS; empty without."""
    position_buckets: int = 0
    """Buckets of distances on either side, for `position_terms`: a table of twice as many rows, which all layers share,
    has a vector of width `hidden` for each."""
    position_farthest: int = 0
    """Distance from which on all share the last bucket, for `position_terms`."""
    position_products: bool = False
    """Whether each layer multiplies these vectors by matrices of their own, not by those of its keys and queries."""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "neurons", "vocabulary", "positions"):
            if getattr(self, name) < 1:
                raise InputError(f"encoder shape: {name} must be at least 1, got {getattr(self, name)}")
        if self.hidden % self.heads:
            raise InputError(f"encoder shape: hidden {self.hidden} is no multiple of heads {self.heads}")
        self._check_form()

    def _check_form(self) -> None:
        """Raise InputError for a field of the form that is not usable."""
        known = ", ".join(ACTIVATIONS)
        if self.activation not in ACTIVATIONS:
            raise InputError(f"encoder shape: expected an activation out of {known}, got {shown(self.activation)}")
        for name in (name for name, default in _FORM.items() if isinstance(default, bool)):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"encoder shape: {name}: expected true or false, got {shown(getattr(self, name))}")
        if not is_whole(self.relative_buckets, 0):
            raise InputError(f"encoder shape: relative_buckets: expected 0 or more, got {shown(self.relative_buckets)}")
        self._check_layers("rotary", self.rotary, all(is_finite(base) and base >= 1 for base in self.rotary))
        self._check_layers("windows", self.windows, all(is_whole(window, 0) for window in self.windows))
        if self.rotary and self.head_size % 2:
            raise InputError(f"encoder shape: rotary positions need heads of even size, got {self.head_size}")
        if self.shared and self.norm_first:
            raise InputError("encoder shape: layers that share their weights have norms behind them, got norm_first")
        self._check_position_terms()

    def _check_position_terms(self) -> None:
        """Raise InputError unless disentangled attention has its buckets, and other attention has none."""
        terms, buckets, farthest = self.position_terms, self.position_buckets, self.position_farthest
        if terms != tuple(term for term in POSITION_TERMS if term in terms):
            expected = " and ".join(POSITION_TERMS)
            raise InputError(f"encoder shape: position_terms: expected some of {expected}, got {shown(terms)}")
        least = (2, buckets // 2 + 2) if terms and is_whole(buckets, 2) else (2 * bool(terms), 0)
        if not is_whole(buckets, least[0]) or not is_whole(farthest, least[1]) or (not terms and buckets + farthest):
            raise InputError(
                "encoder shape: position_buckets, position_farthest: expected two or more buckets, and a distance "
                f"beyond half of them, for position_terms, and 0 without, got {shown((buckets, farthest))}"
            )

    def _check_layers(self, name: str, values: tuple[float, ...], usable: bool) -> None:
        if not usable or len(values) not in (0, self.layers):
            raise InputError(
                f"encoder shape: {name}: expected a number for each of {self.layers} layers, got {shown(values)}"
            )

    @property
    def head_size(self) -> int:
        """Dimensions of one attention head."""
        return self.hidden // self.heads

    @property
    def sets(self) -> int:
        """Number of sets of weights that the layers have."""
        return 1 if self.shared else self.layers

    def weights_of(self, layer: int) -> int:
        """Return the number of the set of weights of a layer."""
        return 0 if self.shared else layer

    def stored(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """Return what the sets of weights of a subnet with these layers keep."""
        if not self.shared:
            return tuple(layers)
        return ((max(heads for heads, _ in layers), max(neurons for _, neurons in layers)),)

    @property
    def position_rows(self) -> int:
        """Rows of the position table of the embeddings; 0 without one."""
        return self.positions if self.absolute and not self.rotary else 0

    @property
    def form(self) -> dict[str, Any]:
        """Fields that differ from BERT's form, by name; sizes are not among them."""
        return {name: getattr(self, name) for name, default in _FORM.items() if getattr(self, name) != default}

    def layer_differences(self, other: Shape[Any]) -> str:
        """Describe the sizes of layers that differ in another shape."""
        return self.differences(other, ("kind", "layers", "hidden", "heads", "neurons", *_FORM))

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes by name, for JSON, and what differs from BERT's form."""
        form = {name: list(value) if isinstance(value, tuple) else value for name, value in self.form.items()}
        sizes = {name: value for name, value in vars(self).items() if name not in _FORM}
        if not self.embedding:
            del sizes["embedding"]
        return {**sizes, **form}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> EncoderShape:
        """Read the shape that `to_dict` wrote."""
        given: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in raw.items()}
        return cls(**given)

    @property
    def embedding_width(self) -> int:
        """Width of a word embedding."""
        return self.embedding or self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Number of parameters outside the layers: the embedding tables, their norm and, if there are any, their
        projection, the tables of relative positions with their norm, and the norm behind the last layer."""
        rows = self.vocabulary + self.types + self.position_rows
        tables = rows * self.embedding_width + self.relative_buckets * self.heads
        tables += 2 * self.position_buckets * self.hidden
        projection = (self.embedding + (not self.projected_first)) * self.hidden if self.embedding else 0
        normed = self.hidden if self.projected_first else self.embedding_width
        of_hidden = self.norm_first + bool(self.position_terms)  # norms of this width besides those of the layers
        norms = norm_parameters(normed + of_hidden * self.hidden, biases=self.biases)
        return tables + norms + projection

    def layer_parts(self, layer: Layer, place: int | None = None) -> tuple[Part, ...]:
        """Return attention and feed-forward of a layer; nothing for `(0, 0)`.

        A layer with a window counts as one without: of short texts the graph masks what lies outside it.
        """
        heads, neurons = layer
        if not heads:
            return ()
        normed = not (self.norm_first and place == 0)
        attention = attention_part(
            self.hidden,
            heads * self.head_size,
            biases=self.biases,
            norm=normed,
            position_terms=len(self.position_terms),
            position_products=self.position_products,
        )
        return (attention, ffn_part(self.hidden, neurons, biases=self.biases, gated=self.gated))

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
        return cls.from_dict(raw["shape"]), stages


_FORM: dict[str, Any] = {
    field.name: field.default
    for field in fields(EncoderShape)
    if field.default is not MISSING and field.name != "embedding"
}
"""Field of a shape that describes the form of its layers -> its value for BERT."""


def read_layers(raw: list[list[int]]) -> tuple[Layer, ...]:
    """Read layers from the lists of JSON."""
    return tuple((int(heads), int(neurons)) for heads, neurons in raw)
