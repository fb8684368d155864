"""The elastic graph: every subnet of a space in one ONNX model.

1. Every weight is a root initializer, stored once, cut where the space cuts its layer.
2. Each option of a stage is the `then` branch of an `If` in the root graph; `else` passes the running
   value on. A stage's skipping option needs no branch. The last stage's branches end in the answer, so
   that what is passed on behind them is small.
3. Never an `If` inside an `If`: ONNX Runtime packs root weights only for consumers at depth 0 or 1.
4. Conditions (`choice[stage] == option`) are computed in the root graph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from gearshift.export.builder import GraphBuilder, Scope
from gearshift.export.embeddings import embed
from gearshift.export.heads import answer, first_row, needs_first_only
from gearshift.export.operators import OPERATORS
from gearshift.export.recipe import Recipe, Rows
from gearshift.export.segments import Array, Weights, cut_layer
from gearshift.runtime.errors import ExportError
from gearshift.runtime.manifest import CHOICE, INPUTS
from gearshift.runtime.space import EncoderShape, Kept, Option, Space, Stage
from gearshift.runtime.tasks import TASKS
from gearshift.trainer.model import Head

Body = Callable[[Scope, Stage, Option, str], str]
"""Puts what one option of a stage does to a value into a scope, and gives the result."""


def token_inputs(shape: EncoderShape) -> tuple[str, ...]:
    """Names of what a graph takes besides `choice`."""
    return tuple(name for name in INPUTS if shape.types or name != "token_type_ids")


def write_elastic_graph(
    path: Path,
    weights: Weights,
    space: Space,
    *,
    precision: str,
    norm_eps: float,
    head: Head | None = None,
    operators: str = "fast",
    wide: Collection[int] = (),
) -> None:
    """Write the elastic graph of a space at one precision, and its weights file beside it.

    `operators`: a key of `OPERATORS`. `wide`: layers that are computed in fp32 whatever the precision (of int8).

    Inputs `input_ids`, `attention_mask` and, where the model has token types, `token_type_ids`, all int64
    (batch, tokens), and `choice` int64 (stages,); output float32, its name and form those of the head's task.
    """
    recipe = OPERATORS[operators][precision]
    recipes = [OPERATORS[operators]["fp32"] if layer in wide else recipe for layer in range(space.shape.layers)]
    graph = _ElasticGraph(as_floats(weights, recipe.floats), space, recipe, recipes, norm_eps, head or Head())
    graph.build().save(path)


def as_floats(weights: Weights, floats: type[np.floating]) -> Weights:
    """The weights in that float type; raises ExportError where one is too large for it."""
    if floats is np.float32:
        return weights
    limit = np.finfo(floats).max
    for name, array in weights.items():
        if (largest := np.abs(array).max()) > limit:
            raise ExportError(
                f"{name}: expected weights of at most {limit:g}, as {floats.__name__} can hold, found {largest:g}; "
                "export another precision"
            )
    return {name: array.astype(floats) for name, array in weights.items()}


class _ElasticGraph:
    def __init__(
        self,
        weights: Weights,
        space: Space,
        recipe: Recipe,
        recipes: Sequence[Recipe],
        norm_eps: float,
        head: Head,
    ) -> None:
        self.weights = weights
        self.space = space
        self.recipe = recipe
        self.recipes = recipes  # of each layer
        self.norm_eps = norm_eps
        self.head = head
        self.task = TASKS[head.task]
        self.builder = GraphBuilder()
        self.mask = ""
        self.layers = [cut_layer(weights, space, layer) for layer in range(space.shape.layers)]

    def build(self) -> GraphBuilder:
        builder = self.builder
        names = token_inputs(self.space.shape)
        input_ids, attention_mask, *token_types = (builder.input(name, ("batch", "tokens")) for name in names)
        choice = builder.input(CHOICE, (len(self.space.stages),))
        self.mask = self.recipe.mask(builder.root, attention_mask)
        hidden = embed(builder.root, self.weights, self.recipe, input_ids, next(iter(token_types), None), self._norm)
        *stages, last = enumerate(self.space.stages)
        for index, stage in stages:
            hidden = self._switch(index, stage, choice, hidden, self._layers, otherwise=hidden)
        answered = self._switch(*last, choice, hidden, self._answer, otherwise=None)
        outputs = len(self.weights["classifier.bias"]) if "classifier.bias" in self.weights else self.space.shape.hidden
        axes = ("batch", "tokens", outputs) if self.task.per_token else ("batch", outputs)
        builder.output(answered, self.task.output, axes)
        return builder

    def _norm(self, scope: Scope, value: str, name: str, norm: tuple[Array, Array]) -> str:
        scale, bias = (
            self.builder.weight(f"{name}.{part}", array) for part, array in zip(("scale", "shift"), norm, strict=True)
        )
        return scope.value("LayerNormalization", [value, scale, bias], axis=-1, epsilon=self.norm_eps)

    def _switch(self, index: int, stage: Stage, choice: str, hidden: str, body: Body, otherwise: str | None) -> str:
        """What the chosen option's body makes of `hidden`; `otherwise`, or else NaN, where no option's branch runs."""
        root = self.builder.root
        if len(stage.options) == 1:  # nothing to switch: the layers run in the root graph
            return body(root, stage, stage.options[0], hidden)
        floats = np.float32 if otherwise is None else self.recipe.floats
        if otherwise is None:  # what an option that does not exist gives: nothing that passes for an answer
            ones = (1, 1, 1) if self.task.per_token else (1, 1)
            otherwise = self.builder.weight("no_option", np.full(ones, np.nan, np.float32))
        chosen = root.value("Gather", [choice, self.builder.constant(f"stage{index}", index)])
        for number, option in enumerate(stage.options):
            then = Scope(self.builder)
            result = body(then, stage, option, hidden)
            if then.nodes:  # an option that does nothing needs no branch
                condition = root.value("Equal", [chosen, self.builder.constant(f"option{number}", number)])
                otherwise = self.builder.switch(condition, then, result, otherwise, floats)
        return otherwise

    def _layers(self, scope: Scope, stage: Stage, option: Option, hidden: str) -> str:
        """(batch, tokens, hidden) after the layers that an option keeps."""
        for layer, (heads, neurons) in enumerate(option.layers, start=stage.first):
            if heads:
                hidden = self._layer(scope, Kept(layer, heads, neurons), hidden, _all_rows)
        return hidden

    def _answer(self, scope: Scope, stage: Stage, option: Option, hidden: str) -> str:
        """The answer after the last stage: its layers and the head.

        Where only the first token's state is needed, the last layer computes nothing else behind its
        attention: three quarters of its products fall away.
        """
        kept = [
            Kept(layer, heads, neurons)
            for layer, (heads, neurons) in enumerate(option.layers, start=stage.first)
            if heads
        ]
        for layer in kept[:-1]:
            hidden = self._layer(scope, layer, hidden, _all_rows)
        rows = first_row if needs_first_only(self.head) else _all_rows
        states = self._layer(scope, kept[-1], hidden, rows) if kept else rows(scope, hidden)
        return answer(scope, self.weights, self.head, self.recipe, states, INPUTS[1])

    def _layer(self, scope: Scope, kept: Kept, hidden: str, rows: Rows) -> str:
        layer, recipe = self.layers[kept.layer], self.recipes[kept.layer]
        heads = [segment for segment in layer.heads if segment.end <= kept.heads]
        bias_name = f"{layer.name}.attention_bias"
        terms = recipe.attention(scope, hidden, self.mask, heads, layer.attention_bias, bias_name, rows)
        summed = scope.value("Sum", [*terms, rows(scope, hidden)])
        hidden = self._norm(scope, summed, f"{layer.name}.attention_norm", layer.attention_norm)
        neurons = [segment for segment in layer.neurons if segment.end <= kept.neurons]
        terms = recipe.ffn(scope, hidden, neurons, layer.ffn_bias, f"{layer.name}.ffn_bias")
        summed = scope.value("Sum", [*terms, hidden])
        return self._norm(scope, summed, f"{layer.name}.ffn_norm", layer.ffn_norm)


def _all_rows(scope: Scope, value: str) -> str:
    return value
