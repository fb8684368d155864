"""Layouts of the values of a net of convolutions, and the operators that each has.

`Plain`: ONNX's own operators on (batch, channels, height, width), for any engine.

`Blocked`: ONNX Runtime's convolutions on blocks of 8 or 16 channels (domain com.microsoft.nchwc), which take half the
time on CPUs. With its optimisation on, the library makes them itself, but only of weights in the same graph, never of
weights of the root in a branch, and it converts values at both ends of every branch. How many channels a block has is
known on the device alone. So weights are stored plain, and nodes of the root bring them into blocks; the library folds
these into constants when it loads the graph (optimisation `basic`). They read the number from BLOCK, which a session
sets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gearshift.export.graph.builder import GraphBuilder, Scope
from gearshift.export.graph.plain_order import Orders
from gearshift.export.graph.segments import Array
from gearshift.runtime.graph.image_operators import BLOCK, NCHWC, WIDEST_BLOCK
from gearshift.trainer.vision.net import Step, pair

FUSED: Mapping[str, tuple[str, list[float]]] = {
    "relu": ("Relu", []),
    "relu6": ("Clip", [0.0, 6.0]),
    "sigmoid": ("Sigmoid", []),
    "hardsigmoid": ("HardSigmoid", [1 / 6, 0.5]),
}
"""Kind of step -> activation that a blocked convolution applies to its result, with its parameters."""


class Layout(ABC):
    """Operators on values of a net."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder

    @abstractmethod
    def channels(self, count: int) -> int:
        """Return the channels that a value of so many has, with those that pad it."""

    @abstractmethod
    def enter(self, scope: Scope, pixels: str) -> str:
        """Append the conversion of the images that are given; the first convolution reads the result."""

    @abstractmethod
    def convolved(
        self,
        scope: Scope,
        value: str,
        step: Step,
        weight: tuple[str, Array],
        bias: tuple[str, Array] | None,
        added: Sequence[str],
        activation: str,
    ) -> str:
        """Append a convolution with the sizes of a step, the sum with other values, and an activation ("": none).

        `weight`: name and array (outputs, inputs / groups, height, width). `bias`: name and array (outputs,).
        """

    @abstractmethod
    def scaled(
        self,
        scope: Scope,
        value: str,
        scale: tuple[str, Array],
        shift: tuple[str, Array],
        added: Sequence[str],
        activation: str,
    ) -> str:
        """Append value x scale + shift, channel by channel, the sum with others, and an activation."""

    @abstractmethod
    def pooled(self, scope: Scope, value: str, step: Step) -> str:
        """Append a pool."""

    def plain(self, scope: Scope, value: str, channels: int) -> str:
        """Append the conversion into plain order of a value that has so many channels, those that pad it left out."""
        return value

    def in_plain_order(self, value: str, of: str = "") -> str:
        """Record that a value is in plain order, or in that `of` another; return it."""
        return value

    def answered(self, scope: Scope, value: str, channels: int) -> str:
        """Append the conversion of the images of an answer, without channels that pad them."""
        return value

    def gated(self, scope: Scope, value: str, gate: str, shape: Sequence[int]) -> str:
        """Append the product of a value with a gate for each channel, (batch, channels, 1, 1)."""
        return scope.value("Mul", [value, gate])

    def activated(self, scope: Scope, value: str, kind: str) -> str:
        """Append an activation, number by number; "" for none."""
        match kind:
            case "":
                return value
            case "relu":
                return scope.value("Relu", [value])
            case "relu6":
                limits = [self.builder.weight(f"clip{limit}", np.array(limit, np.float32)) for limit in (0, 6)]
                return scope.value("Clip", [value, *limits])
            case "sigmoid" | "tanh":
                return scope.value(kind.capitalize(), [value])
            case "hardsigmoid":
                return scope.value("HardSigmoid", [value], alpha=1 / 6, beta=0.5)
            case "silu":
                return scope.value("Mul", [value, self.activated(scope, value, "sigmoid")])
            case "hardswish":
                return scope.value("Mul", [value, self.activated(scope, value, "hardsigmoid")])
        raise AssertionError(f"no activation {kind}")

    def together(self, scope: Scope, values: Sequence[str]) -> list[str]:
        """Append conversions of values of the same shape into one order."""
        return list(values)

    def summed(self, scope: Scope, values: Sequence[str], operator: str = "Add") -> str:
        """Append the sum, or with another operator the product, of values of the same shape."""
        total, *others = self.together(scope, values)
        for value in others:
            total = self.in_plain_order(scope.value(operator, [total, value]), of=total)
        return total


