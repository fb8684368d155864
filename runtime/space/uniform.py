"""Uniform subnets: one width for all kept layers, with names such as `w050-d075`."""

from __future__ import annotations

import hashlib
import itertools

from gearshift.errors import InputError
from gearshift.runtime.space.convolutions import ConvolutionShape, ConvolutionSubnet, Group
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.subnet import SKIPPED, Subnet

WIDTHS = (1.0, 0.75, 0.5, 0.25)
"""Width multipliers of DynaBERT: the share of heads and of neurons that each layer keeps."""

DEPTHS = (1.0, 0.75, 0.5)
"""Depth multipliers of DynaBERT: the share of layers that is kept."""


def kept_layers(layers: int, depth: float) -> tuple[int, ...]:
    """Return the indices of the layers that depth multiplier `depth` keeps.

    DynaBERT (section 2.2) drops layer d if (d + 1) mod round(1 / (1 - depth)) = 0. Of twelve layers, .75 drops 3, 7, 11
    and .5 the odd ones; of six, .75 drops 3. Below .5, which the paper does not have, every round(1 / depth)-th layer
    stays, the first among them, as at .5: of twelve layers .25 keeps 0, 4 and 8.
    """
    if not 0 < depth <= 1:
        raise InputError(f"depth multiplier: expected a number above 0, at most 1, got {depth!r}")
    if depth == 1:
        return tuple(range(layers))
    if depth < 0.5:
        return tuple(range(0, layers, round(1 / depth)))
    step = round(1 / (1 - depth))
    return tuple(layer for layer in range(layers) if (layer + 1) % step)


def uniform_subnet(shape: EncoderShape, width: float, depth: float) -> Subnet:
    """Return the subnet with one width in all kept layers (DynaBERT): at least one head and one neuron."""
    if not 0 < width <= 1:
        raise InputError(f"width multiplier: expected a number above 0, at most 1, got {width!r}")
    kept = set(kept_layers(shape.layers, depth))
    sizes = (max(1, round(shape.heads * width)), max(1, round(shape.neurons * width)))
    return Subnet(tuple(sizes if layer in kept else (0, 0) for layer in range(shape.layers)))


def uniform_name(width: float, depth: float) -> str:
    """Return the name of a uniform subnet: `w050-d100` is half the width at full depth."""
    return f"w{round(width * 100):03d}-d{round(depth * 100):03d}"


def uniform_grid(
    shape: EncoderShape, widths: tuple[float, ...] = WIDTHS, depths: tuple[float, ...] = DEPTHS
) -> dict[str, Subnet]:
    """Return name -> subnet for every width x depth, largest first; of equal subnets, the first stays.

    On a small encoder two multipliers can give equal subnets: with one head, every width keeps that head.
    """
    grid: dict[str, Subnet] = {}
    for depth, width in itertools.product(depths, widths):
        subnet = uniform_subnet(shape, width, depth)
        if subnet not in grid.values():
            grid[uniform_name(width, depth)] = subnet
    return grid


def subnet_name(shape: EncoderShape, subnet: Subnet) -> str:
    """Return a name for any subnet: its name in the uniform grid if it is in it, else one such as `m042-1f3a9c`.

    42 is the share of the full encoder's weights that the layers keep, in per cent; the rest is a hash of the layers.
    """
    for name, uniform in uniform_grid(shape).items():
        if uniform == subnet:
            return name
    full = shape.sets * sum(part.parameters for part in shape.layer_parts((shape.heads, shape.neurons)))
    share = (subnet.parameters(shape) - shape.embedding_parameters) / full
    return f"m{round(100 * share):03d}-{hashlib.sha256(repr(subnet.layers).encode()).hexdigest()[:6]}"


CHANNEL_STEPS = (16, 8, 4, 2)
"""Numbers that the kept channels of a group are multiples of: the first one that divides all of them. Kernels compute 8
or 16 channels at once."""


def convolution_subnet(
    shape: ConvolutionShape, width: float, depth: float, kernel: int | None = None
) -> ConvolutionSubnet:
    """Return the subnet that keeps this share of the channels of each group, and of the blocks that can be skipped the
    first ones of each stage: this share of them, rounded. At depth 0 all of these are skipped.

    `kernel`: size of depthwise filters; larger ones are cut to it, or as far as they can be. None: they keep theirs.
    """
    if not 0 < width <= 1:
        raise InputError(f"width multiplier: expected a number above 0, at most 1, got {width!r}")
    if not 0 <= depth <= 1:
        raise InputError(f"depth multiplier: expected a number from 0 to 1, got {depth!r}")
    blocks: dict[int, list[int]] = {}
    for group in shape.groups:
        if group.block >= 0 and group.block not in blocks.setdefault(group.stage, []):
            blocks[group.stage].append(group.block)
    kept = {block for stage in blocks.values() for block in stage[: round(depth * len(stage))]}
    layers = (
        (_channels(group.channels, width), _kernel(group, kernel))
        if group.block < 0 or group.block in kept
        else SKIPPED
        for group in shape.groups
    )
    return ConvolutionSubnet(tuple(layers))


def _kernel(group: Group, most: int | None) -> int:
    fitting = (size for size in group.kernels if most is None or size <= most)
    return next(fitting, group.kernels[-1])


def _channels(channels: int, width: float) -> int:
    step = next((step for step in CHANNEL_STEPS if channels % step == 0 and channels > step), 1)
    return max(step, round(channels * width / step) * step)


def convolution_grid(
    shape: ConvolutionShape,
    widths: tuple[float, ...] = WIDTHS,
    depths: tuple[float, ...] = DEPTHS,
    kernels: tuple[int, ...] = (),
) -> dict[str, ConvolutionSubnet]:
    """Return name -> subnet for every width x depth x kernel size, largest first; of equal subnets, the first stays.

    Where filters are cut, the name has their size: `w050-d100-k3`. Without `kernels` all keep theirs.
    """
    largest = max((group.kernel for group in shape.groups if len(group.kernels) > 1), default=0)
    grid: dict[str, ConvolutionSubnet] = {}
    for depth, width, kernel in itertools.product(depths, widths, kernels or (None,)):
        subnet = convolution_subnet(shape, width, depth, kernel)
        if subnet not in grid.values():
            cut = kernel is not None and kernel < largest
            grid[uniform_name(width, depth) + (f"-k{kernel}" if cut else "")] = subnet
    return grid
