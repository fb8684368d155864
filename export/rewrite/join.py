"""Join segments that are no longer told apart: fewer, larger operators for the same sums.

In fp32 the order of summation changes. In int8 each segment had its own scales for the rows of an output matrix; the
joined rows get common scales, so they are rounded once more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import numpy_helper

from gearshift.errors import ExportError
from gearshift.export.graph.segments import Array
from gearshift.export.rewrite.options import branches, live, with_nodes
from gearshift.export.rewrite.weights_file import read_tensor
from gearshift.runtime.graph.segments import LAST, Segment, joined, segment_of


def join_segments(model: onnx.ModelProto, directory: Path) -> onnx.ModelProto:
    """Join neighbouring segments of a graph if every scope uses both or none; weights lie in `directory`.

    Raises ExportError if heads are distinguished by operators other than attention itself.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weights: list[onnx.TensorProto] = []
    firsts: dict[Segment, Segment] = {}
    for group in _groups(model.graph):
        firsts |= dict.fromkeys(group, group[0])
        arrays = [_arrays(tensors, segment, directory) for segment in group]
        for part, array in joined(arrays).items():
            weights.append(numpy_helper.from_array(array, _name(group[0], part)))
    heads = _heads(model.graph, firsts)
    made = _makers(model.graph.node)
    nodes = _without(model.graph.node, firsts, heads, {output.name for output in model.graph.output}, made)
    return with_nodes(model, nodes, weights)


def segments_run(model: onnx.ModelProto, layers: Sequence[tuple[int, int]]) -> int:
    """Return the greatest number of segments that a graph cuts a kept layer of a subnet into; 1 if it cuts none."""
    counts: dict[str, int] = {}
    for run, start in {found[0] for tensor in model.graph.initializer if (found := segment_of(tensor.name))}:
        layer, kind = run.removeprefix("layer").split(".")
        if start < layers[int(layer)][kind == "neurons"]:
            counts[run] = counts.get(run, 0) + 1
    return max(counts.values(), default=1)


def _name(segment: Segment, part: str) -> str:
    return f"{segment[0]}{segment[1]}.{part}"


def _groups(graph: onnx.GraphProto) -> Iterator[list[Segment]]:
    """Give the groups of two or more neighbours that the same scopes use."""
    scopes = {"": [node for node in graph.node if not branches(node)]}
    scopes |= {branch.name: list(branch.node) for node in graph.node for branch in branches(node)}
    users: dict[Segment, set[str]] = {}
    for scope, nodes in scopes.items():
        for name in itertools.chain.from_iterable(node.input for node in nodes):
            if found := segment_of(name):
                users.setdefault(found[0], set()).add(scope)
    for _, run in itertools.groupby(sorted(users), key=lambda segment: segment[0]):
        for _, same in itertools.groupby(run, key=lambda segment: users[segment]):
            group = list(same)
            if len(group) > 1:
                yield group


def _arrays(tensors: Mapping[str, onnx.TensorProto], segment: Segment, directory: Path) -> dict[str, Array]:
    """Return part -> array of one segment."""
    return {
        found[1]: read_tensor(tensor, directory)
        for name, tensor in tensors.items()
        if (found := segment_of(name)) and found[0] == segment
    }


def _heads(graph: onnx.GraphProto, firsts: Mapping[Segment, Segment]) -> dict[Segment, int]:
    """Return first segment of a group -> heads of all its segments."""
    heads: dict[Segment, int] = {}
    made = _makers(graph.node)
    for node in _all_nodes(graph.node):
        for attribute in node.attribute:
            segment = _segment_of(node, made) if attribute.name == "num_heads" else None
            if segment is not None and segment in firsts:
                heads[segment] = attribute.i
    for segment in firsts:
        if segment[0].endswith("heads") and segment not in heads:
            raise ExportError(f"{segment[0]}: expected heads of an attention operator to join, found none")
    totals: dict[Segment, int] = {}
    for segment, count in heads.items():
        totals[firsts[segment]] = totals.get(firsts[segment], 0) + count
    return totals


def _all_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for branch in branches(node):
            yield from _all_nodes(branch.node)


def _makers(nodes: Sequence[onnx.NodeProto]) -> dict[str, onnx.NodeProto]:
    """Return value -> node that makes it, in all scopes."""
    return {name: node for node in _all_nodes(nodes) for name in node.output}


def _segment_of(node: onnx.NodeProto, made: Mapping[str, onnx.NodeProto]) -> Segment | None:
    """Return the segment whose weights a node takes, or that its queries come from."""
    while True:
        segment = next((found[0] for name in node.input if (found := segment_of(name))), None)
        if segment is not None:
            return segment
        if not node.input or node.input[0] not in made:
            return None
        node = made[node.input[0]]


def _without(
    nodes: Sequence[onnx.NodeProto],
    firsts: Mapping[Segment, Segment],
    heads: Mapping[Segment, int],
    outputs: set[str],
    made: Mapping[str, onnx.NodeProto],
) -> list[onnx.NodeProto]:
    """Return the nodes of a scope with one term for each group, that of the first segment, over all the group's
    heads."""
    gone = {
        node.output[0]
        for node in nodes
        for found in map(segment_of, node.input)
        if found and found[1] in LAST and firsts.get(found[0], found[0]) != found[0]
    }
    changed = []
    instead: dict[str, str] = {}  # sum that lost its last term -> sum without it
    for old in nodes:
        node = onnx.NodeProto()
        node.CopyFrom(old)
        if node.op_type in ("Sum", "Add"):
            node.input[:] = [instead.get(name, name) for name in node.input if name not in gone]
            if node.op_type == "Add" and len(node.input) == 1:
                instead[node.output[0]] = node.input[0]
                continue
        for attribute in node.attribute:
            segment = _segment_of(node, made) if attribute.name == "num_heads" else None
            if segment is not None and segment in heads:
                attribute.i = heads[segment]
        for branch in branches(node):
            inner = _without(branch.node, firsts, heads, {output.name for output in branch.output}, made)
            del branch.node[:]
            branch.node.extend(inner)
        changed.append(node)
    return live(changed, outputs)[0]
