"""Seven-bit weights with a scale for each output column."""

import numpy as np
import pytest

from gearshift.runtime.graph.quantize import WEIGHT_BITS, quantize

MATRIX = np.random.default_rng(0).normal(size=(48, 20)).astype(np.float32) * np.geomspace(1e-3, 1e3, 20)
MATRIX = MATRIX.astype(np.float32)


def test_weights_use_seven_bits_and_all_of_them() -> None:
    assert WEIGHT_BITS == 7
    values = quantize(MATRIX).values
    assert values.dtype == np.int8
    assert np.abs(values).max() == 63
    assert (np.abs(values).max(axis=0) == 63).all()  # every column, however small its numbers


def test_two_products_of_the_largest_values_fit_in_sixteen_bits() -> None:
    largest_weight = int(np.abs(quantize(MATRIX).values).max())
    assert 2 * 255 * largest_weight <= np.iinfo(np.int16).max
    assert 2 * 255 * int(np.abs(quantize(MATRIX, bits=8).values).max()) > np.iinfo(np.int16).max


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_no_weight_is_off_by_more_than_half_a_step_of_its_own_column(bits: int) -> None:
    packed = quantize(MATRIX, bits=bits)
    step = np.abs(MATRIX).max(axis=0) / (2 ** (bits - 1) - 1)
    back = packed.values.astype(np.float64) * packed.scales
    assert packed.scales == pytest.approx(step, rel=1e-6)
    assert (np.abs(back - MATRIX) <= step * 0.5001).all()


def test_zero_stays_zero_and_nothing_is_shifted() -> None:
    matrix = MATRIX.copy()
    matrix[::3] = 0
    packed = quantize(matrix)
    assert (packed.values[::3] == 0).all()
    assert np.array_equal(quantize(-matrix).values, -packed.values)


def test_a_column_of_zeros_can_be_stored() -> None:
    matrix = MATRIX.copy()
    matrix[:, 4] = 0
    packed = quantize(matrix)
    assert (packed.values[:, 4] == 0).all()
    assert np.isfinite(packed.scales).all()
    assert (packed.scales > 0).all()


def test_there_is_one_scale_for_each_column() -> None:
    packed = quantize(MATRIX)
    assert packed.values.shape == MATRIX.shape
    assert packed.scales.shape == (20,)
    assert packed.scales.dtype == np.float32
