"""Elastic graph of a net of convolutions: a branch for each subnet, over weights that all of them share.

1. The channels of a group are cut where a subnet cuts them. A value of a group is a list of segments: a dense
   convolution makes each by itself, and one that reads them adds up its products. Weights of a pair of segments are
   stored once, in the root graph, scaled by the norm behind them as the largest subnet has it.
2. A norm has statistics of its own in each subnet. So each has its shifts, and where they differ, its scales in
   relation to those of the largest: depthwise filters are stored for each subnet, in the size that it keeps of them;
   other products are scaled behind.
3. Each subnet is the branch of an `If`, which `choice` selects. No option at all gives NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from gearshift.errors import ExportError
from gearshift.export.graph.builder import GraphBuilder, Scope
from gearshift.export.graph.layouts import LAYOUTS, Layout
from gearshift.export.graph.plain_order import instance_norm_node, pad_node, transposed_node, widened
from gearshift.export.graph.segments import Array
from gearshift.runtime.bundle.manifest import CHOICE, PIXELS
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.space.convolutions import ConvolutionSubnet
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.generator_steps import INSTANCE_NORM, PADS, TRANSPOSED
from gearshift.trainer.vision.groups import is_dense, is_depthwise
from gearshift.trainer.vision.net import ACTIVATIONS, INPUT, POOLS, Net, Step

IDEMPOTENT = ("relu", "relu6")
"""Activations that change nothing the second time."""


def write_convolutional_graph(
    path: Path, model: ConvolutionalNet, subnets: Sequence[ConvolutionSubnet], operators: str = "fast"
) -> None:
    """Write the graph of these subnets, chosen by their places, and its weights file beside it.

    Inputs: `pixels`, float32 (batch, 3, height, width), and `choice`, int64 (1,). Output: logits (batch, labels), or
    images as wide and high as those that it reads.
    Raises ExportError for a net that the operators do not express.
    """
    first = [step.place for step in _image_readers(model.net) if not is_dense(step)]
    if first and operators == "fast":
        raise ExportError(
            f"{first[0]}: fast operators begin with a convolution of the image; export with standard ones"
        )
    grouped = [
        step.place
        for step in model.net.steps
        if step.kind == "convolution" and step.sizes["groups"] > 1 and not is_depthwise(step)
    ]
    if grouped and operators == "fast":
        raise ExportError(f"{grouped[0]}: convolutions in groups have no fast operators; export with standard ones")
    builder = GraphBuilder()
    net = model.net
    pixels = builder.input(PIXELS, ("batch", net.channels, net.height, net.width), TensorProto.FLOAT)
    choice = builder.input(CHOICE, (1,))
    layout = LAYOUTS[operators](builder)
    parts = _Weights(model, subnets)
    entered = layout.enter(builder.root, pixels)
    if len(subnets) == 1:
        answered = _Branch(builder.root, layout, model, parts, 0).answer(entered)
    else:
        axes = 4 if net.makes_images else 2
        answered = builder.weight("no_option", np.full((1,) * axes, np.nan, np.float32))
        chosen = builder.root.value("Gather", [choice, builder.constant("stage0", 0)])
        for option in range(len(subnets)):
            then = Scope(builder)
            result = _Branch(then, layout, model, parts, option).answer(entered)
            condition = builder.root.value("Equal", [chosen, builder.constant(f"option{option}", option)])
            answered = builder.switch(condition, then, result, answered)
    places = net.places[net.steps[-1].name]
    builder.output(answered, TASKS[model.head.task].output, ("batch", *places))
    builder.save(path)


def _image_readers(net: Net) -> list[Step]:
    """Return the steps that read the images, or read what only pads made of them."""
    readers: list[Step] = []
    todo = [INPUT]
    while todo:
        for step in net.consumers[todo.pop()]:
            if step.kind in PADS:
                todo.append(step.name)
            else:
                readers.append(step)
    return readers


class _Weights:
    """Arrays of a net, as its subnets share them."""

    def __init__(self, model: ConvolutionalNet, subnets: Sequence[ConvolutionSubnet]) -> None:
        self.model, self.subnets = model, subnets
        counts = [
            sorted({subnet.layers[group][0] for subnet in subnets} - {0}) for group in range(len(model.shape.groups))
        ]
        self.cuts = counts
        """Ends of the segments of each group."""
        self.largest = max(subnets, key=lambda subnet: subnet.size(model.shape))
        """Subnet whose norms scale the weights that all share."""

    def segments(self, subnet: ConvolutionSubnet, group: int, channels: int) -> list[slice]:
        """Return the segments of a group that a subnet keeps; one of all channels for the trunk."""
        if group < 0:
            return [slice(0, channels)]
        ends = [end for end in self.cuts[group] if end <= subnet.layers[group][0]]
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def array(self, step: Step, part: str) -> Array | None:
        """Return the weight or the bias of a step; None if it has none."""
        tensor = getattr(self.model.layers[step.name], part)
        return None if tensor is None else tensor.detach().cpu().numpy()

    def norm(self, step: Step, subnet: ConvolutionSubnet) -> tuple[Array, Array]:
        """Return the scales and shifts of a norm in a subnet: those of its statistics, for the channels it keeps."""
        layer: Any = self.model.layers[step.name]
        mean, variance = (tensor.double().cpu().numpy() for tensor in self.model.moments(subnet)[step.name])
        weight, bias = (tensor.detach().double().cpu().numpy()[: len(mean)] for tensor in (layer.weight, layer.bias))
        scale = weight / np.sqrt(variance + layer.eps)
        return scale, bias - mean * scale


@dataclass
class _Tail:
    """Steps that are computed with the convolution before them."""

    name: str
    """Name of the value that the last of them gives."""
    norm: Step | None = None
    added: str = ""
    """Value that is added; "" for none."""
    activation: str = ""


class _Branch:
    """Nodes of one subnet."""

    def __init__(self, scope: Scope, layout: Layout, model: ConvolutionalNet, weights: _Weights, option: int) -> None:
        self.scope, self.layout, self.model, self.weights, self.option = scope, layout, model, weights, option
        self.subnet = weights.subnets[option]
        self.values: dict[str, list[str]] = {}
        """Segments of each value."""
        self.joined: set[str] = set()
        """Steps that were computed with a convolution before them."""
        self.activated: dict[str, str] = {}
        """Value -> activation that made it."""

    def answer(self, pixels: str) -> str:
        """Append all steps that the subnet runs; return the logits."""
        self.values[INPUT] = [pixels]
        elastic, net = self.model.elastic, self.model.net
        skipped = self.model.shape.skipped(self.subnet.layers)
        ends = {elastic.blocks[number].sum: elastic.blocks[number].kept for number in skipped}
        for step in net.steps:
            if step.name in ends:
                self._alias(step.name, ends[step.name])
            elif elastic.block_of.get(step.name, -1) not in skipped and step.name not in self.joined:
                self._step(step)
        (answer,) = self.values[net.steps[-1].name]
        return self.layout.answered(self.scope, answer, net.labels) if net.makes_images else answer

    def _alias(self, name: str, other: str) -> None:
        self.values[name] = self.values[other]
        if other in self.activated:
            self.activated[name] = self.activated[other]

    def _step(self, step: Step) -> None:
        scope, layout = self.scope, self.layout
        given = [self.values[name] for name in step.inputs]
        if step.kind == "convolution":
            self._convolution(step, given[0])
        elif step.kind == "linear":
            self.values[step.name] = [self._linear(step, given[0])]
        elif step.kind == "norm":
            self._norm(step, given[0])
        elif step.kind == "dropout" or (step.kind in IDEMPOTENT and self.activated.get(step.inputs[0]) == step.kind):
            self._alias(step.name, step.inputs[0])
        elif step.kind in ACTIVATIONS:
            self.values[step.name] = [layout.activated(scope, value, step.kind) for value in given[0]]
            self.activated[step.name] = step.kind
        elif step.kind in (*POOLS, "global_pool"):
            self.values[step.name] = [layout.pooled(scope, value, step) for value in given[0]]
        elif step.kind in PADS:
            self.values[step.name] = [self._padded(step, *each) for each in self._plain(step, given[0])]
        elif step.kind == INSTANCE_NORM:
            self.values[step.name] = [self._instance_norm(step, *each) for each in self._plain(step, given[0])]
        elif step.kind == TRANSPOSED:
            self._transposed(step, given[0])
        elif step.kind == "flatten":
            self.values[step.name] = [scope.value("Flatten", [value], axis=1) for value in given[0]]
        elif step.kind == "add":
            self.values[step.name] = [layout.summed(scope, pair) for pair in zip(*given, strict=True)]
        else:
            self._multiply(step, given)

    def _multiply(self, step: Step, given: Sequence[list[str]]) -> None:
        places = [self.model.net.places[name] for name in step.inputs]
        if places[0] == places[1]:
            self.values[step.name] = [self.layout.summed(self.scope, pair, "Mul") for pair in zip(*given, strict=True)]
            return
        values, gates = given if places[0] == max(places) else given[::-1]
        sizes = self._segments(step)
        self.values[step.name] = [
            self.layout.gated(self.scope, value, gate, (size.stop - size.start,))
            for value, gate, size in zip(values, gates, sizes, strict=True)
        ]

    def _segments(self, step: Step) -> list[slice]:
        channels = self.model.net.places[step.name][0]
        return self.weights.segments(self.subnet, self.model.elastic.target(step), channels)

    def _tail(self, step: Step) -> _Tail:
        """Return what follows a convolution, is read by nothing else, and can be computed with it."""
        tail = _Tail(step.name)
        follower = self._follower(tail)
        if follower is not None and follower.kind == "norm":
            tail.norm = follower
            follower = self._joined(tail, follower)
        if follower is not None and follower.kind == "add":
            other = follower.inputs[1 - follower.inputs.index(tail.name)]
            if other != tail.name and other in self.values:
                tail.added = other
                follower = self._joined(tail, follower)
        if follower is not None and follower.kind in ACTIVATIONS:
            tail.activation = follower.kind
            self._joined(tail, follower)
        return tail

    def _joined(self, tail: _Tail, step: Step) -> Step | None:
        """Take a step into a tail; return the one behind it."""
        self.joined.add(step.name)
        tail.name = step.name
        return self._follower(tail)

    def _follower(self, tail: _Tail) -> Step | None:
        """Return the only step that reads a value; None if there are others, or none."""
        readers = self.model.net.consumers[tail.name]
        return readers[0] if len(readers) == 1 else None

    def _convolution(self, step: Step, given: list[str]) -> None:
        """Append a convolution with its tail, segment by segment of its outputs."""
        tail = self._tail(step)
        norm, added, activation = tail.norm, tail.added, tail.activation
        bias, outputs = self.weights.array(step, "bias"), self._segments(step)
        step, filters = self.model.filters(step, self.subnet)
        weight = filters.detach().cpu().numpy()
        shift = np.zeros(len(weight)) if bias is None else bias.astype(np.float64)
        ratio = None
        if norm is not None:
            full, _ = self.weights.norm(norm, self.weights.largest)
            scale, shifts = self.weights.norm(norm, self.subnet)
            shift = shift[: len(scale)] * scale + shifts
            weight = weight[: len(full)] * full.astype(np.float32)[:, None, None, None]
            ratio = None if np.array_equal(scale, full[: len(scale)]) else scale / full[: len(scale)]
        made = []
        for place, rows in enumerate(outputs):
            others = [self.values[added][place]] if added else []
            of_segment = None if ratio is None else ratio[rows].astype(np.float32)
            has_bias = norm is not None or bias is not None
            shifted = shift[rows].astype(np.float32) if has_bias else None
            if is_depthwise(step):
                made.append(
                    self._filtered(step, given[place], weight[rows], rows, of_segment, shifted, others, activation)
                )
            else:
                made.append(self._mixed(step, given, weight[rows], rows, of_segment, shifted, others, activation))
        self.values[tail.name] = made
        if activation:
            self.activated[tail.name] = activation

    def _own(self, step: Step, part: str, rows: slice) -> str:
        """Return the name of an array of this subnet alone."""
        return f"{step.name}.{part}.{rows.start}.of{self.option}"

    def _filtered(
        self,
        step: Step,
        value: str,
        weight: Array,
        rows: slice,
        ratio: Array | None,
        shift: Array | None,
        added: list[str],
        activation: str,
    ) -> str:
        """Append a segment of a depthwise convolution; its filters are few, and scaled for each subnet."""
        bias = None if shift is None else (self._own(step, "shift", rows), shift)
        name = f"{step.name}.{rows.start}.k{weight.shape[-1]}"
        if ratio is not None:
            weight, name = weight * ratio[:, None, None, None], self._own(step, "filters", rows)
        return self.layout.convolved(self.scope, value, step, (name, weight), bias, added, activation)

    def _mixed(
        self,
        step: Step,
        given: list[str],
        weight: Array,
        rows: slice,
        ratio: Array | None,
        shift: Array | None,
        added: list[str],
        activation: str,
    ) -> str:
        """Append a segment of a dense convolution: the sum over the segments of its inputs."""
        source = self.model.elastic.source(step)
        inputs = self.weights.segments(self.subnet, source, weight.shape[1])
        bias = None if shift is None else (self._own(step, "shift", rows), shift)
        running = list(added) if ratio is None else []
        value = ""
        for place, columns in enumerate(inputs):
            last = place == len(inputs) - 1 and ratio is None
            name = f"{step.name}.{rows.start}.{columns.start}"
            part = (name, np.ascontiguousarray(weight[:, columns]))
            value = self.layout.convolved(
                self.scope, given[place], step, part, bias if last else None, running, activation if last else ""
            )
            running = [value]
        if ratio is None:
            return value
        assert bias is not None
        scale = (self._own(step, "scale", rows), ratio)
        return self.layout.scaled(self.scope, value, scale, bias, added, activation)

    def _plain(self, step: Step, given: list[str]) -> list[tuple[str, slice]]:
        """Append the segments of a step's input in plain order; return each with its channels."""
        name = step.inputs[0]
        channels, group = self.model.net.places[name][0], self.model.elastic.source(step)
        rows = self.weights.segments(self.subnet, group, channels)
        wide = [self.layout.channels(each.stop - each.start) for each in rows]
        return [
            (self.layout.plain(self.scope, value, count), each)
            for value, count, each in zip(given, wide, rows, strict=True)
        ]

    def _padded(self, step: Step, value: str, rows: slice) -> str:
        return self.layout.in_plain_order(pad_node(self.scope, self.layout.builder, step, value), of=value)

    def _instance_norm(self, step: Step, value: str, rows: slice) -> str:
        """Append a segment of an instance norm, whose scales and shifts are zero for channels that pad it."""
        count, wide = rows.stop - rows.start, self.layout.channels(rows.stop - rows.start)
        weight, bias = self.weights.array(step, "weight"), self.weights.array(step, "bias")
        scale = np.ones(count, np.float32) if weight is None else weight[rows]
        shift = np.zeros(count, np.float32) if bias is None else bias[rows]
        own = [
            (self._own(step, part, rows), widened(array, (wide,)))
            for part, array in (("scale", scale), ("shift", shift))
        ]
        return self.layout.in_plain_order(instance_norm_node(self.scope, step, value, *own))

    def _transposed(self, step: Step, given: list[str]) -> None:
        """Append a transposed convolution, segment by segment of its outputs."""
        weight, bias = self.weights.array(step, "weight"), self.weights.array(step, "bias")
        assert weight is not None
        inputs = self._plain(step, given)
        made = []
        for rows in self._segments(step):
            wide = self.layout.channels(rows.stop - rows.start)
            parts = [
                (
                    f"{step.name}.{rows.start}.{columns.start}",
                    widened(weight[columns, rows], (self.layout.channels(columns.stop - columns.start), wide)),
                )
                for _, columns in inputs
            ]
            own = None if bias is None else (self._own(step, "shift", rows), widened(bias[rows], (wide,)))
            values = [value for value, _ in inputs]
            node = transposed_node(self.scope, self.layout.builder, step, values, parts, own)
            made.append(self.layout.in_plain_order(node))
        self.values[step.name] = made

    def _norm(self, step: Step, given: list[str]) -> None:
        """Append a norm that follows no convolution."""
        scale, shift = (each.astype(np.float32) for each in self.weights.norm(step, self.subnet))
        self.values[step.name] = [
            self.layout.scaled(
                self.scope,
                value,
                (self._own(step, "scale", rows), scale[rows]),
                (self._own(step, "shift", rows), shift[rows]),
                [],
                "",
            )
            for value, rows in zip(given, self._segments(step), strict=True)
        ]

    def _linear(self, step: Step, given: list[str]) -> str:
        """Append a linear layer: the sum over the segments of its inputs, whose padding has no weight."""
        weight, bias = self.weights.array(step, "weight"), self.weights.array(step, "bias")
        assert weight is not None
        builder, total = self.layout.builder, ""
        columns = self.weights.segments(self.subnet, self.model.elastic.source(step), weight.shape[1])
        for place, part in enumerate(columns):
            own = weight[:, part]
            width = self._flat_width(step, own.shape[1])
            stored = builder.weight(f"{step.name}.{part.start}", np.pad(own, [(0, 0), (0, width - own.shape[1])]))
            before = [total] if total else ([] if bias is None else [builder.weight(f"{step.name}.bias", bias)])
            total = self.scope.value("Gemm", [given[place], stored, *before], transB=1)
        return total

    def _flat_width(self, step: Step, channels: int) -> int:
        """Return the numbers of a linear layer's input, with the padding of the channels that it comes from."""
        name = step.inputs[0]
        while len(self.model.net.places[name]) == 1 and self.model.net.by_name[name].kind != "linear":
            name = self.model.net.by_name[name].inputs[0]
        return channels if len(self.model.net.places[name]) == 1 else self.layout.channels(channels)
