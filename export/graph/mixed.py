"""Graph of a space of mixed operations: NAS-BERT blocks of one net, or of the shared weights of a search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import helper

from gearshift.export.graph.builder import Scope
from gearshift.export.graph.heads import answer, first_row, needs_first_only
from gearshift.export.graph.quantizer import Quantizer
from gearshift.export.graph.recipe import Recipe, Rows, View
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment, Weights
from gearshift.export.graph.switched import SwitchedGraph, all_rows
from gearshift.runtime.bundle.manifest import INPUTS
from gearshift.runtime.space.blocks import Block
from gearshift.runtime.space.parts import KERNELS, ROUNDS
from gearshift.runtime.space.space import BlockSpace
from gearshift.trainer.model.elastic import Head
from gearshift.trainer.nasbert.model import cell_name


class MixedGraph(SwitchedGraph):
    """Graph of mixed operations; an option of a stage is a block."""

    def __init__(
        self,
        space: BlockSpace,
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
        self.blocks = [tuple(space.options_of(stage)) for stage in range(space.length)]
        self.recipes = recipes  # of each stage
        self.real = ""

    @property
    def width(self) -> int:
        return self.space.shape.bridge or self.blocks[-1][0].hidden

    def take_mask(self, attention_mask: str) -> None:
        """Append the mask of attention and, for convolutions, a mask (batch, tokens, 1) with 1 for real tokens."""
        super().take_mask(attention_mask)
        operations = {name for blocks in self.blocks for block in blocks for name in block.operations}
        if operations & KERNELS.keys():
            root = self.builder.root
            floats = helper.np_dtype_to_tensor_dtype(np.dtype(self.recipe.floats))
            last_axis = self.builder.constant("last_axis", [2])
            self.real = root.value("Unsqueeze", [root.value("Cast", [attention_mask], to=floats), last_axis])

    def inner(self, scope: Scope, stage: int, option: int, hidden: str) -> str:
        """Append a block."""
        block = self.blocks[stage][option]
        hidden = self._project(scope, stage, f"into.{block.hidden}", hidden)
        for place in range(len(block.operations)):
            hidden = self._operation(scope, stage, block, place, hidden, all_rows)
        return self._project(scope, stage, f"out.{block.hidden}", hidden)

    def last(self, scope: Scope, stage: int, option: int, hidden: str) -> str:
        """Append a block and the head.

        If only the first token's state is needed, no other token is computed from the last operation on that reads
        other tokens.
        """
        block = self.blocks[stage][option]
        looking = [place for place, name in enumerate(block.operations) if name != "ffn"]
        pick = first_row if needs_first_only(self.head) else all_rows
        if not looking:
            hidden = pick(scope, hidden)
        hidden = self._project(scope, stage, f"into.{block.hidden}", hidden)
        for place in range(len(block.operations)):
            rows = pick if looking and place == looking[-1] else all_rows
            hidden = self._operation(scope, stage, block, place, hidden, rows)
        states = self._project(scope, stage, f"out.{block.hidden}", hidden)
        return answer(scope, self.weights, self.head, self.recipe, states, INPUTS[1], self.norm)

    def _project(self, scope: Scope, stage: int, which: str, hidden: str) -> str:
        """Append a projection of a stage, if the stage has it."""
        name = f"stages.{stage}.{which}"
        if f"{name}.weight" not in self.weights:
            return hidden
        matrix, bias = self.weights[f"{name}.weight"].T, self.weights[f"{name}.bias"]
        return self.recipes[stage].linear(scope, hidden, name, matrix, bias)

    def _operation(self, scope: Scope, stage: int, block: Block, place: int, hidden: str, rows: Rows) -> str:
        operation = block.operations[place]
        name = f"stages.{stage}.cells.{cell_name(block.hidden, place, operation)}"
        recipe = self.recipes[stage]
        if operation in KERNELS:
            return self._convolution(scope, recipe, name, KERNELS[operation], hidden, rows)
        if operation == "attention":
            segments, bias = [self._heads(name, block.hidden)], self.weights[f"{name}.output.bias"]
            terms = recipe.attention(scope, hidden, View(self.mask), segments, bias, f"{name}.bias", rows)
        else:
            bias = self.weights[f"{name}.out.bias"]
            terms = recipe.ffn(scope, hidden, [self._neurons(name)], bias, f"{name}.bias")
        summed = recipe.add(scope, [*terms, rows(scope, hidden)])
        return self.norm(scope, summed, f"{name}.norm", self._norm_of(name))

    def _heads(self, name: str, hidden: int) -> HeadSegment:
        parts = ("query", "key", "value")
        heads = hidden // self.space.shape.head_size
        return HeadSegment(
            name,
            heads,
            heads,
            np.concatenate([self.weights[f"{name}.{part}.weight"].T for part in parts], axis=1),
            np.concatenate([self.weights[f"{name}.{part}.bias"] for part in parts]),
            self.weights[f"{name}.output.weight"].T,
        )

    def _neurons(self, name: str) -> NeuronSegment:
        into, bias, out = (self.weights[f"{name}.{part}"] for part in ("into.weight", "into.bias", "out.weight"))
        return NeuronSegment(name, len(bias), into.T, bias, out.T)

    def _norm_of(self, name: str) -> tuple[Array, Array]:
        return self.weights[f"{name}.norm.weight"], self.weights[f"{name}.norm.bias"]

    def _convolution(self, scope: Scope, recipe: Recipe, name: str, kernel: int, hidden: str, rows: Rows) -> str:
        """Append the rounds of a separable convolution; for the first token alone, over the tokens that it sees."""
        real = self.real
        if rows is not all_rows:
            constant = self.builder.constant
            seen = [constant("from_first", [0]), constant(f"seen{kernel}", [1 + ROUNDS * (kernel // 2)])]
            hidden, real = (scope.value("Slice", [one, *seen, constant("token_axis", [1])]) for one in (hidden, real))
        for number in range(ROUNDS):
            hidden = self._round(scope, recipe, f"{name}.rounds.{number}", kernel, hidden, real)
        return rows(scope, hidden)

    def _round(self, scope: Scope, recipe: Recipe, name: str, kernel: int, hidden: str, real: str) -> str:
        filters = self.builder.weight(f"{name}.depthwise", self.weights[f"{name}.depthwise.weight"][:, :, 0])
        bias = self.builder.weight(f"{name}.depthwise_bias", self.weights[f"{name}.depthwise.bias"])
        channels = scope.value("Transpose", [scope.value("Mul", [hidden, real])], perm=[0, 2, 1])
        pads = [kernel // 2, kernel // 2]
        filtered = scope.value(
            "Conv", [channels, filters, bias], group=len(self.weights[f"{name}.depthwise.bias"]), pads=pads
        )
        tokens = scope.value("Transpose", [filtered], perm=[0, 2, 1])
        matrix, shift = self.weights[f"{name}.pointwise.weight"].T, self.weights[f"{name}.pointwise.bias"]
        product = recipe.linear(scope, tokens, f"{name}.pointwise", matrix, shift)
        summed = recipe.add(scope, [recipe.activate(scope, "gelu", product), hidden])
        return self.norm(scope, summed, f"{name}.norm", self._norm_of(name))
