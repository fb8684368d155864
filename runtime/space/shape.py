"""The shape of an encoder, and what its layers and embeddings cost."""

from __future__ import annotations

from dataclasses import dataclass

from gearshift.errors import InputError


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
