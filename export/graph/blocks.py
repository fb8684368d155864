"""Attention within windows, block by block: the work of long texts grows with their length, not with its square.

Queries are cut into blocks of two windows; a block's queries see its own keys and those of one window on either side,
of which a mask leaves each query its window. A text that is shorter than FEWEST blocks is one block, which sees all its
tokens: its masked attention takes less time than small blocks would (`benchmarks.graph.windows`). Which it is follows
from tables with a row for each length, so that the graph needs no switch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from gearshift.export.graph.builder import Scope

FEWEST = 3
"""Blocks of the shortest text that is cut into blocks."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Blocks:
    """Names of the values of the root graph that cut a text into blocks and join it again."""

    queries: str
    """Places of the queries of all blocks, one block after another, (blocks x block,)."""
    keys: str
    """Places of the keys that the blocks see, (blocks x seen,)."""
    query_shape: str
    """Shape (-1, block, 0)."""
    key_shape: str
    """Shape (-1, seen, 0)."""
    joined_shape: str
    """Shape (batch, -1, 0)."""
    length: str
    """Number of tokens, (1,)."""

    def of_queries(self, scope: Scope, value: str) -> str:
        """Append (batch, tokens, width) -> (batch x blocks, block, width)."""
        return scope.value("Reshape", [scope.value("Gather", [value, self.queries], axis=1), self.query_shape])

    def of_keys(self, scope: Scope, value: str) -> str:
        """Append (batch, tokens, width) -> (batch x blocks, seen, width)."""
        return scope.value("Reshape", [scope.value("Gather", [value, self.keys], axis=1), self.key_shape])

    def joined(self, scope: Scope, value: str) -> str:
        """Append (batch x blocks, block, width) -> (batch, tokens, width)."""
        constant = scope.builder.constant
        whole = scope.value("Reshape", [value, self.joined_shape])
        return scope.value("Slice", [whole, constant("from_first", [0]), self.length, constant("token_axis", [1])])


def in_blocks(scope: Scope, blocks: Blocks, query: str, key: str, value: str) -> tuple[str, str, str]:
    """Append queries, keys and values of blocks, for those of a text, (batch, tokens, width)."""
    return blocks.of_queries(scope, query), blocks.of_keys(scope, key), blocks.of_keys(scope, value)


@dataclass(frozen=True)
class Cut:
    """Blocks of the texts of a graph, as whole numbers for each length."""

    window: int
    longest: int
    """Tokens of the longest text."""

    @property
    def block(self) -> int:
        """Queries of a block of a long text."""
        return 2 * self.window

    @property
    def from_tokens(self) -> int:
        """Tokens of the shortest text that is cut."""
        return FEWEST * self.block

    def blocks(self, tokens: int) -> int:
        """Return the number of blocks of a text."""
        return -(-tokens // self.block) if tokens >= self.from_tokens else 1

    def queries(self) -> Numbers:
        """Return the places of queries: for each text the first of them."""
        return np.arange(max(self.blocks(self.longest) * self.block, self.longest))

    def keys(self) -> Numbers:
        """Return the places of the keys of texts in one block, then those of all blocks, also beyond a text."""
        starts = np.arange(self.blocks(self.longest))[:, None] * self.block - self.window
        seen = (starts + np.arange(2 * self.block)).ravel()
        return np.concatenate([np.arange(self.from_tokens), seen])

    def tables(self) -> dict[str, Numbers]:
        """Return name of a number -> its value for each length from 0 to the longest."""
        rows = [self._numbers(tokens) for tokens in range(self.longest + 1)]
        return {name: np.array([row[name] for row in rows], np.int64) for name in rows[0]}

    def _numbers(self, tokens: int) -> dict[str, int]:
        count, cut = self.blocks(tokens), tokens >= self.from_tokens
        block, seen = (self.block, 2 * self.block) if cut else (tokens, tokens)
        first = self.from_tokens if cut else 0
        return {
            "block": block,
            "seen": seen,
            "last_query": count * block,
            "first_key": first,
            "last_key": first + count * seen,
            "before": self.window if cut else 0,
        }


@dataclass(frozen=True)
class Seen:
    """Blocks of a window, with what each of their queries sees."""

    blocks: Blocks
    mask: str
    """Mask of the keys, int64 (batch x blocks, seen): 1 for those of real tokens."""
    offsets: str
    """Offset of each key from each query of a block, (block, seen)."""


def append_blocks(scope: Scope, cut: Cut, given_mask: str, length: str) -> Seen:
    """Append the blocks of a window to the root graph; `given_mask`: int64 (batch, tokens)."""
    builder, name = scope.builder, f"window{cut.window}"
    tables = cut.tables()
    number = {
        part: scope.value("Gather", [builder.weight(f"{name}.{part}", table), length]) for part, table in tables.items()
    }
    first, rest = builder.constant("from_first", [0]), builder.constant("rest_of_axis", [-1])
    same = first  # a 0 in a shape is the size that was there
    last = scope.value("Sub", [length, builder.constant("one_place", [1])])
    places = builder.weight(f"{name}.queries", cut.queries())
    queries = scope.value("Min", [scope.value("Slice", [places, first, number["last_query"]]), last])
    wanted = [builder.weight(f"{name}.keys", cut.keys()), number["first_key"], number["last_key"]]
    beyond = scope.value("Slice", wanted)
    keys = scope.value("Max", [scope.value("Min", [beyond, last]), first])
    inside = scope.value("Cast", [scope.value("Equal", [keys, beyond])], to=TensorProto.INT64)
    real = scope.value("Mul", [scope.value("Gather", [given_mask, keys], axis=1), inside])
    mask = scope.value("Reshape", [real, scope.value("Concat", [rest, number["seen"]], axis=0)])
    rows = scope.value("Slice", [places, first, number["block"]])
    rows = scope.value("Unsqueeze", [rows, builder.constant("token_axis", [1])])
    columns = scope.value("Sub", [scope.value("Slice", [places, first, number["seen"]]), number["before"]])
    batch = scope.value("Shape", [given_mask], start=0, end=1)
    blocks = Blocks(
        queries=queries,
        keys=keys,
        query_shape=scope.value("Concat", [rest, number["block"], same], axis=0),
        key_shape=scope.value("Concat", [rest, number["seen"], same], axis=0),
        joined_shape=scope.value("Concat", [batch, rest, same], axis=0),
        length=length,
    )
    return Seen(blocks, mask, scope.value("Sub", [columns, rows]))
