"""Choose the layers of an int8 graph to keep in fp32 if int8 costs a subnet more accuracy than is allowed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from gearshift.export.checks.parity import Logits
from gearshift.export.graph.segments import Array
from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.inference.session import ElasticSession

MAX_WIDE = 3
"""Most layers that may be kept in fp32; beyond that, the fp32 graph is the better choice."""

Open = Callable[[frozenset[int]], ElasticSession]
"""Function that writes the int8 graph with these layers in fp32, and opens it."""


def choose_wide(
    open_graph: Open,
    entries: Mapping[str, PoolEntry],
    inputs: Mapping[str, Array],
    expected: Mapping[str, Logits],
    losses: Callable[[ElasticSession], Mapping[str, float]],
) -> frozenset[int]:
    """Return the fewest layers to keep in fp32 with which these subnets lose least; none if no choice helps.

    `entries`: subnets that lose too much. `expected`: their logits from the model for `inputs`. `losses`: measures the
    losses of a session that are still above the tolerance.
    Greedy: each round adds the layer that brings the logits nearest, until nothing is lost.
    """
    wide: frozenset[int] = frozenset()
    lost = {wide: _lost(open_graph, wide, losses)}
    candidates = {part for entry in entries.values() for part in entry.subnet.places}
    while lost[wide] and len(wide) < min(MAX_WIDE, len(candidates)):
        errors = {layer: _error(open_graph, wide | {layer}, entries, inputs, expected) for layer in candidates - wide}
        wide |= {min(errors, key=lambda layer: (errors[layer], layer))}
        lost[wide] = _lost(open_graph, wide, losses)
    return min(lost, key=lambda layers: (lost[layers], len(layers)))


def _lost(open_graph: Open, wide: frozenset[int], losses: Callable[[ElasticSession], Mapping[str, float]]) -> float:
    session = open_graph(wide)
    still = sum(losses(session).values())
    session.close()
    return still


def _error(
    open_graph: Open,
    wide: Collection[int],
    entries: Mapping[str, PoolEntry],
    inputs: Mapping[str, Array],
    expected: Mapping[str, Logits],
) -> float:
    """Return the mean difference of the logits from the model's, over all the subnets."""
    session = open_graph(frozenset(wide))
    errors = [
        np.abs(own - wanted).mean()
        for name, entry in entries.items()
        for own, wanted in zip(session.run_heads(inputs, entry.choice), expected[name], strict=True)
    ]
    session.close()
    return float(np.mean(errors))