class Plain(Layout):
    """ONNX's own operators."""

    def channels(self, count: int) -> int:
        """Return the count: nothing is padded."""
        return count

    def enter(self, scope: Scope, pixels: str) -> str:
        """Return the images as they are."""
        return pixels

    def convolved(
        self,
        scope: Scope,
        value: str,
        step: Step,
        weight: tuple[str, Array],
        bias: tuple[str, Array] | None,
        added: Sequence[str],
        activation: str,
    ) -> str:
        """Append a convolution, as in `Layout`."""
        array = weight[1]
        given = [value, self.builder.weight(*weight), *([] if bias is None else [scope.tensor(*bias)])]
        made = scope.value("Conv", given, **window(step), group=_groups(step, array))
        return self.activated(scope, self.summed(scope, [made, *added]), activation)

    def scaled(
        self,
        scope: Scope,
        value: str,
        scale: tuple[str, Array],
        shift: tuple[str, Array],
        added: Sequence[str],
        activation: str,
    ) -> str:
        """Append a scale and a shift, as in `Layout`."""
        parts = [scope.tensor(name, array[:, None, None]) for name, array in (scale, shift)]
        made = scope.value("Add", [scope.value("Mul", [value, parts[0]]), parts[1]])
        return self.activated(scope, self.summed(scope, [made, *added]), activation)

    def pooled(self, scope: Scope, value: str, step: Step) -> str:
        """Append a pool."""
        operator, inputs, sizes = _pool(step, value)
        return scope.value(operator, inputs, **sizes)


