"""Latency of each operation at each hidden size on one device, fitted to measured subnets of mixed operations.

NAS-BERT times operations one by one and adds them up (section 3.4). Timed alone, an operation costs less than within a
net. Here nets of few and of many operations are timed, and the cost of one more operation is fitted.

A net that answers from its first token alone, such as a classifier, computes no other token from the last operation on
that reads other tokens (`export.graph.mixed`). The time of these operations is not measured but derived: at a few
tokens, an operation lies on the line through the two shortest measured lengths; attention still computes the keys and
values of all tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gearshift.device_profiles.latency_table import interpolate
from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import ProfileError
from gearshift.runtime.space.blocks import Block, BlockShape
from gearshift.runtime.space.parts import KERNELS, ROUNDS
from gearshift.runtime.space.subnet import Shape, Subnet
from gearshift.runtime.tables.latency import LatencyPredictor

Cell = tuple[int, str]
"""(hidden size, operation)."""


@dataclass(frozen=True)
class OperationLatency(LatencyPredictor[Block]):
    """Latency predictor for nets of blocks: time in ms of each operation by hidden size."""

    shape: BlockShape
    precision: str
    provider: str
    threads: int
    lengths: tuple[int, ...]
    fixed_ms: tuple[float, ...]
    projection_ms: tuple[tuple[float, float], ...]
    """Time of a projection by itself, and of a million of its MACs, for each length."""
    operations_ms: Mapping[Cell, tuple[float, ...]]
    """(hidden size, operation) -> time of the operation with its norm, for each length."""

    def operation(self, hidden: int, name: str, length: int) -> float:
        """Return the time in ms of an operation; raises ProfileError if it was not measured."""
        times = self.operations_ms.get((hidden, name))
        if times is None:
            sizes = sorted({size for size, _ in self.operations_ms})
            raise ProfileError(
                f"latencies of another space: no {name} at hidden size {hidden}, only sizes "
                f"{', '.join(map(str, sizes))}; measure a bundle that has it"
            )
        return max(0.0, interpolate(self.lengths, times, length))

    def of_first(self, hidden: int, name: str, length: int) -> float:
        """Return the time in ms of an operation that computes the first token alone, in a text of `length` tokens."""
        whole = self.operation(hidden, name, length)
        if name == "attention":
            one = self._of_few(hidden, name, 1)
            return min(whole, one + (whole - one) * hidden / (2 * hidden + length))  # share of keys and values
        return min(whole, self._of_few(hidden, name, 1 + ROUNDS * (KERNELS.get(name, 0) // 2)))

    def _of_few(self, hidden: int, name: str, tokens: int) -> float:
        """Extrapolate to fewer tokens than were measured; with a single measured length, return its time."""
        times = self.operations_ms[hidden, name]
        if len(times) == 1:
            return times[0]
        slope = (times[1] - times[0]) / (self.lengths[1] - self.lengths[0])
        return max(0.0, times[0] + max(0.0, slope) * (tokens - self.lengths[0]))

    def block(self, block: Block, length: int, *, first_only: bool = False) -> float:
        """Return the time in ms of the operations of a block; `first_only`: the answer needs its first token alone."""
        names = block.operations
        looking = [place for place, name in enumerate(names) if name != "ffn"]
        start = (looking[-1] if looking else 0) if first_only else len(names)
        return sum(
            (self.of_first if place >= start else self.operation)(block.hidden, name, length)
            for place, name in enumerate(names)
        )

    def projection(self, inputs: int, outputs: int, length: int) -> float:
        """Return the time in ms of a projection; 0 if none is needed."""
        if inputs == outputs:
            return 0.0
        each, product = (interpolate(self.lengths, column, length) for column in zip(*self.projection_ms, strict=True))
        return max(0.0, each + product * inputs * outputs * length / 1e6)

    def layers(self, layers: tuple[Block, ...], length: int, *, first: int, of: int, first_only: bool = False) -> float:
        """Return the time in ms of consecutive blocks."""
        return sum(
            self.block(block, length, first_only=first_only and place == of - 1)
            for place, block in enumerate(layers, start=first)
        )

    def predict(
        self, subnet: Subnet[Block], length: int, *, shape: Shape[Block] | None = None, first_only: bool = False
    ) -> float:
        """Predict the latency in ms of a net for a text of `length` tokens."""
        shape = shape or self.shape
        self.require(shape)
        total = self.fixed(length)
        total += sum(self.projection(*pair, length) for pair in shape.joints(subnet.widths(shape)))
        *inner, last = subnet.layers
        return total + sum(self.block(one, length) for one in inner) + self.block(last, length, first_only=first_only)


SWITCH_MS = 0.0011
"""Time in ms of one option that is not taken, measured on an x86-64 server core (AMD EPYC, 2026). It adds up in a graph
of many options."""


def fit_operation_latency(
    shape: BlockShape, subnets: Mapping[str, Subnet[Block]], table: LatencyTable, *, switches: int = 0
) -> OperationLatency:
    """Fit by least squares of relative errors over the measured subnets.

    `switches`: number of options of the measured graph. A standalone net has none, and their time, SWITCH_MS each, is
    subtracted; on a slower device they take longer than that. Raises ProfileError if the table has other subnets, or if
    these do not determine all operations.
    """
    names = list(table.median_ms)
    strange = sorted(set(names) - subnets.keys())
    if strange:
        raise ProfileError(f"latency table of another space: no subnet {strange[0]!r} here; measure this bundle")
    cells = sorted({(b.hidden, o) for name in names for b in subnets[name].layers for o in b.operations})
    counts = np.array([_counts(subnets[name], shape, cells) for name in names])
    known = np.delete(counts, [PRODUCTS - 1, PRODUCTS], axis=1)
    if np.linalg.matrix_rank(known) < known.shape[1]:
        raise ProfileError(
            f"latency table: {len(names)} subnets do not tell {len(cells)} operations and the fixed time apart; "
            "measure a bundle of `gearshift nas-operations`"
        )
    solutions = []
    for place, length in enumerate(table.lengths):
        times = np.array([table.median_ms[name][place] for name in names])
        features = counts * np.where(np.arange(counts.shape[1]) == PRODUCTS, length, 1)
        matrix = features / times[:, None]
        scale = np.maximum(np.abs(matrix).max(axis=0), 1e-30)
        # With only two widths, a projection's own time and that of its products are collinear: each gets a share.
        solutions.append(np.linalg.lstsq(matrix / scale, np.ones(len(times)), rcond=1e-9)[0] / scale)
    return OperationLatency(
        shape,
        table.precision,
        table.provider,
        table.threads,
        table.lengths,
        tuple(float(s[0]) - switches * SWITCH_MS for s in solutions),
        tuple((float(s[1]), float(s[PRODUCTS])) for s in solutions),
        {cell: tuple(float(s[PRODUCTS + 1 + number]) for s in solutions) for number, cell in enumerate(cells)},
    )


PRODUCTS = 2
"""Index of the products of projections among the coefficients."""


def _counts(subnet: Subnet[Block], shape: BlockShape, cells: list[Cell]) -> list[float]:
    """Return the features of a subnet: 1, projections, their million MACs per token, operations of each cell."""
    pairs = [(one, other) for one, other in shape.joints(subnet.widths(shape)) if one != other]
    found = [(block.hidden, name) for block in subnet.layers for name in block.operations]
    return [
        1.0,
        float(len(pairs)),
        sum(one * other for one, other in pairs) / 1e6,
        *map(float, map(found.count, cells)),
    ]
