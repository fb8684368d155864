"""Segments by the names of their weights, and the weights of neighbouring segments as one.

The exporter cuts a layer where its space does, and names each weight after the layer, the run of heads or neurons, its
first one, and its part: `layer0.heads3.qkv`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from gearshift.runtime.graph.quantize import Array, quantize

SEGMENT = re.compile(r"(?P<run>layer\d+\.(?:heads|neurons))(?P<start>\d+)\.(?P<part>.+)")
"""Pattern of the names that the exporter gives to the weights of a segment."""

LAST = ("output", "out")
"""Parts whose product is a term in the sum of a half-layer."""

Segment = tuple[str, int]
"""Name of a run of a layer, and the start of the segment in it."""


def segment_of(name: str) -> tuple[Segment, str] | None:
    """Parse the name of a weight into segment and part; None if it is not one of a segment."""
    found = SEGMENT.fullmatch(name)
    return ((found["run"], int(found["start"])), found["part"]) if found else None


def joined(arrays: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return part -> array of several segments as one; `arrays`: those of each, in order.

    In int8 the rows of an output matrix had scales for each segment; the joined rows get common ones, and are rounded
    once more.
    """
    found = {}
    columns = arrays[0]["in"].shape[-1] // len(arrays[0]["out"]) if "in" in arrays[0] else 1
    for part in arrays[0]:
        pieces = [each[part] for each in arrays]
        if part.startswith("qkv"):  # queries, then keys, then values, each of all heads
            thirds = [np.split(piece, 3, axis=-1) for piece in pieces]
            found[part] = np.concatenate([third[which] for which in range(3) for third in thirds], axis=-1)
        elif part == "head_ids":
            found[part] = np.concatenate(pieces)
        elif part.startswith("position_"):  # vectors of relative positions, (rows, heads, head_size)
            found[part] = np.concatenate(pieces, axis=1)
        elif part.startswith("in"):  # columns to activate and, if neurons are gated, then their gates
            halves = [np.split(piece, columns, axis=-1) for piece in pieces]
            found[part] = np.concatenate([half[which] for which in range(columns) for half in halves], axis=-1)
        elif part in LAST and pieces[0].dtype == np.int8:
            packed = quantize(np.concatenate([each[part] * each[f"{part}.scale"] for each in arrays]))
            found |= {part: packed.values, f"{part}.scale": packed.scales}
            if f"{part}.zero" in arrays[0]:
                found[f"{part}.zero"] = np.zeros_like(arrays[0][f"{part}.zero"])
        elif part in LAST:
            found[part] = np.concatenate(pieces)
    return found
