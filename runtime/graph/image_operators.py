"""Operators that a graph of images may hold (`export.graph.convolutional`), beside some of those of texts.

All sizes are numbers, but for the batch. In blocks of channels (domain com.microsoft.nchwc) every value has whole
blocks of the widest kind, so that no kernel reads beyond a value, whatever the size of a block on the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gearshift.runtime.graph.model import FLOAT, INT64, Node
from gearshift.runtime.graph.operators import OPERATORS, Operator
from gearshift.runtime.graph.values import BATCH, Limits, Value, has_shape, numbers_of, require, same_float, shown

NCHWC = "com.microsoft.nchwc"
"""Domain of ONNX Runtime's operators on blocks of channels."""

BLOCK = "channels_of_a_block"
"""Initializer that holds the number of channels of a block, int64 (1,); a session sets it."""

WIDEST_BLOCK = 16
"""Channels of the widest block that ONNX Runtime has: with AVX-512, and NEON. AVX2 has 8."""

COLOURS = 3

ACTIVATIONS = {"": 0, "Relu": 0, "Sigmoid": 0, "Clip": 2, "HardSigmoid": 2}
"""Activation of a blocked convolution -> count of its parameters."""

Sizes = tuple[int, int, int]
"""Channels, height and width of a value."""


def _sizes(value: Value) -> Sizes:
    """Return channels, height and width of images; raise RefusedError for another value."""
    batch, *sizes = value.dims if value.dims else ("",)
    whole = [size for size in sizes if isinstance(size, int)]
    require(batch == BATCH and len(whole) == len(sizes) == 3 and value.kind == FLOAT, f"shape {shown(value.dims)}")
    channels, height, width = whole
    return channels, height, width


def _blocked(node: Node) -> bool:
    return node.operator.startswith(NCHWC)


def _whole_blocks(node: Node, channels: int) -> None:
    require(not _blocked(node) or channels % WIDEST_BLOCK == 0, f"{channels} channels in blocks")


def _places(node: Node, height: int, width: int, kernel: Sequence[int]) -> tuple[int, int]:
    """Return height and width of what windows give; raise RefusedError for windows that no net has."""
    strides = node.attributes.get("strides", [1, 1])
    pads = node.attributes.get("pads", [0, 0, 0, 0])
    gaps = node.attributes.get("dilations", [1, 1])
    fits = len(kernel) == len(strides) == len(gaps) == 2 and len(pads) == 4 and min(*kernel, *strides, *gaps) >= 1
    require(fits and list(node.attributes.get("kernel_shape", kernel)) == list(kernel), "windows of another form")
    require(all(0 <= pad < size for pad, size in zip(pads, [*kernel, *kernel], strict=True)), f"pads {pads}")
    found = [
        (size + before + after - gap * (taps - 1) - 1) // stride + 1
        for size, before, after, gap, taps, stride in zip(
            (height, width), pads[:2], pads[2:], gaps, kernel, strides, strict=True
        )
    ]
    require(min(found) >= 1, f"windows larger than {height} x {width}")
    return found[0], found[1]


