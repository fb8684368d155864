"""Symmetric int8 weights with one scale per output column.

Their zero points are 0, and are left out of a graph: the library does less where it is not given any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

WEIGHT_BITS = 7
"""Bits of a weight. Seven bits are safe on every CPU (ONNX Runtime's `reduce_range`).

On x86 without VNNI, ONNX Runtime adds pairs of u8 x s8 products in 16 bits: 2 * 255 * 127 overflows, and the answer is
silently wrong; 2 * 255 * 63 fits.
"""

TABLE_BITS = 8
"""Bits of a weight in the word table, whose rows are looked up and never multiplied as integers."""


@dataclass(frozen=True)
class Quantized:
    """Int8 matrix (in, out), with the scale of each column."""

    values: Array
    scales: Array


def quantize(matrix: Array, *, bits: int = WEIGHT_BITS) -> Quantized:
    """Round each column to `bits` bits, with its largest magnitude at the largest integer; zero stays exact."""
    limit = 2 ** (bits - 1) - 1
    largest = np.abs(matrix).max(axis=0)
    scales = np.where(largest > 0, largest / limit, 1).astype(np.float32)
    values = np.clip(np.rint(matrix / scales), -limit, limit).astype(np.int8)
    return Quantized(values, scales)
