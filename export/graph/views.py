"""Views of a graph's layers: positions and windows of attention, computed once in the root graph.

Biases and windows depend on the offset of a key from a query alone. A stored table has a row for each offset, from
-(positions - 1) on; the offsets of a text are looked up in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from gearshift.export.graph.blocks import Cut, append_blocks
from gearshift.export.graph.builder import Scope
from gearshift.export.graph.disentangled import Skew, append_skew
from gearshift.export.graph.recipe import Recipe, View
from gearshift.export.graph.segments import Weights
from gearshift.export.graph.standard import MASKED
from gearshift.runtime.space.shape import EncoderShape
from gearshift.trainer.model.encoder.positions import bucket_of, rotation_of

RELATIVE = "relative.weight"
"""Name of the biases of relative positions, (buckets, heads)."""


def append_views(
    scope: Scope, shape: EncoderShape, weights: Weights, mask: str, given_mask: str, recipe: Recipe
) -> list[View]:
    """Append what the views of all layers need to the root graph, and return them.

    `mask`: as `View.mask`. `given_mask`: int64 (batch, tokens).
    """
    parts = _Parts(scope, shape, weights, given_mask, recipe)
    return [parts.view(layer, mask) for layer in range(shape.layers)]


class _Parts:
    """Values that layers share, each appended when the first layer asks for it."""

    def __init__(self, scope: Scope, shape: EncoderShape, weights: Weights, given_mask: str, recipe: Recipe) -> None:
        self.scope, self.shape, self.weights, self.recipe = scope, shape, weights, recipe
        self.given_mask = given_mask
        self.known: dict[str, str] = {}
        self.skewed: Skew | None = None
        self.cut: dict[int, View] = {}

    def view(self, layer: int, mask: str) -> View:
        """Return the view of a layer."""
        window = self.shape.windows[layer] if self.shape.windows else 0
        near = self.near(window) if window else None
        if near is None:
            return View(mask, self.bias(layer), self.rotation(layer), skew=self.skew())
        return replace(near, rotation=self.rotation(layer))

    def near(self, window: int) -> View | None:
        """Return the view of a window in blocks; None where no text is long enough, or scores have other terms."""
        cut = Cut(window, self.shape.positions)
        of_pairs = self.shape.relative_buckets or self.shape.position_terms  # terms for all pairs of tokens
        if not self.recipe.blocks or cut.longest < cut.from_tokens or of_pairs:
            return None
        if window not in self.cut:
            seen = append_blocks(self.scope, cut, self.given_mask, self._length())
            rows = self.scope.value("Add", [seen.offsets, self._middle()])
            self.cut[window] = View(
                self.recipe.mask(self.scope, seen.mask),
                self._outside(window, rows),
                blocks=seen.blocks,
            )
        return self.cut[window]

    def bias(self, layer: int) -> str:
        """Return the numbers added to the scores of a layer; "" for none."""
        if self.shape.relative_buckets:
            return self._once("relative", self._relative)
        window = self.shape.windows[layer] if self.shape.windows else 0
        return self._once(f"window{window}", lambda: self._window(window)) if window else ""

    def rotation(self, layer: int) -> tuple[str, str] | None:
        """Return cosines and sines of a layer for the tokens of the text, (tokens, head_size / 2)."""
        if not self.shape.rotary:
            return None
        base = self.shape.rotary[layer]
        cosines, sines = rotation_of(base, self.shape.positions, self.shape.head_size)
        named = {f"rotary{base:g}.cosines": cosines, f"rotary{base:g}.sines": sines}
        first, second = (self._once(name, partial(self._rows, name, table)) for name, table in named.items())
        return first, second

    def skew(self) -> Skew | None:
        """Return the values that terms of disentangled attention need; None without."""
        if self.shape.position_terms and self.skewed is None:
            self.skewed = append_skew(self.scope, self.shape, self._places(), self._length())
        return self.skewed

    def _rows(self, name: str, table: torch.Tensor) -> str:
        """Append the first rows of a table, one for each token."""
        stored = self.scope.builder.weight(name, table.numpy().astype(self.recipe.floats))
        return self.scope.value("Slice", [stored, self.scope.builder.constant("from_first", [0]), self._length()])

    def _relative(self) -> str:
        """Append the biases of all heads, (1, heads, tokens, tokens)."""
        builder = self.scope.builder
        buckets = bucket_of(self._all_offsets(), self.shape.relative_buckets).numpy()
        bucket = self.scope.value("Gather", [builder.weight("buckets", buckets), self._offsets()])
        table = builder.weight(RELATIVE, self.weights[RELATIVE])
        biases = self.scope.value("Gather", [table, bucket])  # (tokens, tokens, heads)
        apart = self.scope.value("Transpose", [biases], perm=[2, 0, 1])
        return self.scope.value("Unsqueeze", [apart, builder.constant("batch_axis", [0])])

    def _window(self, window: int) -> str:
        """Append the mask of a window, (1, 1, tokens, tokens): 0 inside, MASKED outside."""
        return self._outside(window, self._offsets())

    def _outside(self, window: int, offsets: str) -> str:
        """Append the mask of a window for offsets of keys from queries, counted from the first row of a table."""
        builder = self.scope.builder
        outside = (self._all_offsets().abs() > window).numpy()
        table = builder.weight(f"window{window}", np.where(outside, MASKED, 0).astype(self.recipe.floats))
        masked = self.scope.value("Gather", [table, offsets])
        return self.scope.value("Unsqueeze", [masked, builder.constant("outer_axes", [0, 1])])

    def _all_offsets(self) -> torch.Tensor:
        return torch.arange(1 - self.shape.positions, self.shape.positions)

    def _offsets(self) -> str:
        """Append the row of each key's offset from each query, (tokens, tokens)."""
        return self._once("offsets", self._new_offsets)

    def _new_offsets(self) -> str:
        builder, scope = self.scope.builder, self.scope
        own = self._places()
        column = scope.value("Unsqueeze", [own, builder.constant("token_axis", [1])])
        return scope.value("Add", [scope.value("Sub", [own, column]), self._middle()])

    def _middle(self) -> str:
        """Return the row of offset 0 in a table with a row for each."""
        return self.scope.builder.constant("last_place", self.shape.positions - 1)

    def _places(self) -> str:
        """Return the places of the tokens, 0, 1, 2 ..., (tokens,)."""
        return self._once("places", self._new_places)

    def _new_places(self) -> str:
        builder = self.scope.builder
        stored = builder.weight("places", np.arange(self.shape.positions, dtype=np.int64))
        return self.scope.value("Slice", [stored, builder.constant("from_first", [0]), self._length()])

    def _length(self) -> str:
        return self._once("length", lambda: self.scope.value("Shape", [self.given_mask], start=1, end=2))

    def _once(self, name: str, append: Callable[[], str]) -> str:
        if name not in self.known:
            self.known[name] = append()
        return self.known[name]
