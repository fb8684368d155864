"""The latency of a layer of any size on one device, fitted to measured subnets, so that that of a subnet is a sum.

Layers of one shape cost the same wherever they are, but for the encoder's last one: where the answer is made of the
first token alone, a graph computes nothing else behind that layer's attention.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.device_profiles.latency_table import interpolate
from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import ProfileError
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.subnet import Shape, Subnet
from gearshift.runtime.tables.latency import LatencyPredictor

Size = tuple[int, int]

FEWEST_SUBNETS = 6
"""Measured subnets that a fit needs: the plane through them has four numbers."""

DEVIATION = 0.05
"""How far a layer's time is expected to lie off the plane over heads and neurons, as a share of the full layer's:
with many measured subnets the fit follows what was measured, with few it stays near the plane."""

NOISE = 0.02
"""Relative error of a measured median."""


@dataclass(frozen=True)
class LayerLatency(LatencyPredictor[Size]):
    """Milliseconds of a layer by its heads and neurons."""

    shape: EncoderShape
    precision: str
    provider: str
    threads: int
    lengths: tuple[int, ...]
    fixed_ms: tuple[float, ...]
    plane_ms: tuple[tuple[float, float, float], ...]
    """For each length: of a layer that runs, of a head and of a neuron."""
    corrections_ms: Mapping[Size, tuple[float, ...]]
    """`(heads, neurons)` that were measured -> milliseconds to be added to the plane, for each length."""
    last_ms: tuple[tuple[float, float, float], ...] = ()
    """Milliseconds to be added where it is the encoder's last layer, as `plane_ms` has it; (): nothing."""

    def layers(self, layers: tuple[Size, ...], length: int, *, first: int, of: int, first_only: bool = False) -> float:
        """Milliseconds of consecutive layers; the measured ones have the answer's tokens in them."""
        return sum(
            max(0.0, interpolate(self.lengths, self._layer(size, last=place == of - 1), length))
            for place, size in enumerate(layers, start=first)
            if size[0]
        )

    def projection(self, inputs: int, outputs: int, length: int) -> float:
        """No time: layers of an encoder have no projections between them."""
        return 0.0

    def predict(
        self, subnet: Subnet, length: int, *, shape: Shape[Size] | None = None, first_only: bool = False
    ) -> float:
        """Milliseconds of a subnet for a text of that many tokens."""
        if shape is not None:
            self.require(shape)
        return self.fixed(length) + self.layers(subnet.layers, length, first=0, of=self.shape.layers)

    def _layer(self, size: Size, *, last: bool) -> tuple[float, ...]:
        corrections = self.corrections_ms.get(size, (0.0,) * len(self.lengths))
        planes = [self.plane_ms, self.last_ms] if last and self.last_ms else [self.plane_ms]
        return tuple(
            own + sum(layer + size[0] * head + size[1] * neuron for layer, head, neuron in of_length)
            for own, *of_length in zip(corrections, *planes, strict=True)
        )


def fit_layer_latency(
    shape: EncoderShape,
    subnets: Mapping[str, Subnet],
    table: LatencyTable,
    *,
    only: Collection[str] | None = None,
) -> LayerLatency:
    """Least squares of relative errors over the measured subnets, `only` these of them where given.

    The time of a layer is a plane over heads and neurons, another one where it is the last, plus an own number for
    each size that was measured, which is held near 0. Raises ProfileError where the table is not of these subnets, or
    has too few.
    """
    names = [name for name in table.median_ms if only is None or name in only]
    strange = sorted(set(names) - subnets.keys())
    if strange:
        raise ProfileError(f"latency table of another space: no subnet {strange[0]!r} here; measure this bundle")
    if len(names) < FEWEST_SUBNETS:
        raise ProfileError(f"latency table: expected {FEWEST_SUBNETS} measured subnets or more, found {len(names)}")
    sizes = sorted({size for name in names for size in subnets[name].layers if size[0]})
    features = np.array([_features(subnets[name], sizes) for name in names])
    solutions = [
        _solve(features, np.array([table.median_ms[name][place] for name in names]), shape)
        for place in range(len(table.lengths))
    ]
    return LayerLatency(
        shape,
        table.precision,
        table.provider,
        table.threads,
        table.lengths,
        tuple(float(solution[0]) for solution in solutions),
        tuple((float(s[1]), float(s[2]), float(s[3])) for s in solutions),
        {size: tuple(float(s[PLANES + place]) for s in solutions) for place, size in enumerate(sizes)},
        tuple((float(s[4]), float(s[5]), float(s[6])) for s in solutions),
    )


PLANES = 7
"""Numbers of a fit that are no size's own: what is fixed, and two planes."""


def _features(subnet: Subnet, sizes: list[Size]) -> list[float]:
    kept = subnet.kept()
    counts = [sum((one.heads, one.neurons) == size for one in kept) for size in sizes]
    last = [one for one in kept if one.layer == len(subnet.layers) - 1]
    planes = [
        (len(layers), sum(one.heads for one in layers), sum(one.neurons for one in layers)) for layers in (kept, last)
    ]
    return [float(number) for number in (1, *planes[0], *planes[1], *counts)]


def _solve(features: NDArray[np.float64], times: NDArray[np.float64], shape: EncoderShape) -> NDArray[np.float64]:
    """Ridge regression: corrections are held near 0, by NOISE / DEVIATION of a full layer's share, and the last
    layer's plane by as much as matters where the subnets do not tell it from the others'."""
    layer = float(times.max()) / shape.layers
    count = features.shape[1]
    expected = [layer, layer / shape.heads, layer / shape.neurons, *[DEVIATION * layer] * (count - PLANES)]
    held = np.eye(count)[PLANES - 3 :] * NOISE / np.array(expected)[:, None]
    matrix = np.vstack([features / times[:, None], held])
    target = np.concatenate([np.ones(len(times)), np.zeros(len(held))])
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-30)
    solution: NDArray[np.float64] = np.linalg.lstsq(matrix / scale, target, rcond=None)[0] / scale
    return solution