class Blocked(Layout):
    """ONNX Runtime's operators on blocks of channels."""

    def __init__(self, builder: GraphBuilder) -> None:
        super().__init__(builder)
        self._orders = Orders()

    def channels(self, count: int) -> int:
        """Return whole blocks of the widest kind, which are whole blocks of every kind."""
        return -(-count // WIDEST_BLOCK) * WIDEST_BLOCK

    def enter(self, scope: Scope, pixels: str) -> str:
        """Return the images as they are: the first convolution reads them, and writes blocks."""
        self._orders.images.add(pixels)
        return pixels

    def plain(self, scope: Scope, value: str, channels: int) -> str:
        """Append the conversion of a value in blocks."""
        return self._orders.in_plain(scope, value, channels)

    def answered(self, scope: Scope, value: str, channels: int) -> str:
        """Append the conversion of the images of an answer."""
        return self._orders.in_plain(scope, self._orders.in_blocks(scope, value), channels)

    def in_plain_order(self, value: str, of: str = "") -> str:
        """Record the order of a value."""
        if of:
            return self._orders.as_of(of, value)
        self._orders.plain.add(value)
        return value

    def activated(self, scope: Scope, value: str, kind: str) -> str:
        """Append an activation in the order that the value has."""
        return self._orders.as_of(value, super().activated(scope, value, kind))

    def together(self, scope: Scope, values: Sequence[str]) -> list[str]:
        """Append conversions into blocks, unless all values are in plain order."""
        if all(value in self._orders.plain for value in values):
            return list(values)
        return [self._orders.in_blocks(scope, value) for value in values]

    def convolved(
        self,
        scope: Scope,
        value: str,
        step: Step,
        weight: tuple[str, Array],
        bias: tuple[str, Array] | None,
        added: Sequence[str],
        activation: str,
    ) -> str:
        """Append a convolution, as in `Layout`: one value is added by itself, the first of others before it."""
        filters = self._filters(*weight, inner=value not in self._orders.images and _groups(step, weight[1]) == 1)
        group = self.channels(weight[1].shape[0]) if _groups(step, weight[1]) > 1 else 1
        return self._append(scope, value, filters, bias, added, activation, {**window(step), "group": group})

    def scaled(
        self,
        scope: Scope,
        value: str,
        scale: tuple[str, Array],
        shift: tuple[str, Array],
        added: Sequence[str],
        activation: str,
    ) -> str:
        """Append a scale and a shift as a filter of one place for each channel."""
        count = self.channels(len(scale[1]))
        # Filters of one place have the same order in blocks.
        filters = scope.tensor(scale[0], _padded(scale[1], (count,))[:, None, None, None])
        sizes = {"kernel_shape": [1, 1], "group": count}
        return self._append(scope, value, filters, shift, added, activation, sizes)

    def _append(
        self,
        scope: Scope,
        value: str,
        filters: str,
        bias: tuple[str, Array] | None,
        added: Sequence[str],
        activation: str,
        sizes: Mapping[str, Any],
    ) -> str:
        others = [self._orders.in_blocks(scope, self.summed(scope, added))] if added else []
        value = self._orders.in_blocks(scope, value)
        given = "" if bias is None else scope.tensor(bias[0], _padded(bias[1], (self.channels(len(bias[1])),)))
        inputs = [value, filters, *([given, *others] if others or given else [])]
        name, parameters = FUSED.get(activation, ("", []))
        fused: dict[str, Any] = {"activation": name} if name else {}
        if parameters:
            fused["activation_params"] = parameters
        made = scope.value("Conv", inputs, domain=NCHWC, **sizes, **fused)
        return made if name else self.activated(scope, made, activation)

    def pooled(self, scope: Scope, value: str, step: Step) -> str:
        """Append a pool."""
        operator, inputs, sizes = _pool(step, self._orders.in_blocks(scope, value))
        return scope.value(operator, inputs, domain=NCHWC, **sizes)

    def gated(self, scope: Scope, value: str, gate: str, shape: Sequence[int]) -> str:
        """Append the product with a gate: in plain order, since a block's numbers do not lie beside one another."""
        plain = self.plain(scope, value, self.channels(shape[0]))
        return scope.value("ReorderInput", [scope.value("Mul", [plain, gate])], domain=NCHWC)

    def _filters(self, name: str, array: Array, *, inner: bool) -> str:
        """Store filters (outputs, inputs, height, width), padded to whole blocks, and bring them into blocks: those of
        the outputs come last, and if `inner`, those of the inputs before them; an image's colours stay as they are."""
        outputs, inputs, *taps = array.shape
        padded = _padded(array, (self.channels(outputs), self.channels(inputs) if inner else inputs, *taps))
        stored, made = self.builder.weight(name, padded), f"{name}.blocked"
        if self.builder.has_value(made):
            return made
        builder, root = self.builder, self.builder.root
        block = builder.external(BLOCK, np.array([WIDEST_BLOCK], np.int64))
        sizes = [size for size in (padded.shape[0], padded.shape[1] if inner else 0) if size]
        shape = []
        for size in sizes:
            shape += [root.value("Div", [builder.constant(f"channels{size}", [size]), block]), block]
        rest = list(taps) if inner else [inputs, *taps]
        shape.append(builder.constant(f"taps{'x'.join(map(str, rest))}", rest))
        split = root.value("Reshape", [stored, root.value("Concat", shape, axis=0)])
        order = [0, 2, 4, 5, 3, 1] if inner else [0, *range(2, 2 + len(rest)), 1]
        turned = root.value("Transpose", [split], perm=order)
        whole = builder.constant(f"filters{'x'.join(map(str, padded.shape))}", list(padded.shape))
        return root.named("Reshape", [turned, whole], made)


LAYOUTS: Mapping[str, type[Layout]] = {"fast": Blocked, "standard": Plain}
"""Kind of operators, as `gearshift export --operators` names them -> layout."""


def window(step: Step) -> dict[str, Any]:
    """Return the attributes of a step's window: ONNX's names for torch's sizes."""
    height, width = pair(step.sizes["padding"])
    sizes = {
        "kernel_shape": list(pair(step.sizes["kernel_size"])),
        "strides": list(pair(step.sizes["stride"])),
        "pads": [height, width, height, width],
    }
    dilation = list(pair(step.sizes.get("dilation", 1)))
    return sizes if dilation == [1, 1] else {**sizes, "dilations": dilation}


def _pool(step: Step, value: str) -> tuple[str, list[str], dict[str, Any]]:
    if step.kind == "global_pool":
        return "GlobalAveragePool", [value], {}
    if step.kind == "max_pool":
        return "MaxPool", [value], window(step)
    return "AveragePool", [value], {**window(step), "count_include_pad": int(step.sizes["count_include_pad"])}


def _groups(step: Step, array: Array) -> int:
    """Return the groups of a convolution of these filters: of a depthwise one as many as are kept."""
    sizes = step.sizes
    depthwise = sizes["groups"] == sizes["in_channels"] == sizes["out_channels"] > 1
    return array.shape[0] if depthwise else int(sizes["groups"])


def _padded(array: Array, shape: Sequence[int]) -> Array:
    return np.pad(array, [(0, wanted - size) for size, wanted in zip(array.shape, shape, strict=True)])
