"""Rewrite a graph to compute only the first token after its last attention, if its head takes no other.

A layer of an inner stage cannot know that no later layer runs, and computes every token. Once switches are removed this
is known, and the pick of the first token moves up to the last attention, as in an export of that subnet alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from gearshift.export.rewrite.options import values_read, with_nodes

ROW_WISE = (
    "LayerNormalization",
    "Sum",
    "MatMul",
    "BiasGelu",
    "Gelu",
    "FastGelu",
    "QuickGelu",
    "Relu",
    "Split",
    "Mul",
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
)
"""Operators that treat each token independently. A dynamic scale does look at all tokens: taken over the first token
alone, it rounds differently in int8."""


def pick_first_early(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move the single `Gather` of the first token of a graph as far up as possible.

    A graph without one, or with several, which an export placed early, is returned unchanged.
    """
    picks = [node for node in model.graph.node if node.op_type == "Gather" and node.input[1] == "first_token"]
    if len(picks) != 1:
        return model
    (pick,) = picks
    moved, picked = _behind(model.graph.node, pick)
    # Consumers of the pick take its source instead, which now has the first token alone, or the early pick of it.
    instead = {pick.output[0]: _first(pick.input[0]) if pick.input[0] in picked else pick.input[0]}
    early = {name: _first(name) for name in picked}
    nodes = []
    for node in model.graph.node:
        if node.output[0] == pick.output[0]:
            continue
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        names = early if node.output[0] in moved else instead
        changed.input[:] = [names.get(name, name) for name in node.input]
        nodes.append(changed)
        nodes += [_pick(pick, name) for name in node.output if name in picked]
    return with_nodes(model, nodes)


def _behind(nodes: Sequence[onnx.NodeProto], pick: onnx.NodeProto) -> tuple[set[str], set[str]]:
    """Return the nodes, by their first output, that need the first token alone, and the values that they pick it
    from."""
    computed = {name for node in nodes for name in node.output}
    takers: dict[str, set[str]] = {}
    for node in nodes:
        for name in values_read(node):
            takers.setdefault(name, set()).add(node.output[0])
    moved = {pick.output[0]}
    wanted, picked = {pick.input[0]}, set()
    for node in reversed(nodes):
        outputs = wanted & set(node.output)
        alone = all(takers.get(name, set()) <= moved for name in node.output)
        if outputs and alone and node.op_type in ROW_WISE:
            moved.add(node.output[0])
            wanted |= computed & set(node.input)
        else:
            picked |= outputs
    return moved - {pick.output[0]}, picked


def _first(name: str) -> str:
    return f"{name}_first"


def _pick(pick: onnx.NodeProto, value: str) -> onnx.NodeProto:
    return onnx.helper.make_node("Gather", [value, pick.input[1]], [_first(value)], axis=1)
