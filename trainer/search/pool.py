"""Which subnets ship: near the Pareto front on devices of several kinds, few cuts, spread over sizes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.runtime.space.parts import attention_part, ffn_part
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Option
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid, uniform_subnet
from gearshift.runtime.tables.latency import LatencyPredictor
from gearshift.runtime.tables.layer_latency import LayerLatency
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.tables import Estimate, Tables

TOKENS = 64
"""Length of text that the devices are imagined with."""

KINDS = {"even": (1.0, 1.0, 0.0), "slow attention": (4.0, 1.0, 0.0), "slow feed-forward": (1.0, 4.0, 0.0),
         "slow call": (1.0, 1.0, 0.5)}  # fmt: skip
"""Kind of device -> time of a MAC in attention, of one in the FFN, and of a layer whatever its size, as a share of
what the full layer's MACs take. Which of them a device is like is found out there."""

LEVELS = 40
RANKS = (1, 3, 10)
"""Candidates are the best at so many sizes on each kind of device; where these are too few, the best 3, then 10."""

CUT_TOLERANCE = 0.02
"""Cuts are left out as long as the loss increase of the best subnets rises by no more than this share, on average."""

CUT_LEVELS = 16
"""Sizes at which cuts are judged."""


def kinds_of_device(shape: EncoderShape) -> dict[str, LatencyPredictor]:
    """Imagined devices on which subnets rank differently; times in billions of MACs."""
    head = attention_part(shape.hidden, shape.head_size).macs(TOKENS) / 1e9
    neuron = ffn_part(shape.hidden, 1).macs(TOKENS) / 1e9
    layer = shape.heads * head + shape.neurons * neuron
    return {
        name: LayerLatency(
            shape, "fp32", "imagined", 1, (TOKENS,), (0.0,), ((layer * call, head * attention, neuron * ffn),), {}
        )
        for name, (attention, ffn, call) in KINDS.items()
    }


Floats = NDArray[np.float64]
Devices = Mapping[str, LatencyPredictor]
"""Kind of device, imagined or measured, -> its latencies."""


def best_by_size(tables: Tables, device: LatencyPredictor, levels: int, *, each: int = 1) -> list[Estimate]:
    """The `each` subnets of least summed loss at `levels` latencies from the smallest subnet's to the largest's."""
    limits = _latencies(tables, device, levels, _least(tables, device))
    found = (tables.best(Limits(latency_ms=float(limit), length=TOKENS), device, count=each) for limit in limits)
    return [one for several in found for one in several]


def few_cuts(tables: Tables, *, smallest: Subnet | None = None, tolerance: float = CUT_TOLERANCE) -> Tables:
    """The tables without the options whose absence costs little: each cut of a layer is paid for in every call.

    One by one, the least needed first, while the loss increase of the best subnet of a size rises by the share
    `tolerance` at most, on average over the sizes. Shares, as the increase of the smallest sizes is many times that of
    the middle ones, which need the cuts. The sizes are those of the whole tables, from that of `smallest` on (the
    smallest uniform one unless given), and stay the same whatever is left out: what cannot be that small any more has
    not got better. The largest option of a stage and the one that skips it, which cuts nothing, always stay.
    """
    shape = tables.space.shape
    device = kinds_of_device(shape)["even"]
    smallest = smallest or min(uniform_grid(shape).values(), key=lambda one: one.parameters(shape))
    start = max(_least(tables, device), device.predict(smallest, TOKENS) - device.fixed(TOKENS))
    limits = _latencies(tables, device, CUT_LEVELS, start)

    def increases(tried: Tables) -> Floats:
        return np.array([_least_loss(tried, device, float(limit)) for limit in limits]) - tables.fixed.loss

    first = increases(tables)
    scale = np.maximum(first, np.median(first) / 10)  # that of the largest sizes is next to nothing
    counted = scale > 0

    def rise(tried: Tables) -> float:
        return float(np.mean((increases(tried) - first)[counted] / scale[counted])) if counted.any() else 0.0

    options = [
        (place, option)
        for place, stage in enumerate(tables.space.stages)
        for option in stage.options[1:]
        if not option.skips
    ]
    for place, option in sorted(options, key=lambda one: rise(_without(tables, *one))):
        tried = _without(tables, place, option)
        if rise(tried) <= tolerance:
            tables = tried
    return tables


