"""Graph whose options have the weights of their segments joined: each runs the operators of a graph of its own.

A bundle has every weight once, cut where some subnet ends. An int8 product pays for each cut: its input is packed
again, its output quantized and added apart. A graph of joined weights has for each option the matrices of all that it
keeps, which takes more bytes (for widths of 1, .75, .5 and .25 two and a half times as many of each layer) and gives
the same sums. Only `packed` makes one, on the device, where a file's pages come to memory as a subnet touches them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from gearshift.runtime.graph.model import Graph, Model, Node
from gearshift.runtime.graph.segments import LAST, Segment, segment_of

Group = tuple[Segment, ...]
"""Neighbouring segments of one run that are joined, in order."""


@dataclass(frozen=True)
class Joined:
    """Graph of joined weights, before these are made."""

    model: Model
    """Graph; its tensors are those of the old one that it still uses."""
    weights: Mapping[str, tuple[Group, str]]
    """Name of each joined weight -> its segments and its part, one group after another."""


def join_options(model: Model) -> Joined | None:
    """Join the segments of every option of a graph; None if no option has several of a layer.

    Raises ValueError for a graph of another form than the exporter's.
    """
    weights: dict[str, tuple[Group, str]] = {}
    graph = model.graph
    nodes = [_with_branches(node, weights) for node in graph.nodes]
    nodes = _joined_nodes(nodes, [each.name for each in graph.outputs], weights)
    if not weights:
        return None
    used = {name for node in nodes for name in names_in(node)}
    kept = [tensor for tensor in graph.tensors if tensor.name in used]
    ordered = dict(sorted(weights.items(), key=lambda entry: entry[1][0]))
    return Joined(replace(model, graph=replace(graph, nodes=nodes, tensors=kept)), ordered)


def branches(node: Node) -> Iterator[tuple[str, Graph]]:
    """Yield the branches of an `If`, with their names."""
    for name, value in node.attributes.items():
        if isinstance(value, Graph):
            yield name, value


def _with_branches(node: Node, weights: dict[str, tuple[Group, str]]) -> Node:
    """Return a node with the segments of its branches joined."""
    changed = {
        name: replace(branch, nodes=_joined_nodes(branch.nodes, [each.name for each in branch.outputs], weights))
        for name, branch in branches(node)
    }
    return replace(node, attributes={**node.attributes, **changed}) if changed else node


def _joined_nodes(nodes: Sequence[Node], outputs: Sequence[str], weights: dict[str, tuple[Group, str]]) -> list[Node]:
    """Return the nodes of one scope with one term for each run of a layer, that of its first segment."""
    joined = _groups(nodes)
    if not joined:
        return list(nodes)
    made = {name: node for node in nodes for name in node.outputs}
    gone = {
        node.outputs[0]
        for node in nodes
        for found in map(segment_of, node.inputs)
        if found and found[1] in LAST and found[0] in joined and joined[found[0]][0] != found[0]
    }
    heads = _heads(nodes, joined, made)
    changed = []
    for node in nodes:
        if gone & set(node.inputs):
            if node.operator != "Sum":
                raise ValueError(f"a term of a half-layer that {node.operator} takes")
            node = replace(node, inputs=tuple(name for name in node.inputs if name not in gone))
        if "num_heads" in node.attributes:
            segment = _segment_below(node, made)
            if segment in joined:
                node = replace(node, attributes={**node.attributes, "num_heads": heads[joined[segment]]})
        changed.append(replace(node, inputs=tuple(_renamed(name, joined, weights) for name in node.inputs)))
    return live(changed, outputs)


def _groups(nodes: Sequence[Node]) -> dict[Segment, Group]:
    """Return segment -> all segments of its run that the nodes use, for runs with more than one."""
    found: dict[str, set[int]] = {}
    for name in chain.from_iterable(node.inputs for node in nodes):
        if segment := segment_of(name):
            found.setdefault(segment[0][0], set()).add(segment[0][1])
    groups = [tuple((run, start) for start in sorted(starts)) for run, starts in found.items() if len(starts) > 1]
    return {segment: group for group in groups for segment in group}


def _heads(nodes: Sequence[Node], joined: Mapping[Segment, Group], made: Mapping[str, Node]) -> dict[Group, int]:
    """Return the number of heads of each group of heads; raises ValueError if a segment's attention is not found."""
    heads: dict[Segment, int] = {}
    for node in nodes:
        if "num_heads" in node.attributes:
            segment = _segment_below(node, made)
            if segment is not None:
                heads[segment] = node.attributes["num_heads"]
    groups = {group for segment, group in joined.items() if segment[0].endswith(".heads")}
    if missing := [segment for group in groups for segment in group if segment not in heads]:
        raise ValueError(f"{missing[0]}: no attention of its own")
    return {group: sum(heads[segment] for segment in group) for group in groups}


def _segment_below(node: Node, made: Mapping[str, Node]) -> Segment | None:
    """Return the segment whose weights a node takes, or that its first input comes from."""
    while True:
        segment = next((found[0] for name in node.inputs if (found := segment_of(name))), None)
        if segment is not None or not node.inputs or node.inputs[0] not in made:
            return segment
        node = made[node.inputs[0]]


def _renamed(name: str, joined: Mapping[Segment, Group], weights: dict[str, tuple[Group, str]]) -> str:
    """Return the name of the joined weight that stands for a segment's, and note how it is made."""
    found = segment_of(name)
    if found is None or found[0] not in joined:
        return name
    group, part = joined[found[0]], found[1]
    stem = "+".join(str(start) for _, start in group)
    new = f"{found[0][0]}{stem}.{part}"
    if found[0] == group[0]:
        weights[new] = group, part
    return new


def live(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """Return the nodes that these outputs need."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(names_in(node))
    return kept[::-1]


def names_in(node: Node) -> Iterable[str]:
    """Return all names that a node and its branches take."""
    inner = chain.from_iterable(names_in(each) for _, branch in branches(node) for each in branch.nodes)
    return chain(node.inputs, inner)
