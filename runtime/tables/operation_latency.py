"""The latency of each operation at each hidden size on one device, fitted to measured subnets of mixed operations.

NAS-BERT times operations one by one and adds them up (section 3.4). Timed alone an operation costs less than within a
net, so that here nets of few and of many operations are timed, and what one more of them costs is fitted.

A net that answers from its first token alone, as those do that classify, computes nothing else from the last operation
on that looks at other tokens (`export.mixed`). What that takes is not measured, but follows from what is: operations
of a few tokens lie on the line through the two shortest lengths; attention takes the keys and values of all tokens.
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
"""Hidden size, operation."""


@dataclass(frozen=True)
class OperationLatency(LatencyPredictor[Block]):
    """Milliseconds of an operation by its hidden size."""

    shape: BlockShape
    precision: str
    provider: str
    threads: int
    lengths: tuple[int, ...]
    fixed_ms: tuple[float, ...]
    projection_ms: tuple[tuple[float, float], ...]
    """For each length: of a projection whatever its widths, and of a million of its multiply-accumulates."""
    operations_ms: Mapping[Cell, tuple[float, ...]]
    """For each length: of an operation with its norm."""

    def operation(self, hidden: int, name: str, length: int) -> float:
        """Milliseconds of one operation; raises ProfileError where it was not measured."""
        times = self.operations_ms.get((hidden, name))
        if times is None:
            sizes = sorted({size for size, _ in self.operations_ms})
            raise ProfileError(
                f"latencies of another space: no {name} at hidden size {hidden}, only sizes "
                f"{', '.join(map(str, sizes))}; measure a bundle that has it"
            )
        return max(0.0, interpolate(self.lengths, times, length))

    def of_first(self, hidden: int, name: str, length: int) -> float:
        """Milliseconds of one operation of which the first token's state alone is wanted, in a text of that length."""
        whole = self.operation(hidden, name, length)
        if name == "attention":
            one = self._of_few(hidden, name, 1)
            return min(whole, one + (whole - one) * hidden / (2 * hidden + length))  # products that are left
        return min(whole, self._of_few(hidden, name, 1 + ROUNDS * (KERNELS.get(name, 0) // 2)))

    def _of_few(self, hidden: int, name: str, tokens: int) -> float:
        """Of fewer tokens than were measured; what one length alone says nothing about stays as it is."""
        times = self.operations_ms[hidden, name]
        if len(times) == 1:
            return times[0]
        slope = (times[1] - times[0]) / (self.lengths[1] - self.lengths[0])
        return max(0.0, times[0] + max(0.0, slope) * (tokens - self.lengths[0]))

    def block(self, block: Block, length: int, *, first_only: bool = False) -> float:
        """Milliseconds of the operations of a block; `first_only`: of one whose first token alone is answered from."""
        names = block.operations
        looking = [place for place, name in enumerate(names) if name != "ffn"]
        start = (looking[-1] if looking else 0) if first_only else len(names)
        return sum(
            (self.of_first if place >= start else self.operation)(block.hidden, name, length)
            for place, name in enumerate(names)
        )

    def projection(self, inputs: int, outputs: int, length: int) -> float:
        """Milliseconds of a projection; 0 where none is needed."""
        if inputs == outputs:
            return 0.0
        each, product = (interpolate(self.lengths, column, length) for column in zip(*self.projection_ms, strict=True))
        return max(0.0, each + product * inputs * outputs * length / 1e6)

    def layers(self, layers: tuple[Block, ...], length: int, *, first: int, of: int, first_only: bool = False) -> float:
        """Milliseconds of consecutive blocks."""
        return sum(
            self.block(block, length, first_only=first_only and place == of - 1)
            for place, block in enumerate(layers, start=first)
        )

    def predict(
        self, subnet: Subnet[Block], length: int, *, shape: Shape[Block] | None = None, first_only: bool = False
    ) -> float:
        """Milliseconds of a net for a text of that many tokens."""
        shape = shape or self.shape
        self.require(shape)
        total = self.fixed(length)
        total += sum(self.projection(*pair, length) for pair in shape.joints(subnet.widths(shape)))
        *inner, last = subnet.layers
        return total + sum(self.block(one, length) for one in inner) + self.block(last, length, first_only=first_only)


SWITCH_MS = 0.0011
"""Of one option that is not taken, as measured on an x86-64 server core (AMD EPYC, 2026): a graph of many has many."""


def fit_operation_latency(
    shape: BlockShape, subnets: Mapping[str, Subnet[Block]], table: LatencyTable, *, switches: int = 0
) -> OperationLatency:
    """Least squares of relative errors over the measured subnets; raises ProfileError where the table has others.

    `switches`: options of the graph that was measured. A net that stands alone has none, so that what they take is
    left out; on a slower device that is less than they take there.
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
            f"latency table: {len(names)} subnets do not tell {len(cells)} operations and what is fixed apart; "
            "measure a bundle of `gearshift nas-operations`"
        )
    solutions = []
    for place, length in enumerate(table.lengths):
        times = np.array([table.median_ms[name][place] for name in names])
        features = counts * np.where(np.arange(counts.shape[1]) == PRODUCTS, length, 1)
        matrix = features / times[:, None]
        scale = np.maximum(np.abs(matrix).max(axis=0), 1e-30)
        # Of two widths, what a projection takes and what its products take cannot be told apart: both get a share.
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
"""Place of the products of projections among the numbers that are fitted."""


def _counts(subnet: Subnet[Block], shape: BlockShape, cells: list[Cell]) -> list[float]:
    """1, projections, millions of their products with one token, and operations of each cell."""
    pairs = [(one, other) for one, other in shape.joints(subnet.widths(shape)) if one != other]
    found = [(block.hidden, name) for block in subnet.layers for name in block.operations]
    return [
        1.0,
        float(len(pairs)),
        sum(one * other for one, other in pairs) / 1e6,
        *map(float, map(found.count, cells)),
    ]
