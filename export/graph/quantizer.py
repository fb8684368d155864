"""Quantisers of the weights of an int8 graph: fine steps, or coarse ones, of which a compressed bundle is smaller.

Coarse steps are of one size for a whole column: the codes of a compressed file then take some three bits a weight.
Blocks of 32 weights of 4 bits each, with a scale, would take more for the same error, and a form of their own on the
device (`benchmarks.training.weight_bits`). What is unpacked is an int8 graph as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gearshift.export.graph.segments import Array
from gearshift.runtime.graph.quantize import TABLE_BITS, WEIGHT_BITS, Quantized, quantize
from gearshift.runtime.graph.segments import segment_of

MOST_STEP = 1.0
"""Largest step, as a share of the root mean square: two bits a weight, with which no net that was tried answers."""

DAMPING = 0.01
"""Share of the mean diagonal that is added to the products of inputs, as in GPTQ (Frantar et al. 2022)."""


class Quantizer:
    """Quantiser in the finest steps that int8 has."""

    def matrix(self, name: str, matrix: Array) -> Quantized:
        """Return the integers of a matrix (in, out) that is multiplied, with the scale of each column."""
        return quantize(matrix)

    def table(self, table: Array) -> Quantized:
        """Return the integers of a table's rows, as columns, with the scale of each."""
        return quantize(table.T, bits=TABLE_BITS)


@dataclass(frozen=True)
class CoarseQuantizer(Quantizer):
    """Quantiser in steps of a share of the root mean square, whose errors later rows of a matrix make up for.

    A row of a matrix is rounded, and the rows behind it are changed so that the products of typical inputs stay as they
    were (GPTQ, with the rows of the largest inputs first). Rows of other segments are left alone: a subnet may lack
    them.
    """

    step: float
    inputs: Mapping[str, Array]
    """Name of a linear layer -> mean product of its inputs with each other, (in, in), over typical tokens."""
    head_size: int

    def matrix(self, name: str, matrix: Array) -> Quantized:
        """Return the integers as `Quantizer.matrix` does."""
        products = self._products(name, len(matrix))
        root = np.sqrt(np.square(matrix, dtype=np.float64).mean(0))
        scales = _steps(matrix, self.step * root, WEIGHT_BITS)
        values = _rounded(matrix, scales) if products is None else corrected(matrix, scales, products)
        return Quantized(_clipped(values, WEIGHT_BITS), scales)

    def table(self, table: Array) -> Quantized:
        """Return the integers as `Quantizer.table` does, in steps of one size for all rows: they meet in sums."""
        root = np.sqrt(np.square(table, dtype=np.float64).mean())
        scales = _steps(table.T, np.full(len(table), self.step * root), TABLE_BITS)
        return Quantized(_clipped(_rounded(table.T, scales), TABLE_BITS), scales)

    def _products(self, name: str, rows: int) -> Array | None:
        """Return the products of the inputs of a segment's matrix; None for a matrix of another kind."""
        found = segment_of(name)
        if found is None:
            return None
        (run, start), part = found
        layer = run.partition(".")[0].replace("layer", "layers.")
        first = {"output": start * self.head_size, "out": start}.get(part, 0)
        whole = self.inputs[f"{layer}.{LINEAR[part]}"]
        return whole[first : first + rows, first : first + rows]


LINEAR = {"qkv": "query", "output": "attention_output", "in": "ffn_in", "out": "ffn_out"}
"""Part of a segment -> linear layer of the model that has its inputs."""


def corrected(matrix: Array, scales: Array, products: Array) -> Array:
    """Round a matrix (in, out) row by row, each error made up for by the rows that are not rounded yet.

    `products`: mean products of inputs, (in, in). Returns whole numbers of steps, in floats.
    """
    order = np.argsort(-np.diag(products), kind="stable")
    damped = products + DAMPING * np.trace(products) / len(products) * np.eye(len(products))
    if not np.trace(products) > 0:  # inputs that are always 0
        return _rounded(matrix, scales)
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left = matrix[order].astype(np.float64)
    found = np.zeros_like(left)
    for row in range(len(left)):
        found[row] = np.rint(left[row] / scales)
        error = (left[row] - found[row] * scales) / upper[row, row]
        left[row + 1 :] -= np.outer(upper[row, row + 1 :], error)
    values = np.empty_like(found)
    values[order] = found
    return values


def _steps(matrix: Array, wanted: Array, bits: int) -> Array:
    """Return the steps that are wanted, or larger ones where int8 would not reach the largest weight of a column."""
    limit = 2 ** (bits - 1) - 1
    steps = np.maximum(wanted, np.abs(matrix).max(0) / limit)
    return np.where(steps > 0, steps, 1).astype(np.float32)


def _rounded(matrix: Array, scales: Array) -> Array:
    rounded: Array = np.rint(matrix / scales)
    return rounded


def _clipped(values: Array, bits: int) -> Array:
    limit = 2 ** (bits - 1) - 1
    return np.clip(values, -limit, limit).astype(np.int8)
