"""Latency of elastic layers by heads and neurons on one device, fitted to measured subnets.

A layer costs the same at every place in the encoder except the last: if the answer needs the first token alone, the
graph computes nothing else after the attention of the last layer.
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
"""(heads, neurons) of a layer."""

FEWEST_SUBNETS = 6
"""Fewest measured subnets for a fit: the plane through them has four coefficients."""

DEVIATION = 0.05
"""Expected deviation of a layer's time from the plane over heads and neurons, as a share of the full layer's time.
With many measured subnets the fit follows the measurements; with few it stays near the plane."""

NOISE = 0.02
"""Relative error of a measured median."""


@dataclass(frozen=True)
class LayerLatency(LatencyPredictor[Size]):
    """Latency predictor for elastic layers: time in ms of a layer by its heads and neurons."""

    shape: EncoderShape
    precision: str
    provider: str
    threads: int
    lengths: tuple[int, ...]
    fixed_ms: tuple[float, ...]
    plane_ms: tuple[tuple[float, float, float], ...]
    """Time of a running layer by itself, of each head and of each neuron, for each length."""
    corrections_ms: Mapping[Size, tuple[float, ...]]
    """Measured `(heads, neurons)` -> ms to add to the plane, for each length."""
    last_ms: tuple[tuple[float, float, float], ...] = ()
    """Plane to add for the last layer of the encoder, as `plane_ms`; (): none."""

    def layers(self, layers: tuple[Size, ...], length: int, *, first: int, of: int, first_only: bool = False) -> float:
        """Return the time in ms of consecutive layers.

        `first_only` is ignored: the measured times already reflect the tokens that the answer needs.
        """
        return sum(
            max(0.0, interpolate(self.lengths, self._layer(size, last=place == of - 1), length))
            for place, size in enumerate(layers, start=first)
            if size[0]
        )

    def projection(self, inputs: int, outputs: int, length: int) -> float:
        """Return 0: an encoder has no projections between its layers."""
        return 0.0

    def predict(
        self, subnet: Subnet, length: int, *, shape: Shape[Size] | None = None, first_only: bool = False
    ) -> float:
        """Predict the latency in ms of a subnet for a text of `length` tokens."""
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
    """Fit by least squares of relative errors over the measured subnets; `only`: names of those to use.

    The time of a layer is a plane over heads and neurons, a second plane if it is the last, and a correction for each
    measured (heads, neurons), held near 0. Raises ProfileError if the table has other subnets, or too few.
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
"""Coefficients of a fit before the corrections: the fixed time, and two planes of three."""


def _features(subnet: Subnet, sizes: list[Size]) -> list[float]:
    kept = subnet.kept()
    counts = [sum((one.heads, one.neurons) == size for one in kept) for size in sizes]
    last = [one for one in kept if one.layer == len(subnet.layers) - 1]
    planes = [
        (len(layers), sum(one.heads for one in layers), sum(one.neurons for one in layers)) for layers in (kept, last)
    ]
    return [float(number) for number in (1, *planes[0], *planes[1], *counts)]


def _solve(features: NDArray[np.float64], times: NDArray[np.float64], shape: EncoderShape) -> NDArray[np.float64]:
    """Solve the ridge regression.

    Corrections are held near 0 with weight NOISE / (DEVIATION x time of a full layer). The plane of the last layer is
    held near 0 more weakly, so that it matters only if the subnets do not tell the last layer from the others.
    """
    layer = float(times.max()) / shape.layers
    count = features.shape[1]
    expected = [layer, layer / shape.heads, layer / shape.neurons, *[DEVIATION * layer] * (count - PLANES)]
    held = np.eye(count)[PLANES - 3 :] * NOISE / np.array(expected)[:, None]
    matrix = np.vstack([features / times[:, None], held])
    target = np.concatenate([np.ones(len(times)), np.zeros(len(held))])
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-30)
    solution: NDArray[np.float64] = np.linalg.lstsq(matrix / scale, target, rcond=None)[0] / scale
    return solution
