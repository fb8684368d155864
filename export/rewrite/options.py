"""Remove options from the stages of an elastic graph, and everything that only they used.

Works on the graph as `graph.elastic` writes it: a stage is a `Gather` of `choice` at a constant place, an option an
`Equal` of its result with a constant, and its branch the `then` of an `If` whose `else` passes another value on.
No weight is computed anew, so the remaining graph gives the very same numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from gearshift.runtime.bundle.manifest import CHOICE


def keep_options(model: onnx.ModelProto, kept: Sequence[Collection[int]]) -> onnx.ModelProto:
    """Return the graph with only these options of each stage, renumbered from 0 in the same order.

    A stage with one remaining option is no longer a switch: its branch runs in the root graph.
    """
    pruning = _Pruning(model.graph, [sorted(options) for options in kept])
    pruning.walk()
    return with_nodes(model, pruning.nodes, pruning.constants)


def with_nodes(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], weights: Sequence[TensorProto] = ()
) -> onnx.ModelProto:
    """Return the model with these root nodes, without the nodes and weights that its outputs do not need.

    `weights`: further initializers; they replace those of the same name.
    """
    alive, needed = live(nodes, {output.name for output in model.graph.output})
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    given = {tensor.name: tensor for tensor in weights}
    known = {tensor.name for tensor in model.graph.initializer}
    tensors = [given.get(tensor.name, tensor) for tensor in model.graph.initializer]
    tensors += [tensor for name, tensor in given.items() if name not in known]
    del changed.graph.node[:], changed.graph.initializer[:]
    changed.graph.node.extend(alive)
    changed.graph.initializer.extend(tensor for tensor in tensors if tensor.name in needed)
    return changed


def live(nodes: Sequence[onnx.NodeProto], outputs: Collection[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """Return the nodes that these outputs need, in order, and the names of all values read by them and their
    branches."""
    needed = set(outputs)
    alive = []
    for node in reversed(nodes):
        if needed & set(node.output):
            alive.append(node)
            needed |= set(values_read(node))
    return alive[::-1], needed


def values_read(node: onnx.NodeProto) -> Iterator[str]:
    """Give the names of the values that a node reads, including those that its branches read and return."""
    yield from node.input
    for branch in branches(node):
        for inner in branch.node:
            yield from values_read(inner)
        yield from (output.name for output in branch.output)


def branches(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the graphs inside a node: `then` and `else` of an `If`."""
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


@dataclass
class _Pruning:
    graph: onnx.GraphProto
    kept: list[list[int]]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    passed: dict[str, str] = field(default_factory=dict)
    """Value that is no longer computed -> the value that replaces it."""

    def walk(self) -> None:
        """Fill `nodes` and `constants`."""
        numbers = _whole_numbers(self.graph)
        stages: dict[str, int] = {}
        options: dict[str, tuple[int, int]] = {}
        for node in self.graph.node:
            if node.op_type == "Gather" and node.input[0] == CHOICE:
                stages[node.output[0]] = numbers[node.input[1]]
                self.nodes.append(node)
            elif node.op_type == "Equal" and node.input[0] in stages:
                options[node.output[0]] = stages[node.input[0]], numbers[node.input[1]]
                self._condition(node, *options[node.output[0]])
            elif node.op_type == "If" and node.input[0] in options:
                self._switch(node, *options[node.input[0]])
            else:
                self.nodes.append(_renamed(node, self.passed))

    def _condition(self, node: onnx.NodeProto, stage: int, option: int) -> None:
        if option not in self.kept[stage]:
            return
        number = self.kept[stage].index(option)
        name = f"option{number}"  # as the exporter calls it
        self.constants.append(numpy_helper.from_array(np.array(number, np.int64), name))
        self.nodes.append(onnx.helper.make_node("Equal", [node.input[0], name], list(node.output)))

    def _switch(self, node: onnx.NodeProto, stage: int, option: int) -> None:
        then, otherwise = (_branch(node, name) for name in ("then_branch", "else_branch"))
        kept = self.kept[stage]
        if option not in kept:
            (identity,) = otherwise.node
            self._pass(node.output[0], identity.input[0])
        elif len(kept) == 1:
            self.nodes.extend(_renamed(inner, self.passed) for inner in then.node)
            self._pass(node.output[0], then.output[0].name)
        else:
            self.nodes.append(_renamed(node, self.passed))

    def _pass(self, value: str, instead: str) -> None:
        self.passed[value] = self.passed.get(instead, instead)


def _branch(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    return next(attribute.g for attribute in node.attribute if attribute.name == name)


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return the node with some values renamed, in its branches too."""
    if not names.keys() & set(values_read(node)):
        return node
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    changed.input[:] = [names.get(name, name) for name in node.input]
    for branch in branches(changed):
        inner = [_renamed(each, names) for each in branch.node]
        del branch.node[:]
        branch.node.extend(inner)
    return changed


def _whole_numbers(graph: onnx.GraphProto) -> dict[str, int]:
    """Return name -> number of every int64 scalar among the weights."""
    return {
        tensor.name: int(numpy_helper.to_array(tensor))
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.INT64 and not tensor.dims
    }
