"""Choice of the pool: subnets near the Pareto front on several kinds of device, with few cuts, spread over sizes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Option
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.runtime.tables.latency import LatencyPredictor
from gearshift.runtime.tables.layer_latency import LayerLatency
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.tables import Estimate, Tables

TOKENS = 64
"""Length in tokens of the text that latencies are computed for."""

KINDS = {"even": (1.0, 1.0, 0.0), "slow attention": (4.0, 1.0, 0.0), "slow feed-forward": (1.0, 4.0, 0.0),
         "slow call": (1.0, 1.0, 0.5)}  # fmt: skip
"""Kind of device -> (time of a MAC in attention, time of a MAC in the FFN, fixed time of a layer as a share of the full
layer's MACs). The kind of the target device is unknown at this point, so that the pool must do well on all of them."""

LEVELS = 40
RANKS = (1, 3, 10)
"""Number of latencies at which candidates are looked up on each kind of device, and of candidates at each: the best
one; if these are too few in all, the best 3, then 10."""

CUT_TOLERANCE = 0.02
"""Mean relative rise of the loss increase of the best subnets up to which cuts are left out."""

CUT_LEVELS = 16
"""Number of latencies at which cuts are judged."""


def kinds_of_device(shape: EncoderShape) -> dict[str, LatencyPredictor]:
    """Return synthetic devices on which subnets rank differently; their times are in billions of MACs."""
    head, neuron = (part.macs(TOKENS) / 1e9 for part in shape.layer_parts((1, 1)))
    layer = shape.heads * head + shape.neurons * neuron
    return {
        name: LayerLatency(
            shape, "fp32", "imagined", 1, (TOKENS,), (0.0,), ((layer * call, head * attention, neuron * ffn),), {}
        )
        for name, (attention, ffn, call) in KINDS.items()
    }


Floats = NDArray[np.float64]
Devices = Mapping[str, LatencyPredictor]
"""Kind of device, synthetic or measured -> its latency predictor."""


def best_by_size(tables: Tables, device: LatencyPredictor, levels: int, *, each: int = 1) -> list[Estimate]:
    """Return the `each` subnets of least summed loss at each of `levels` latencies, from the smallest subnet's up."""
    limits = _latencies(tables, device, levels, _least(tables, device))
    found = (tables.best(Limits(latency_ms=float(limit), length=TOKENS), device, count=each) for limit in limits)
    return [one for several in found for one in several]


def few_cuts(tables: Tables, *, smallest: Subnet | None = None, tolerance: float = CUT_TOLERANCE) -> Tables:
    """Return the tables without the options that are hardly needed, as each cut of a layer costs time in every call.

    Options are left out one by one, the least needed first, as long as the loss increase of the best subnets rises by
    a share of at most `tolerance`, on average over CUT_LEVELS latencies. The rise is relative, because the increase at
    the smallest latencies is many times that in the middle, where the cuts are needed.
    The latencies go from that of `smallest` (default: the smallest uniform subnet) to that of the full subnet, and stay
    fixed: tables that lose their small subnets must not appear better.
    The largest option of a stage always stays, and so does the one that skips it, which cuts nothing.
    """
    shape = tables.space.shape
    device = kinds_of_device(shape)["even"]
    smallest = smallest or min(uniform_grid(shape).values(), key=lambda one: one.parameters(shape))
    start = max(_least(tables, device), device.predict(smallest, TOKENS) - device.fixed(TOKENS))
    limits = _latencies(tables, device, CUT_LEVELS, start)

    def increases(tried: Tables) -> Floats:
        return np.array([_least_loss(tried, device, float(limit)) for limit in limits]) - tables.fixed.loss

    first = increases(tables)
    scale = np.maximum(first, np.median(first) / 10)  # the increase of the largest subnets is next to nothing
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
    """Return `count` subnets that are among the best at some latency on some device; fewer if there are no more.

    `devices`: default those of `kinds_of_device`.
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
    """Choose `size` subnets by measured loss: the Pareto fronts of all devices, then the next fronts, and so on.

    If a front has too many subnets, evenly spaced ones are taken.
    The largest subnet, the full one, is always chosen. Losses are distances from its answers, so that a smaller subnet
    can beat it by rounding alone, and all others are compared with it.
    `rivals`: subnets with measured losses. Each is chosen, or in its place a subnet of no greater loss and no longer
    time on any device; evenly spaced ones if these are more than `size`.
    Returned largest first.
    """

    def largest_first(one: Subnet) -> tuple[int, tuple[tuple[int, int], ...]]:
        return -one.parameters(shape), one.layers

    devices = devices or kinds_of_device(shape)
    times = {one: tuple(device.predict(one, TOKENS) for device in devices.values()) for one in losses}
    placed = {min(losses, key=largest_first), *(_stand_in(one, losses, times) for one in rivals)}
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
    """Return `most` evenly spaced entries of the list; all if it has no more."""
    places = np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def _stand_in(rival: Subnet, losses: Mapping[Subnet, float], times: Mapping[Subnet, tuple[float, ...]]) -> Subnet:
    """Return the subnet of least loss among those as fast as the rival on every device: the rival, or a better one."""
    faster = [one for one in losses if all(mine <= its for mine, its in zip(times[one], times[rival], strict=True))]
    return min(faster, key=lambda one: (losses[one], times[one], one.layers))


def _front(costs: Mapping[Subnet, float], losses: Mapping[Subnet, float]) -> list[Subnet]:
    """Return the Pareto front of cost and loss, the cheapest subnet first."""
    front: list[Subnet] = []
    for one in sorted(costs, key=lambda one: (costs[one], losses[one])):
        if not front or losses[one] < losses[front[-1]]:
            front.append(one)
    return front


def _times(tables: Tables, device: LatencyPredictor) -> list[list[float]]:
    """Return the time of every option of every stage."""
    shape = tables.space.shape
    return [
        [device.layers(option.layers, TOKENS, first=stage.first, of=shape.layers) for option in stage.options]
        for stage in tables.space.stages
    ]


def _least(tables: Tables, device: LatencyPredictor) -> float:
    """Return the time of the layers of the fastest subnet: at least one of them runs."""
    times = _times(tables, device)
    return max(sum(map(min, times)), min(time for stage in times for time in stage if time > 0))


def _latencies(tables: Tables, device: LatencyPredictor, levels: int, least: float) -> Floats:
    """Return latencies, shape (levels,), from layers that take `least` to the full subnet, rounded up a little."""
    full = sum(map(max, _times(tables, device)))
    limits: Floats = device.fixed(TOKENS) + np.geomspace(least * (1 + 1e-6), full * (1 + 1e-6), levels)
    return limits


def _least_loss(tables: Tables, device: LatencyPredictor, latency_ms: float) -> float:
    """Return the least summed loss of the subnets within a latency; infinite if there are none."""
    if _least(tables, device) + device.fixed(TOKENS) > latency_ms:
        return math.inf
    return tables.best(Limits(latency_ms=latency_ms, length=TOKENS), device)[0].loss


def _without(tables: Tables, place: int, option: Option) -> Tables:
    """Return the tables without one option of one stage."""
    stages = tables.space.stages
    return tables.thinned(
        [[n for n, one in enumerate(s.options) if at != place or one != option] for at, s in enumerate(stages)]
    )
