"""Graph with switches: the common part of the graphs of all spaces.

1. Every weight is a root initializer, stored once, whichever options use it.
2. Each option of a stage is the `then` branch of an `If` in the root graph; `else` passes the current value on. An
   option that skips needs no branch. The branches of the last stage end in the answer, so that the value passed on
   after them is small; but of several heads they end in the states that all of them read, in the root graph.
3. There is no `If` inside an `If`: ONNX Runtime packs root weights only for consumers at depth 0 or 1.
4. Conditions (`choice[stage] == option`) are computed in the root graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gearshift.export.graph.builder import GraphBuilder, Scope
from gearshift.export.graph.heads import answer, embed, first_row, needs_first_only
from gearshift.export.graph.quantizer import Quantizer
from gearshift.export.graph.recipe import Recipe
from gearshift.export.graph.segments import Norm, Weights
from gearshift.runtime.bundle.manifest import CHOICE, INPUTS
from gearshift.runtime.bundle.task_heads import output_name
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.space.subnet import Shape
from gearshift.trainer.model.elastic import HEADS, Head

Body = Callable[[Scope, int, int, str], str]
"""Function that appends an option to a scope: (scope, stage, option, value) -> result."""


def token_inputs(shape: Shape[Any]) -> tuple[str, ...]:
    """Return the names of a graph's inputs besides `choice`."""
    return tuple(name for name in INPUTS if shape.types or name != "token_type_ids")


class SwitchedGraph(ABC):
    """Graph of a space; subclasses define the options."""

    def __init__(
        self,
        weights: Weights,
        shape: Shape[Any],
        options: Sequence[int],
        recipe: Recipe,
        norm_eps: float,
        head: Head,
        quantizer: Quantizer | None = None,
    ) -> None:
        self.weights = weights
        self.inputs = token_inputs(shape)
        self.options = options
        """Number of options of each stage."""
        self.recipe = recipe
        self.norm_eps = norm_eps
        self.head = head
        self.per_token = bool(head.parts) or TASKS[head.task].per_token
        """Whether the branches of the last stage end in a value for each token."""
        self.builder = GraphBuilder(quantizer)
        self.mask = ""
        """Name of the mask for attention; set when the graph is built."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of the last states."""

    @abstractmethod
    def inner(self, scope: Scope, stage: int, option: int, hidden: str) -> str:
        """Append an option of a stage other than the last; returns states (batch, tokens, width)."""

    @abstractmethod
    def last(self, scope: Scope, stage: int, option: int, hidden: str) -> str:
        """Append an option of the last stage and the head; returns the answer, or the states that several heads
        read."""

    def build(self) -> GraphBuilder:
        """Build the whole graph."""
        builder = self.builder
        input_ids, attention_mask, *token_types = (builder.input(name, ("batch", "tokens")) for name in self.inputs)
        choice = builder.input(CHOICE, (len(self.options),))
        self.take_mask(attention_mask)
        hidden = embed(builder.root, self.weights, self.recipe, input_ids, next(iter(token_types), None), self.norm)
        for stage in range(len(self.options) - 1):
            hidden = self._switch(stage, choice, hidden, self.inner, otherwise=hidden)
        answered = self._switch(len(self.options) - 1, choice, hidden, self.last, otherwise=None)
        if self.head.parts:
            self._append_heads(answered, attention_mask)
            return builder
        task, classes = TASKS[self.head.task], self.weights.get("classifier.bias")
        outputs = self.head.width(self.width) if classes is None else len(classes)
        axes = ("batch", "tokens", outputs) if task.per_token else ("batch", outputs)
        builder.output(answered, task.output, axes)
        return builder

    def _append_heads(self, states: str, mask: str) -> None:
        """Append several heads to the root graph, each with an output, behind the same states (batch, tokens,
        width)."""
        root = self.builder.root
        for place, part in enumerate(self.head.parts):
            task, own = TASKS[part.head.task], f"{HEADS}{place}."
            given = first_row(root, states) if needs_first_only(part.head) else states
            answered = answer(root, self.weights, part.head, self.recipe, given, mask, self.norm, own)
            axes = ("batch", "tokens", part.outputs) if task.per_token else ("batch", part.outputs)
            self.builder.output(answered, output_name(part.head.task, part.name), axes)

    def take_mask(self, attention_mask: str) -> None:
        """Append the masks that follow from the int64 mask (batch, tokens) to the root graph."""
        self.mask = self.recipe.mask(self.builder.root, attention_mask)

    def norm(self, scope: Scope, value: str, name: str, norm: Norm) -> str:
        """Append a layer norm of a value, whose scales and shifts are stored under `name`."""
        parts = [
            self.builder.weight(f"{name}.{part}", array)
            for part, array in zip(("scale", "shift"), norm, strict=True)
            if array is not None
        ]
        return scope.value("LayerNormalization", [value, *parts], axis=-1, epsilon=self.norm_eps)

    def _switch(self, stage: int, choice: str, hidden: str, body: Body, otherwise: str | None) -> str:
        """Append the switch of a stage: the chosen option applied to `hidden`.

        If no branch runs, the result is `otherwise`, or NaN if that is None.
        """
        root = self.builder.root
        if self.options[stage] == 1:  # nothing to switch: the option runs in the root graph
            return body(root, stage, 0, hidden)
        floats = np.float32 if otherwise is None and not self.head.parts else self.recipe.floats
        if otherwise is None:  # an option that does not exist must give nothing that passes for an answer
            ones = (1, 1, 1) if self.per_token else (1, 1)
            otherwise = self.builder.weight("no_option", np.full(ones, np.nan, floats))
        chosen = root.value("Gather", [choice, self.builder.constant(f"stage{stage}", stage)])
        for option in range(self.options[stage]):
            then = Scope(self.builder)
            result = body(then, stage, option, hidden)
            if then.nodes:  # an option that does nothing needs no branch
                condition = root.value("Equal", [chosen, self.builder.constant(f"option{option}", option)])
                otherwise = self.builder.switch(condition, then, result, otherwise, floats)
        return otherwise


def all_rows(scope: Scope, value: str) -> str:
    """Return the value unchanged: all tokens are needed."""
    return value
