"""Sizes and inputs that a graph of images may have, by its manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gearshift.runtime.bundle.manifest import CHOICE, PIXELS, Manifest
from gearshift.runtime.graph.image_operators import COLOURS, IMAGE_OPERATORS, WIDEST_BLOCK
from gearshift.runtime.graph.model import FLOAT, INT64, Dims, Graph
from gearshift.runtime.graph.values import BATCH, Limits, Value, require
from gearshift.runtime.images.preparation import Preparation
from gearshift.runtime.space.convolutions import Convolution, ConvolutionShape

AXES = 6
"""Axes of weights on their way into blocks."""

MOST_NODES = 100_000
"""Nodes of the largest graph, whatever its space: the library takes a second for every 10,000."""

NODES_BESIDE = 64
"""Nodes beside those of convolutions."""

NODES_PER_CONVOLUTION = 24
"""Nodes of a segment of a convolution, with what stands around it, and those that bring its weights into blocks."""


def image_limits(manifest: Manifest, preparation: Preparation) -> Limits:
    """Return the sizes that follow from the net of a manifest and the images that it reads."""
    shape = manifest.space.shape
    assert isinstance(shape, ConvolutionShape), f"images in a net of kind {shape.kind}"
    pixels = preparation.height * preparation.width
    padded = [
        (one, -(-one.inputs // WIDEST_BLOCK) * WIDEST_BLOCK, -(-one.outputs // WIDEST_BLOCK) * WIDEST_BLOCK)
        for one in shape.convolutions
    ]
    # Windows at the border give some more than their share of the pixels, and pads stand around values.
    values = [max(inputs, outputs) * _places(pixels, one) for one, inputs, outputs in padded]
    weights = [outputs * inputs * one.taps for one, inputs, outputs in padded]
    options = sum(len(stage.options) for stage in manifest.space.stages)
    return Limits(
        per_token=0,
        per_text=max([COLOURS * pixels, *values, *weights]),
        heads=0,
        head_size=1,
        tokens=1,
        nodes=min(MOST_NODES, NODES_BESIDE + options * NODES_PER_CONVOLUTION * _segments(manifest, shape)),
        axes=AXES,
        operators=IMAGE_OPERATORS,
    )


def _places(pixels: int, one: Convolution) -> int:
    """Return the places of a convolution's values at most: more than its outputs by a border as wide as its filter."""
    border = math.isqrt(one.taps) + 1
    side = math.isqrt(max(1, pixels // one.pixels)) + border
    return max(side * side, pixels // one.pixels + 2 * border * side)


def _segments(manifest: Manifest, shape: ConvolutionShape) -> int:
    """Return the segments of all convolutions: pairs of a segment of the inputs and one of the outputs."""
    options = [option.layers for stage in manifest.space.stages for option in stage.options]
    cuts = [len({layers[group][0] for layers in options}) for group in range(len(shape.groups))]
    cuts.append(1)  # of the trunk, which has the number -1
    return sum(cuts[one.source] * cuts[one.target] for one in shape.convolutions)


def image_dims(preparation: Preparation) -> Dims:
    """Return the shape of the images that a graph reads, and of those that it makes."""
    return BATCH, COLOURS, preparation.height, preparation.width


def image_inputs(graph: Graph, manifest: Manifest, preparation: Preparation) -> dict[str, Value]:
    """Return name -> value of the inputs of a graph of images; raise RefusedError for others."""
    pixels, choice = image_dims(preparation), (len(manifest.space.stages),)
    wanted: Mapping[str, tuple[int, Dims]] = {PIXELS: (FLOAT, pixels), CHOICE: (INT64, choice)}
    found = {each.name: (each.kind, each.dims) for each in graph.inputs}
    require(found == wanted and len(graph.inputs) == len(wanted), f"inputs {sorted(found)}, not those of the manifest")
    return {name: Value(kind, dims) for name, (kind, dims) in wanted.items()}


def block_value() -> Value:
    """Return the value of the channels of a block: the widest, whose multiples are those of every other."""
    return Value(INT64, (1,), (WIDEST_BLOCK,), stored=True)
