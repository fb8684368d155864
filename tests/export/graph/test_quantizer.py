"""Coarse weights: their steps, the making up for errors, and the graph of a net with them."""

import numpy as np
import pytest

from gearshift.export.graph.quantizer import CoarseQuantizer, Quantizer, corrected
from gearshift.export.graph.segments import Array
from gearshift.runtime.graph.quantize import quantize

RANDOM = np.random.default_rng(0)
HEAD_SIZE = 8


def inputs(tokens: int, size: int) -> Array:
    """Return inputs of which one is large and all depend on few others."""
    mixed = RANDOM.normal(size=(tokens, 8)) @ RANDOM.normal(size=(8, size))
    mixed[:, 3] += 5
    return mixed


def quantizer(step: float, given: Array) -> CoarseQuantizer:
    products = given.T @ given / len(given)
    return CoarseQuantizer(step, {"layers.0.query": products, "layers.0.ffn_out": products}, HEAD_SIZE)


def test_errors_of_a_matrix_are_made_up_for() -> None:
    given, matrix = inputs(500, 32), RANDOM.normal(size=(32, 24)).astype(np.float32)
    made = quantizer(0.4, given).matrix("layer0.heads0.qkv", matrix)
    nearest = np.rint(matrix / made.scales) * made.scales
    errors = [np.abs(given @ (found - matrix)).mean() for found in (made.values * made.scales, nearest)]
    assert errors[0] < errors[1] / 2
    assert np.allclose(made.scales, 0.4 * np.sqrt(np.square(matrix).mean(0)), rtol=1e-5)


def test_a_segment_is_made_up_for_within_its_own_rows() -> None:
    given = inputs(500, 32)
    matrix = RANDOM.normal(size=(20, 24)).astype(np.float32)
    made = quantizer(0.4, given).matrix("layer0.neurons12.out", matrix)
    products = given.T @ given / len(given)
    wanted = corrected(matrix, made.scales, products[12:, 12:])
    assert (made.values == wanted).all()


def test_a_matrix_of_another_kind_is_rounded_to_the_nearest_step() -> None:
    matrix = RANDOM.normal(size=(32, 24)).astype(np.float32)
    made = quantizer(0.4, inputs(500, 32)).matrix("pooler", matrix)
    assert np.abs(made.values * made.scales - matrix).max() <= made.scales.max() / 2 * 1.0001


def test_weights_stay_within_the_bits_that_are_safe_on_every_cpu() -> None:
    """A column with an outlier gets larger steps, so that it fits."""
    matrix = RANDOM.normal(size=(32, 24)).astype(np.float32)
    matrix[5, 7] = 1000
    made = quantizer(0.01, inputs(500, 32)).matrix("layer0.heads0.qkv", matrix)
    assert made.values.dtype == np.int8
    assert np.abs(made.values).max() <= 63


@pytest.mark.parametrize("step", [0.3, 0.5])
def test_rows_of_a_table_share_one_step(step: float) -> None:
    table = RANDOM.normal(size=(50, 16)).astype(np.float32) * RANDOM.uniform(0.5, 2, size=(50, 1)).astype(np.float32)
    made = quantizer(step, inputs(500, 32)).table(table)
    assert made.values.shape == (16, 50)
    assert np.allclose(made.scales, step * np.sqrt(np.square(table).mean()), rtol=1e-5)
    assert np.abs((made.values * made.scales).T - table).max() <= made.scales[0] / 2 * 1.0001


def test_inputs_that_are_always_0_change_nothing() -> None:
    matrix = RANDOM.normal(size=(4, 3)).astype(np.float32)
    scales = np.full(3, 0.4, np.float32)
    assert (corrected(matrix, scales, np.zeros((4, 4))) == np.rint(matrix / scales)).all()


def test_the_finest_steps_are_those_of_the_runtime() -> None:
    matrix = RANDOM.normal(size=(32, 24)).astype(np.float32)
    made, wanted = Quantizer().matrix("layer0.heads0.qkv", matrix), quantize(matrix)
    assert (made.values == wanted.values).all()
    assert (made.scales == wanted.scales).all()
