"""The latency of each operation at each hidden size on one device, fitted to measured subnets of mixed operations.

NAS-BERT times operations one by one and adds them up (section 3.4). Timed alone an operation costs less than within a
net, so that here nets of few and of many operations are timed, and what one more of them costs is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.block_latency import between
from gearshift.runtime.errors import ProfileError
from gearshift.runtime.mixed import MixedShape, MixedSubnet

Cell = tuple[int, str]
"""Hidden size, operation."""


@dataclass(frozen=True)
class OperationLatency:
    """Milliseconds of what nets of mixed operations are made of."""

    head_size: int
    expansion: int
    precision: str
    provider: str
    threads: int
    lengths: tuple[int, ...]
    fixed_ms: tuple[float, ...]
    """What every net costs, for each length: embeddings, head and the call itself."""
    product_ms: tuple[float, ...]
    """For each length: of a million multiply-accumulates of a projection."""
    operations_ms: Mapping[Cell, tuple[float, ...]]
    """For each length: of an operation with its norm."""

    def fixed(self, length: int) -> float:
        """Milliseconds of what is in every net, its projections apart."""
        return max(0.0, between(self.lengths, self.fixed_ms, length))

    def operation(self, hidden: int, name: str, length: int) -> float:
        """Milliseconds of one operation; raises ProfileError where it was not measured."""
        times = self.operations_ms.get((hidden, name))
        if times is None:
            sizes = sorted({size for size, _ in self.operations_ms})
            raise ProfileError(
                f"latencies of another space: no {name} at hidden size {hidden}, only sizes "
                f"{', '.join(map(str, sizes))}; measure a bundle that has it"
            )
        return max(0.0, between(self.lengths, times, length))

    def projection(self, inputs: int, outputs: int, length: int) -> float:
        """Milliseconds of a projection; 0 where none is needed."""
        if inputs == outputs:
            return 0.0
        return max(0.0, between(self.lengths, self.product_ms, length)) * inputs * outputs * length / 1e6

    def predict(self, subnet: MixedSubnet, shape: MixedShape, length: int) -> float:
        """Milliseconds of a net for a text of that many tokens."""
        total = self.fixed(length)
        total += sum(self.projection(*pair, length) for pair in subnet.projections(shape))
        return total + sum(self.operation(b.hidden, name, length) for b in subnet.blocks for name in b.operations)


def fit_operation_latency(
    shape: MixedShape, subnets: Mapping[str, MixedSubnet], table: LatencyTable
) -> OperationLatency:
    """Least squares of relative errors over the measured subnets; raises ProfileError where the table has others."""
    names = list(table.median_ms)
    strange = sorted(set(names) - subnets.keys())
    if strange:
        raise ProfileError(f"latency table of another space: no subnet {strange[0]!r} here; measure this bundle")
    cells = sorted({(b.hidden, o) for name in names for b in subnets[name].blocks for o in b.operations})
    counts = np.zeros((len(names), 2 + len(cells)))
    for row, name in enumerate(names):
        subnet = subnets[name]
        counts[row, 0] = 1
        counts[row, 1] = sum(one * other for one, other in subnet.projections(shape) if one != other) / 1e6
        for block in subnet.blocks:
            for operation in block.operations:
                counts[row, 2 + cells.index((block.hidden, operation))] += 1
    if np.linalg.matrix_rank(counts) < counts.shape[1]:
        raise ProfileError(
            f"latency table: {len(names)} subnets do not tell {len(cells)} operations apart; measure more of them"
        )
    solutions = []
    for place, length in enumerate(table.lengths):
        times = np.array([table.median_ms[name][place] for name in names])
        features = counts * np.where(np.arange(counts.shape[1]) == 1, length, 1)
        solutions.append(np.linalg.lstsq(features / times[:, None], np.ones(len(times)), rcond=None)[0])
    columns = np.array(solutions).T
    return OperationLatency(
        shape.head_size,
        shape.expansion,
        table.precision,
        table.provider,
        table.threads,
        table.lengths,
        tuple(map(float, columns[0])),
        tuple(map(float, columns[1])),
        {cell: tuple(map(float, columns[2 + number])) for number, cell in enumerate(cells)},
    )
