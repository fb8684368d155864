"""Values between operators: their type and shape, with the sizes that a bundle's space allows.

A dimension is a number, or the symbol of one that the texts decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gearshift.runtime.graph.model import FLOAT, FLOAT16, MOST_AXES, Dims

BATCH, TOKENS = "batch", "tokens"

TWICE = "2 tokens"
"""Distances of a text's tokens, before and behind."""

FLAT, SKEWED, ONE_LESS = "2 tokens x tokens", "(2 tokens - 1) x tokens", "2 tokens - 1"
"""Numbers of a product with distances in one row, of those that are left to be skewed, and of one of their rows."""

BLOCKS, JOINED = "batch x blocks", "tokens of all blocks"
"""Blocks of all texts, and tokens of a text whose blocks were joined."""

FLOATS = (FLOAT, FLOAT16)


class RefusedError(ValueError):
    """A node that no graph of ours has; says in one line what about it."""


@dataclass(frozen=True)
class Value:
    """Type and shape of a value, and its content where that is known and a shape may follow from it."""

    kind: int
    dims: Dims
    numbers: tuple[int | str, ...] | None = None
    """Whole numbers of the value, a symbol among them, flat; None if they are not known."""
    stored: bool = False
    """Whether the value is a tensor of the graph."""


ABSENT = Value(0, ())
"""Optional input that a node leaves out, by an empty name."""


@dataclass(frozen=True)
class Limits:
    """Sizes that follow from the manifest."""

    per_token: int
    """Most numbers of a value for each token of a text."""
    per_text: int
    """Most numbers of a value for each text, or in one that no text enters."""
    heads: int
    """Most heads of an attention: scores have a number for each of them and each pair of tokens."""
    head_size: int
    tokens: int
    """Tokens of the longest text."""
    nodes: int
    """Most nodes, those in branches included."""
    axes: int = MOST_AXES
    operators: Mapping[str, Any] | None = None
    """Operators of a graph of images (`image_operators`); None for those of texts."""

    def bounded(self, value: Value) -> Value:
        """Return a computed value, if it is no larger than any of ours; raise RefusedError."""
        symbols = [size for size in value.dims if isinstance(size, str)]
        count = math.prod([size for size in value.dims if isinstance(size, int)])
        of_tokens = [symbol for symbol in symbols if symbol not in (BATCH, BLOCKS)]
        most = (self.per_text, self.per_token, self.heads)[min(len(of_tokens), 2)]
        if len(value.dims) > self.axes or len(of_tokens) > 2 or len(symbols) - len(of_tokens) > 1 or count > most:
            raise RefusedError(f"a result of shape {shown(value.dims)}")
        return value


def shown(dims: Dims) -> str:
    """Return a shape as text."""
    return "x".join(map(str, dims)) or "scalar"


def require(holds: bool, told: str) -> None:
    """Raise RefusedError, with what was found, unless something holds.

    Rules that every node passes raise it themselves: to put together what is told takes longer than to find that all is
    well.
    """
    if not holds:
        raise RefusedError(told)


def broadcast(shapes: Sequence[Dims]) -> Dims:
    """Return the shape of an operator that goes number by number; raise RefusedError if the shapes do not fit."""
    first = shapes[0]
    if all(dims == first for dims in shapes):
        return first
    longest = max(map(len, shapes))
    padded = [(1,) * (longest - len(dims)) + dims for dims in shapes]
    joined = []
    for sizes in zip(*padded, strict=True):
        found = set(sizes) - {1}
        require(len(found) <= 1, f"shapes {' and '.join(map(shown, shapes))} together")
        joined.append(found.pop() if found else 1)
    return tuple(joined)


def same_float(values: Sequence[Value]) -> int:
    """Return the float type that all these values have; raise RefusedError."""
    kinds = {value.kind for value in values}
    require(len(kinds) == 1 and kinds <= set(FLOATS), f"types {sorted(kinds)} together")
    return kinds.pop()


def axis_of(axis: int, dims: Dims) -> int:
    """Return the place of an axis, which may be counted from the end; raise RefusedError if there is none."""
    require(-len(dims) <= axis < len(dims), f"axis {axis} of shape {shown(dims)}")
    return axis % len(dims)


def numbers_of(value: Value, count: int | None = None) -> tuple[int, ...]:
    """Return the whole numbers that a value is known to hold; raise RefusedError if not, or there is another count."""
    numbers = value.numbers
    known = numbers is not None and all(isinstance(number, int) for number in numbers)
    require(known and (count is None or len(numbers or ()) == count), "numbers that are not stored in the graph")
    return tuple(number for number in numbers or () if isinstance(number, int))


def has_shape(value: Value, kinds: Sequence[int], dims: Dims) -> None:
    """Raise RefusedError unless a value has one of these types, and this shape."""
    if value.kind not in kinds or value.dims != dims:
        raise RefusedError(f"shape {shown(value.dims)} of type {value.kind} for {shown(dims)}")
