"""Operators that ONNX Runtime has in plain order alone, (batch, channels, height, width): those of generators.

In blocks of channels a value is brought into plain order before them, and back where a convolution reads it. Channels
that pad a block stay in plain order, and are zeros or read by weights of zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gearshift.export.graph.builder import GraphBuilder, Scope
from gearshift.export.graph.segments import Array
from gearshift.runtime.graph.image_operators import NCHWC
from gearshift.trainer.vision.generator_steps import PADS
from gearshift.trainer.vision.net import Step

PAD_MODES: Mapping[str, str] = {"zero_pad": "constant", "reflection_pad": "reflect", "replication_pad": "edge"}
"""Kind of step -> mode of ONNX's Pad."""

assert PAD_MODES.keys() == PADS.keys(), "every pad has a mode"


class Orders:
    """Order of the values of a graph in blocks: which are plain, and which are images of three colours."""

    def __init__(self) -> None:
        self.plain: set[str] = set()
        """Values in plain order, besides images."""
        self.images: set[str] = set()
        """Images of three colours, which no channels pad."""
        self._blocks: dict[tuple[int, str], str] = {}

    def in_blocks(self, scope: Scope, value: str) -> str:
        """Append the conversion of a value in plain order, once; an image stays as it is."""
        if value not in self.plain:
            return value
        key = id(scope), value
        if key not in self._blocks:
            self._blocks[key] = scope.value("ReorderInput", [value], domain=NCHWC)
        return self._blocks[key]

    def in_plain(self, scope: Scope, value: str, channels: int) -> str:
        """Append the conversion of a value in blocks, with so many of its channels."""
        if value in self.plain or value in self.images:
            return value
        made = scope.value("ReorderOutput", [value], domain=NCHWC, channels=channels)
        self.plain.add(made)
        return made

    def as_of(self, value: str, made: str) -> str:
        """Record that a value has the order of another; return it."""
        for each in (self.plain, self.images):
            if value in each:
                each.add(made)
        return made


def transposed_node(
    scope: Scope,
    builder: GraphBuilder,
    step: Step,
    given: Sequence[str],
    weights: Sequence[tuple[str, Array]],
    bias: tuple[str, Array] | None,
) -> str:
    """Append a transposed convolution: the sum over the segments of its inputs, with weights (inputs, outputs, height,
    width) each; their arrays are stored once."""
    sizes = step.sizes
    attributes: dict[str, Any] = {
        "kernel_shape": list(sizes["kernel_size"]),
        "strides": list(sizes["stride"]),
        "pads": [*sizes["padding"], *sizes["padding"]],
        "output_padding": list(sizes["output_padding"]),
    }
    total = ""
    for place, (value, weight) in enumerate(zip(given, weights, strict=True)):
        own = [scope.tensor(*bias)] if bias is not None and place == 0 else []
        made = scope.value("ConvTranspose", [value, builder.weight(*weight), *own], **attributes)
        total = scope.value("Add", [total, made]) if total else made
    return total


def instance_norm_node(scope: Scope, step: Step, value: str, scale: tuple[str, Array], shift: tuple[str, Array]) -> str:
    """Append an instance norm; `scale` and `shift`: (channels,)."""
    given = [value, scope.tensor(*scale), scope.tensor(*shift)]
    return scope.value("InstanceNormalization", given, epsilon=float(step.sizes["eps"]))


def pad_node(scope: Scope, builder: GraphBuilder, step: Step, value: str) -> str:
    """Append a pad of height and width."""
    left, right, top, bottom = step.sizes["padding"]
    sizes = builder.constant(f"pads{left}_{right}_{top}_{bottom}", [0, 0, top, left, 0, 0, bottom, right])
    return scope.value("Pad", [value, sizes], mode=PAD_MODES[step.kind])


def widened(array: Array, sizes: Sequence[int]) -> Array:
    """Return an array with zeros behind its first axes, up to these sizes."""
    more = [(0, size - own) for size, own in zip(sizes, array.shape, strict=False)]
    return np.pad(array, more + [(0, 0)] * (array.ndim - len(more)))