def _convolution(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    data, filters, *others = values
    channels, height, width = _sizes(data)
    sizes = [size for size in filters.dims if isinstance(size, int)]
    require(len(sizes) == len(filters.dims) == 4 and min(sizes) >= 1, f"filters of shape {shown(filters.dims)}")
    outputs, inputs, *kernel = sizes
    groups = node.attributes.get("group", 1)
    depthwise = groups == channels == outputs and inputs == 1
    divides = groups >= 1 and channels == inputs * groups and outputs % groups == 0
    require(divides, f"filters of shape {shown(filters.dims)} for {channels} channels in {groups} groups")
    if _blocked(node):
        require(groups == 1 or depthwise, f"{groups} groups in blocks")
        require(channels == COLOURS or channels % WIDEST_BLOCK == 0, f"{channels} channels in blocks")
        _whole_blocks(node, outputs)
        name, parameters = node.attributes.get("activation", ""), node.attributes.get("activation_params", [])
        require(ACTIVATIONS.get(name) == len(parameters), f"activation {name[:20]!r}")
    dims = (BATCH, outputs, *_places(node, height, width, kernel))
    if others and others[0].kind:
        has_shape(others[0], (FLOAT,), (outputs,))
    for added in others[1:]:
        has_shape(added, (FLOAT,), dims)
    return [Value(same_float([data, filters]), dims)]


def _pool(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    channels, height, width = _sizes(values[0])
    _whole_blocks(node, channels)
    kernel = node.attributes.get("kernel_shape", [])
    require(len(kernel) == 2, "a pool without a window")
    return [Value(FLOAT, (BATCH, channels, *_places(node, height, width, kernel)))]


def _global_pool(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    channels, _, _ = _sizes(values[0])
    _whole_blocks(node, channels)
    return [Value(FLOAT, (BATCH, channels, 1, 1))]


def _reordered(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    channels, _, _ = _sizes(values[0])
    _whole_blocks(node, channels)
    return [Value(FLOAT, values[0].dims)]


def _to_plain(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Blocks in plain order, without some of the channels that pad the last one."""
    channels, height, width = _sizes(values[0])
    wanted = node.attributes.get("channels", channels)
    _whole_blocks(node, channels)
    require(channels - WIDEST_BLOCK < wanted <= channels, f"{wanted} of {channels} channels")
    return [Value(FLOAT, (BATCH, wanted, height, width))]


def _transposed(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Transposed convolution with filters (inputs, outputs, height, width)."""
    channels, *places = _sizes(values[0])
    sizes = [size for size in values[1].dims if isinstance(size, int)]
    require(len(sizes) == len(values[1].dims) == 4 and min(sizes) >= 1, f"filters of shape {shown(values[1].dims)}")
    inputs, outputs, *kernel = sizes
    strides, pads, more = (node.attributes.get(name, []) for name in ("strides", "pads", "output_padding"))
    fits = inputs == channels and len(strides) == len(more) == 2 and len(pads) == 4 and min(strides) >= 1
    require(fits and node.attributes.get("kernel_shape") == kernel, "windows of another form")
    inside = all(0 <= pad < taps for pad, taps in zip(pads, [*kernel, *kernel], strict=True))
    inside = inside and all(0 <= extra < stride for extra, stride in zip(more, strides, strict=True))
    require(inside, f"pads {pads} and {more}")
    found = [
        (size - 1) * stride - before - after + taps + extra
        for size, stride, before, after, taps, extra in zip(
            places, strides, pads[:2], pads[2:], kernel, more, strict=True
        )
    ]
    require(min(found) >= 1, f"windows smaller than pads {pads}")
    for bias in values[2:]:
        has_shape(bias, (FLOAT,), (outputs,))
    return [Value(same_float(values), (BATCH, outputs, *found))]


def _instance_norm(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    channels, _, _ = _sizes(values[0])
    for part in values[1:]:
        has_shape(part, (FLOAT,), (channels,))
    return [Value(same_float(values), values[0].dims)]


PAD_MODES = ("constant", "reflect", "edge")


def _pad(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Pad of height and width, whose sizes are stored; reflected ones are shorter than the image."""
    channels, height, width = _sizes(values[0])
    pads, mode = numbers_of(values[1], 8), node.attributes.get("mode", "constant")
    of_places = [*pads[2:4], *pads[6:]]
    require(mode in PAD_MODES and not any([*pads[:2], *pads[4:6]]) and min(pads) >= 0, f"pads {pads}")
    require(mode != "reflect" or max(of_places) < min(height, width), f"pads {pads} of {height} x {width}")
    top, left, bottom, right = of_places
    return [Value(same_float(values[:1]), (BATCH, channels, height + top + bottom, width + left + right))]


def _flatten(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    channels, height, width = _sizes(values[0])
    require(node.attributes.get("axis", 1) == 1 and height == width == 1, f"shape {shown(values[0].dims)}")
    return [Value(FLOAT, (BATCH, channels))]


def _linear(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Product (batch, inputs) x (outputs, inputs), with a bias or a sum before it."""
    data, weight, *added = values
    fits = len(data.dims) == len(weight.dims) == 2 and node.attributes.get("transB") == 1
    require(fits and data.dims[1] == weight.dims[1], f"product of {shown(data.dims)} and {shown(weight.dims)}")
    dims = (data.dims[0], weight.dims[0])
    for value in added:
        has_shape(value, (FLOAT,), dims if len(value.dims) == 2 else dims[1:])
    return [Value(same_float([data, weight]), dims)]


def _clip(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    for limit in values[1:]:
        has_shape(limit, (FLOAT,), ())
    return [Value(same_float(values), values[0].dims)]


def _whole_divided(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Number of blocks: of channels that are stored, in blocks of the widest kind."""
    (channels,), (block,) = (numbers_of(value, 1) for value in values)
    require(block == WIDEST_BLOCK and channels > 0 and channels % block == 0, f"{channels} channels by {block}")
    return [Value(INT64, (1,), (channels // block,))]


def _reshaped(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Stored weights in another shape of as many numbers."""
    data, wanted = values[0], numbers_of(values[1])
    sizes = [size for size in data.dims if isinstance(size, int)]
    fits = len(sizes) == len(data.dims) and min(wanted, default=0) >= 1 and math.prod(sizes) == math.prod(wanted)
    require(fits and values[1].dims == (len(wanted),), f"{shown(data.dims)} as {wanted}")
    return [Value(same_float([data]), tuple(wanted))]


_WINDOW: Mapping[str, type] = {"kernel_shape": list, "strides": list, "pads": list}
_FILTERS: Mapping[str, type] = {**_WINDOW, "dilations": list, "group": int}

IMAGE_OPERATORS: Mapping[str, Operator] = {
    **{
        name: OPERATORS[name]
        for name in ("Identity", "Relu", "Sigmoid", "Tanh", "Add", "Mul", "Equal", "Gather", "Concat", "Transpose")
    },
    "Conv": Operator(_convolution, (2, 3), _FILTERS),
    f"{NCHWC}.Conv": Operator(
        _convolution, (2, 3, 4), {**_FILTERS, "activation": str, "activation_params": list}, optional=(2,)
    ),
    **{f"{domain}MaxPool": Operator(_pool, (1,), _WINDOW) for domain in ("", f"{NCHWC}.")},
    **{
        f"{domain}AveragePool": Operator(_pool, (1,), {**_WINDOW, "count_include_pad": int})
        for domain in ("", f"{NCHWC}.")
    },
    **{f"{domain}GlobalAveragePool": Operator(_global_pool, (1,)) for domain in ("", f"{NCHWC}.")},
    f"{NCHWC}.ReorderInput": Operator(_reordered, (1,)),
    f"{NCHWC}.ReorderOutput": Operator(_to_plain, (1,), {"channels": int}),
    "ConvTranspose": Operator(_transposed, (2, 3), {**_WINDOW, "output_padding": list}),
    "InstanceNormalization": Operator(_instance_norm, (3,), {"epsilon": float}),
    "Pad": Operator(_pad, (2,), {"mode": str}),
    "HardSigmoid": Operator(OPERATORS["Relu"].rule, (1,), {"alpha": float, "beta": float}),
    "Clip": Operator(_clip, (3,)),
    "Flatten": Operator(_flatten, (1,), {"axis": int}),
    "Gemm": Operator(_linear, (2, 3), {"transB": int}),
    "Div": Operator(_whole_divided, (2,)),
    "Reshape": Operator(_reshaped, (2,)),
}
"""Operator, with its domain unless it is ONNX's own -> what it may be in a graph of images."""
