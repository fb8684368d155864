"""The elastic graph: every subnet of a space in one ONNX model.

1. Every weight is a root initializer, stored once, cut where the space cuts its layer.
2. Each option of a stage is the `then` branch of an `If` in the root graph; `else` passes the running
   value on. A stage's skipping option needs no branch.
3. Never an `If` inside an `If`: ONNX Runtime packs root weights only for consumers at depth 0 or 1.
4. Conditions (`choice[stage] == option`) are computed in the root graph.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gearshift.export.builder import GraphBuilder, Scope
from gearshift.export.operators import RECIPES, Recipe
from gearshift.export.segments import Array, LayerSegments, Weights, cut_layer
from gearshift.runtime.space import Option, Space, Stage

CHOICE = "choice"
LOGITS = "logits"
TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def write_elastic_graph(path: Path, weights: Weights, space: Space, *, precision: str, norm_eps: float) -> None:
    """Write the elastic graph of a space at one precision, and its weights file beside it.

    Inputs `input_ids`, `attention_mask`, `token_type_ids` int64 (batch, tokens) and `choice`
    int64 (stages,); output `logits` float32 (batch, labels).
    """
    graph = _ElasticGraph(weights, space, RECIPES[precision], norm_eps)
    graph.build().save(path)


class _ElasticGraph:
    def __init__(self, weights: Weights, space: Space, recipe: Recipe, norm_eps: float) -> None:
        self.weights = weights
        self.space = space
        self.recipe = recipe
        self.norm_eps = norm_eps
        self.builder = GraphBuilder()
        self.layers = [cut_layer(weights, space, layer) for layer in range(space.shape.layers)]

    def build(self) -> GraphBuilder:
        builder = self.builder
        input_ids, attention_mask, token_types = (builder.input(name, ("batch", "tokens")) for name in TOKEN_INPUTS)
        choice = builder.input(CHOICE, (len(self.space.stages),))
        mask = builder.root.value("Cast", [attention_mask], to=6)  # int32, as the attention operators want it
        hidden = self._embed(input_ids, token_types)
        for index, stage in enumerate(self.space.stages):
            hidden = self._stage(index, stage, choice, hidden, mask)
        builder.output(self._classify(hidden), LOGITS, ("batch", len(self.weights["classifier.bias"])))
        return builder

    def _weight(self, name: str) -> str:
        return self.builder.weight(name, self.weights[name])

    def _constant(self, name: str, values: int | list[int]) -> str:
        return self.builder.weight(name, np.array(values, np.int64))

    def _embed(self, input_ids: str, token_types: str) -> str:
        root = self.builder.root
        length = root.value("Shape", [input_ids], start=1, end=2)
        position_table = self._weight("embeddings.position.weight")
        positions = root.value("Slice", [position_table, self._constant("from_first", [0]), length])
        words = root.value("Gather", [self._weight("embeddings.word.weight"), input_ids])
        types = root.value("Gather", [self._weight("embeddings.token_type.weight"), token_types])
        summed = root.value("Add", [root.value("Add", [words, types]), positions])
        norm = (self.weights["embeddings.norm.weight"], self.weights["embeddings.norm.bias"])
        return self._norm(root, summed, "embeddings.norm", norm)

    def _norm(self, scope: Scope, value: str, name: str, norm: tuple[Array, Array]) -> str:
        scale, bias = (
            self.builder.weight(f"{name}.{part}", array) for part, array in zip(("scale", "shift"), norm, strict=True)
        )
        return scope.value("LayerNormalization", [value, scale, bias], axis=-1, epsilon=self.norm_eps)

    def _stage(self, index: int, stage: Stage, choice: str, hidden: str, mask: str) -> str:
        root = self.builder.root
        if len(stage.options) == 1:  # nothing to switch: the layers run in the root graph
            return self._option(root, stage, stage.options[0], hidden, mask)
        chosen = root.value("Gather", [choice, self._constant(f"stage{index}", index)])
        entry = hidden
        for number, option in enumerate(stage.options):
            if option.skips:
                continue
            condition = root.value("Equal", [chosen, self._constant(f"option{number}", number)])
            then = Scope(self.builder)
            result = self._option(then, stage, option, entry, mask)
            hidden = self.builder.switch(condition, then, result, hidden)
        return hidden

    def _option(self, scope: Scope, stage: Stage, option: Option, hidden: str, mask: str) -> str:
        for layer, (heads, neurons) in enumerate(option.layers, start=stage.first):
            if heads:
                hidden = self._layer(scope, self.layers[layer], hidden, mask, heads, neurons)
        return hidden

    def _layer(self, scope: Scope, layer: LayerSegments, hidden: str, mask: str, heads: int, neurons: int) -> str:
        kept_heads = [segment for segment in layer.heads if segment.end <= heads]
        attention_bias = f"{layer.name}.attention_bias"
        terms = self.recipe.attention(scope, hidden, mask, kept_heads, layer.attention_bias, attention_bias)
        summed = scope.value("Sum", [*terms, hidden])
        hidden = self._norm(scope, summed, f"{layer.name}.attention_norm", layer.attention_norm)
        kept_neurons = [segment for segment in layer.neurons if segment.end <= neurons]
        terms = self.recipe.ffn(scope, hidden, kept_neurons, layer.ffn_bias, f"{layer.name}.ffn_bias")
        summed = scope.value("Sum", [*terms, hidden])
        return self._norm(scope, summed, f"{layer.name}.ffn_norm", layer.ffn_norm)

    def _classify(self, hidden: str) -> str:
        root = self.builder.root
        first = root.value("Gather", [hidden, self._constant("first_token", 0)], axis=1)  # (batch, hidden)
        pooled = root.value("Tanh", [self._linear(root, first, "pooler")])
        return self._linear(root, pooled, "classifier")

    def _linear(self, scope: Scope, value: str, name: str) -> str:
        return scope.value("Gemm", [value, self._weight(f"{name}.weight"), self._weight(f"{name}.bias")], transB=1)
