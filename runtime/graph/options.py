"""Graphs of single options, taken out of a graph of one stage: no switch is left in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from gearshift.runtime.graph.joined import live, names_in
from gearshift.runtime.graph.model import Graph, Model, Node, Tensor


def option_models(model: Model, tensors: Mapping[str, Tensor], choice: str) -> Iterator[Model]:
    """Yield the graph of each option of a graph of one stage, in order, without the input that chooses.

    `tensors`: name -> tensor that the graphs refer to, in place of the graph's own. `choice`: name of that input.
    Raises ValueError for a graph of another form than the exporter's.
    """
    graph = model.graph
    outputs = [each.name for each in graph.outputs]
    switches = [node for node in graph.nodes if node.operator == "If"]
    finals = [node for node in graph.nodes if set(node.outputs) & set(outputs)]
    if not switches or any(not set(node.inputs) <= set(switches[-1].outputs) for node in finals):
        raise ValueError("no switches that end in the outputs")
    root = [node for node in graph.nodes if node.operator != "If" and node not in finals]
    inputs = [each for each in graph.inputs if each.name != choice]
    for switch in switches:
        branch = switch.attributes.get("then_branch")
        if not isinstance(branch, Graph) or len(branch.outputs) != len(switches[-1].outputs):
            raise ValueError("a switch without a branch of its own")
        given = dict(zip(switches[-1].outputs, (each.name for each in branch.outputs), strict=True))
        last = [replace(node, inputs=tuple(given[name] for name in node.inputs)) for node in finals]
        nodes = live([*root, *branch.nodes, *last], outputs)
        yield replace(model, graph=Graph(nodes, _used(nodes, tensors), inputs, graph.outputs))


def _used(nodes: list[Node], tensors: Mapping[str, Tensor]) -> list[Tensor]:
    used = {name for node in nodes for name in names_in(node)}
    return [tensor for name, tensor in tensors.items() if name in used]
