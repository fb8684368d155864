"""Elastic graph of a space: all subnets in one ONNX model.

`switched` has the rules of a graph with switches. Here are the options of elastic layers, whose weights are cut where
the space cuts the layer; `mixed` has those of mixed operations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import layer_norm

from gearshift.errors import ExportError
from gearshift.export.graph.builder import Scope
from gearshift.export.graph.heads import answer, first_row, needs_first_only
from gearshift.export.graph.mixed import MixedGraph
from gearshift.export.graph.operators import OPERATORS
from gearshift.export.graph.quantizer import Quantizer
from gearshift.export.graph.recipe import Recipe, Rows, View
from gearshift.export.graph.segments import Array, Norm, Weights, cut_layer, norm_of
from gearshift.export.graph.switched import SwitchedGraph, all_rows
from gearshift.export.graph.views import append_views
from gearshift.runtime.bundle.manifest import INPUTS
from gearshift.runtime.space.blocks import BlockShape
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space
from gearshift.runtime.space.subnet import Kept
from gearshift.trainer.model.elastic import Head
from gearshift.trainer.model.names import STEPS


def write_elastic_graph(
    path: Path,
    weights: Weights,
    space: Space[Any, Any],
    *,
    precision: str,
    norm_eps: float,
    head: Head | None = None,
    operators: str = "fast",
    wide: Collection[int] = (),
    longest: int | None = None,
    quantizer: Quantizer | None = None,
) -> None:
    """Write the graph of a space at one precision, and its weights file beside it.

    `operators`: a key of `OPERATORS`. `wide`: layers (mixed operations: stages) that an int8 graph computes in fp32.
    `longest`: tokens of the longest text, if they are fewer than the net has positions for. `quantizer`: that of the
    weights of an int8 graph, by default the finest.

    Inputs: `input_ids`, `attention_mask` and, if the model has token types, `token_type_ids`, all int64
    (batch, tokens); `choice`, int64 (stages,). Output: float32, with the name and shape of the head's task; of several
    heads one each (`task_heads.output_name`).
    """
    disentangled = isinstance(space.shape, EncoderShape) and bool(space.shape.position_terms)
    if disentangled and (operators, precision) == ("standard", "fp16"):
        # A pass of its optimiser over this graph ends onnxruntime 1.32.0 with a segmentation fault.
        raise ExportError("fp16: disentangled attention has no standard operators; export fp32, or operators fast")
    recipe = OPERATORS[operators][precision]
    recipes = [OPERATORS[operators]["fp32"] if part in wide else recipe for part in range(space.length)]
    given = (as_floats(weights, recipe.floats), recipe, recipes, norm_eps, head or Head(), quantizer)
    if longest is not None:  # tables of positions end there
        space = replace(space, shape=replace(space.shape, positions=min(longest, space.shape.positions)))
    GRAPHS[space.shape.kind](space, *given).build().save(path)


def as_floats(weights: Weights, floats: type[np.floating]) -> Weights:
    """Convert the weights to a float type, but not STEPS, which are computed in float32; raises ExportError if one is
    too large for it."""
    if floats is np.float32:
        return weights
    limit = np.finfo(floats).max
    converted = {
        name: array
        for name, array in weights.items()
        if not name.startswith(STEPS) and np.issubdtype(array.dtype, np.floating)
    }
    for name, array in converted.items():
        if (largest := np.abs(array).max()) > limit:
            raise ExportError(
                f"{name}: expected weights of at most {limit:g}, the limit of {floats.__name__}, found {largest:g}; "
                "export another precision"
            )
    return {**weights, **{name: array.astype(floats) for name, array in converted.items()}}


class _ElasticGraph(SwitchedGraph):
    """Graph of elastic layers; an option of a stage keeps some heads and neurons of its layers."""

    def __init__(
        self,
        space: Space,
        weights: Weights,
        recipe: Recipe,
        recipes: Sequence[Recipe],
        norm_eps: float,
        head: Head,
        quantizer: Quantizer | None = None,
    ) -> None:
        options = [len(stage.options) for stage in space.stages]
        super().__init__(weights, space.shape, options, recipe, norm_eps, head, quantizer)
        self.space = space
        self.recipes = recipes  # of each layer
        vectors = _position_vectors(weights, norm_eps)
        cut = [cut_layer(weights, space, each, vectors) for each in range(space.shape.sets)]
        self.layers = [cut[space.shape.weights_of(layer)] for layer in range(space.shape.layers)]
        self.views: list[View] = []
        """View of each layer; set when the graph is built."""

    @property
    def width(self) -> int:
        return self.space.shape.hidden

    def take_mask(self, attention_mask: str) -> None:
        """Append the mask, and the positions and windows of all layers, to the root graph."""
        super().take_mask(attention_mask)
        root = self.builder.root
        self.views = append_views(root, self.space.shape, self.weights, self.mask, attention_mask, self.recipe)

    def inner(self, scope: Scope, stage: int, option: int, hidden: str) -> str:
        """Append the layers that an option keeps."""
        for kept in self._kept(stage, option):
            hidden = self._layer(scope, kept, hidden, all_rows)
        return hidden

    def last(self, scope: Scope, stage: int, option: int, hidden: str) -> str:
        """Append the layers of the last stage and the head.

        If only the first token's state is needed, the last layer computes no other token after its attention, which
        saves three quarters of its products.
        """
        kept = self._kept(stage, option)
        for layer in kept[:-1]:
            hidden = self._layer(scope, layer, hidden, all_rows)
        rows = first_row if needs_first_only(self.head) else all_rows
        states = self._layer(scope, kept[-1], hidden, rows) if kept else rows(scope, hidden)
        last = norm_of(self.weights, "final_norm")
        if last is not None:
            states = self.norm(scope, states, "final_norm", last)
        if self.head.parts:
            return states
        return answer(scope, self.weights, self.head, self.recipe, states, INPUTS[1], self.norm)

    def _kept(self, stage: int, option: int) -> list[Kept]:
        first, layers = self.space.stages[stage].first, self.space.stages[stage].options[option].layers
        return [Kept(layer, heads, neurons) for layer, (heads, neurons) in enumerate(layers, start=first) if heads]

    def _layer(self, scope: Scope, kept: Kept, hidden: str, rows: Rows) -> str:
        """Append the kept part of a layer, with its norms before or behind its halves."""
        layer = self.layers[kept.layer]
        if not self.space.shape.norm_first:
            terms = self._attention(scope, kept, hidden, hidden, rows)
            hidden = self._sum_normed(scope, kept, terms, f"{layer.name}.attention_norm", layer.attention_norm)
            terms = self._ffn(scope, kept, hidden, hidden)
            return self._sum_normed(scope, kept, terms, f"{layer.name}.ffn_norm", layer.ffn_norm)
        add = self.recipes[kept.layer].add
        normed = self._normed(scope, hidden, f"{layer.name}.attention_norm", layer.attention_norm)
        hidden = add(scope, self._attention(scope, kept, normed, hidden, rows))
        normed = self._normed(scope, hidden, f"{layer.name}.ffn_norm", layer.ffn_norm)
        return add(scope, self._ffn(scope, kept, normed, hidden))

    def _sum_normed(self, scope: Scope, kept: Kept, terms: Sequence[str], name: str, norm: Norm | None) -> str:
        """Append the sum of the terms of a half-layer, and its norm."""
        recipe = self.recipes[kept.layer]
        if recipe.add_norm is not None and norm is not None:
            return recipe.add_norm(scope, terms, norm, name, self.norm_eps)
        return self._normed(scope, recipe.add(scope, terms), name, norm)

    def _normed(self, scope: Scope, value: str, name: str, norm: Norm | None) -> str:
        return value if norm is None else self.norm(scope, value, name, norm)

    def _attention(self, scope: Scope, kept: Kept, value: str, residual: str, rows: Rows) -> list[str]:
        """Append the attention of a value for these rows; return the terms of its sum, the residual last."""
        layer = self.layers[kept.layer]
        heads = [segment for segment in layer.heads if segment.end <= kept.heads]
        recipe, view = self.recipes[kept.layer], self.views[kept.layer]
        terms = recipe.attention(scope, value, view, heads, layer.attention_bias, f"{layer.name}.attention_bias", rows)
        return [*terms, rows(scope, residual)]

    def _ffn(self, scope: Scope, kept: Kept, value: str, residual: str) -> list[str]:
        """Append the feed-forward network of a value; return the terms of its sum, the residual last."""
        layer = self.layers[kept.layer]
        neurons = [segment for segment in layer.neurons if segment.end <= kept.neurons]
        recipe = self.recipes[kept.layer]
        terms = recipe.ffn(scope, value, neurons, layer.ffn_bias, f"{layer.name}.ffn_bias")
        return [*terms, residual]


def _position_vectors(weights: Weights, norm_eps: float) -> Array | None:
    """Compute the vectors of relative positions behind their norm, (rows, hidden), in float32; None without."""
    table, norm = weights.get("position_table.weight"), norm_of(weights, "position_norm")
    if table is None or norm is None:
        return None
    scales, shifts = (None if each is None else torch.from_numpy(each).float() for each in norm)
    normed: Array = layer_norm(torch.from_numpy(table).float(), table.shape[1:], scales, shifts, norm_eps).numpy()
    return normed.astype(table.dtype)


GRAPHS: dict[str, Callable[..., SwitchedGraph]] = {EncoderShape.kind: _ElasticGraph, BlockShape.kind: MixedGraph}
"""Kind of net -> class that builds the graph of its space."""