def candidates(tables: Tables, count: int, devices: Devices | None = None) -> dict[Subnet, Estimate]:
    """`count` subnets that are among the best at some size on some kind of device; fewer where there are no more.

    The kinds are those of `kinds_of_device` unless given.
    """
    if count < 1:
        raise InputError(f"candidates: expected at least 1, got {count}")
    found: dict[Subnet, Estimate] = {}
    devices = devices or kinds_of_device(tables.space.shape)
    for each in RANKS:
        for device in devices.values():
            ranked = best_by_size(tables, device, max(2, min(LEVELS, count // len(devices))), each=each)
            found |= {one.subnet: one for one in ranked if one.subnet not in found}
        if len(found) >= count:
            break
    return dict(list(found.items())[:count])


def choose_pool(
    shape: EncoderShape,
    losses: Mapping[Subnet, float],
    size: int,
    *,
    devices: Devices | None = None,
    rivals: Collection[Subnet] = (),
) -> list[Subnet]:
    """`size` of the subnets, by measured loss: the Pareto front on every kind of device, then the next one, and so on.

    Where a front has more than there is room for, those are taken that lie evenly along it. The full subnet, whose
    loss is known, always has its place: losses are distances from its answers, so that a smaller one can beat it by
    rounding alone, and all others are compared with it. `rivals` are subnets whose losses are known too: each has its
    place, unless one of the others, which then has one, has no more loss and takes no more time on any kind of device;
    where there are more than `size` of those, evenly spread ones have. Largest first.
    """

    def largest_first(one: Subnet) -> tuple[int, tuple[tuple[int, int], ...]]:
        return -one.parameters(shape), one.layers

    devices = devices or kinds_of_device(shape)
    times = {one: tuple(device.predict(one, TOKENS) for device in devices.values()) for one in losses}
    placed = {uniform_subnet(shape, 1, 1), *(_stand_in(one, losses, times) for one in rivals)}
    chosen = _spread(sorted(placed, key=largest_first), size)  # begins with the largest
    left = dict.fromkeys(one for one in losses if one not in chosen)
    while left and len(chosen) < size:
        layer: dict[Subnet, None] = {}
        for place in range(len(devices)):
            layer |= dict.fromkeys(_front({one: times[one][place] for one in left}, losses))
        ordered = sorted(layer, key=lambda one: (one.parameters(shape), one.layers))
        chosen += _spread(ordered, size - len(chosen))
        left = dict.fromkeys(one for one in left if one not in layer)
    return sorted(chosen, key=largest_first)


def _spread(ordered: list[Subnet], most: int) -> list[Subnet]:
    """So many of them that lie evenly along the list; all where there are no more."""
    places = np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def _stand_in(rival: Subnet, losses: Mapping[Subnet, float], times: Mapping[Subnet, tuple[float, ...]]) -> Subnet:
    """The subnet of least loss among those that take no more time on any device: the rival itself, or a better one."""
    faster = [one for one in losses if all(mine <= its for mine, its in zip(times[one], times[rival], strict=True))]
    return min(faster, key=lambda one: (losses[one], times[one], one.layers))


def _front(costs: Mapping[Subnet, float], losses: Mapping[Subnet, float]) -> list[Subnet]:
    """Those that no other beats in cost and loss, the cheapest first."""
    front: list[Subnet] = []
    for one in sorted(costs, key=lambda one: (costs[one], losses[one])):
        if not front or losses[one] < losses[front[-1]]:
            front.append(one)
    return front


def _times(tables: Tables, device: LatencyPredictor) -> list[list[float]]:
    """Of every option of every stage."""
    shape = tables.space.shape
    return [
        [device.layers(option.layers, TOKENS, first=stage.first, of=shape.layers) for option in stage.options]
        for stage in tables.space.stages
    ]


def _least(tables: Tables, device: LatencyPredictor) -> float:
    """The time of the smallest subnet's layers: one of them runs at least."""
    times = _times(tables, device)
    return max(sum(map(min, times)), min(time for stage in times for time in stage if time > 0))


def _latencies(tables: Tables, device: LatencyPredictor, levels: int, least: float) -> Floats:
    """(levels,) latencies from that of layers that take `least` to that of the largest subnet, each a hair more."""
    full = sum(map(max, _times(tables, device)))
    limits: Floats = device.fixed(TOKENS) + np.geomspace(least * (1 + 1e-6), full * (1 + 1e-6), levels)
    return limits


def _least_loss(tables: Tables, device: LatencyPredictor, latency_ms: float) -> float:
    """Of the subnets that take no longer; infinite where there is none."""
    if _least(tables, device) + device.fixed(TOKENS) > latency_ms:
        return math.inf
    return tables.best(Limits(latency_ms=latency_ms, length=TOKENS), device)[0].loss


def _without(tables: Tables, place: int, option: Option) -> Tables:
    """The tables without one option of one stage."""
    stages = tables.space.stages
    return tables.thinned(
        [[n for n, one in enumerate(s.options) if at != place or one != option] for at, s in enumerate(stages)]
    )
