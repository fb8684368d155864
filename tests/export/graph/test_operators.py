"""The two halves of a layer, one precision at a time, against numpy."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from gearshift.export.graph.builder import GraphBuilder
from gearshift.export.graph.operators import RECIPES
from gearshift.export.graph.recipe import View
from gearshift.export.graph.segments import Array, LayerSegments, cut_layer
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS, PRECISIONS
from gearshift.runtime.space.space import Option, Space, Stage
from tests.export.int8_oracle import attention, gelu, quantized_matmul
from tests.trainer.tiny import SHAPE, random_model

STEP = 2**-6
WEIGHTS = {name: tensor.numpy() for name, tensor in random_model().state_dict().items()}
ALL = Option(((4, 64),))
SPACES = {
    1: Space(SHAPE, tuple(Stage(layer, (ALL,)) for layer in range(4))),
    3: Space(SHAPE, tuple(Stage(layer, (ALL, Option(((1, 5),)), Option(((2, 40),)))) for layer in range(4))),
}
MASK = np.array([[1] * 6, [1] * 2 + [0] * 4])
GRID_VALUES = np.random.default_rng(0).integers(-200, 200, (2, 6, SHAPE.hidden))
HIDDEN = GRID_VALUES * STEP


def compute(path: Path, precision: str, half: str, layer: LayerSegments) -> Array:
    """Return what the recipe's terms add up to, with optimisation off; the input comes in as integers."""
    builder = GraphBuilder()
    root = builder.root
    numbers = root.value("Cast", [builder.input("numbers", ("batch", "tokens", SHAPE.hidden))], to=1)
    hidden = root.value("Mul", [numbers, builder.weight("step", np.array(STEP, np.float32))])
    mask = root.value("Cast", [builder.input("mask", ("batch", "tokens"))], to=6)
    recipe = RECIPES[precision]
    if half == "attention":
        terms = recipe.attention(
            root, hidden, View(mask), layer.heads, layer.attention_bias, "bias", lambda _, value: value
        )
    else:
        terms = recipe.ffn(root, hidden, layer.neurons, layer.ffn_bias, "bias")
    builder.output(root.value("Sum", terms), "sum", ("batch", "tokens", SHAPE.hidden))
    builder.save(path)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # the mask is not read by the FFN
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["sum"], {"numbers": GRID_VALUES, "mask": MASK})[0])


def expected(precision: str, half: str, layer: LayerSegments) -> Array:
    exact = precision == "fp32"
    total: Array = np.zeros_like(HIDDEN) + (layer.attention_bias if half == "attention" else layer.ffn_bias)

    def multiply(value: Array, matrix: Array) -> Array:
        product: Array = value @ matrix if exact else quantized_matmul(value, matrix.astype(np.float64))
        return product

    if half == "attention":
        for head in layer.heads:
            qkv = head.qkv.astype(np.float64)
            assert head.qkv_bias is not None
            context = attention(HIDDEN, MASK, qkv, head.qkv_bias, SHAPE.head_size, exact=exact)
            total = total + multiply(context, head.output)
    else:
        for neuron in layer.neurons:
            total = total + multiply(gelu(multiply(HIDDEN, neuron.ffn_in) + neuron.ffn_in_bias), neuron.ffn_out)
    return total


def test_there_is_a_recipe_for_every_precision() -> None:
    assert tuple(RECIPES) == PRECISIONS


@pytest.mark.parametrize("segments", SPACES)
@pytest.mark.parametrize("half", ["attention", "ffn"])
@pytest.mark.parametrize("precision", CPU_PRECISIONS)
def test_a_half_layer_computes_its_formula(tmp_path: Path, precision: str, half: str, segments: int) -> None:
    layer = cut_layer(WEIGHTS, SPACES[segments], 2)
    assert len(layer.heads) == len(layer.neurons) == segments
    found = compute(tmp_path / "half.onnx", precision, half, layer)
    wanted = expected(precision, half, layer)
    assert found.shape == wanted.shape
    # One activation in a thousand may round the other way in int8, by 1/255 of its range.
    limit = 1e-5 if precision == "fp32" else 0.02 * wanted.std()
    assert np.abs(found - wanted).max() < limit
    assert np.abs(found - wanted).mean() < 1e-3 * wanted.std()


@pytest.mark.parametrize("half", ["attention", "ffn"])
def test_int8_is_not_fp32_under_another_name(tmp_path: Path, half: str) -> None:
    layer = cut_layer(WEIGHTS, SPACES[1], 2)
    found = {precision: compute(tmp_path / f"{precision}.onnx", precision, half, layer) for precision in CPU_PRECISIONS}
    difference = np.abs(found["int8"] - found["fp32"]).mean() / found["fp32"].std()
    assert 0.002 < difference < 0.05


def test_the_int8_word_table_is_stored_in_a_quarter_of_the_bytes_and_half_a_step_near(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32) * np.geomspace(1e-3, 1e3, 50)[:, None]
    table = table.astype(np.float32)
    table[7] = 0  # as the row of the padding may be
    found = {}
    for precision in CPU_PRECISIONS:
        builder = GraphBuilder()
        ids = builder.input("ids", ("batch", "tokens"))
        value = RECIPES[precision].lookup(builder.root, "words", table, ids)
        builder.output(value, "rows", ("batch", "tokens", 64))
        builder.save(tmp_path / f"{precision}.onnx")
        session = ort.InferenceSession(str(tmp_path / f"{precision}.onnx"), providers=["CPUExecutionProvider"])
        (found[precision],) = session.run(None, {"ids": np.arange(50)[None]})
    assert (found["fp32"][0] == table).all()
    step = np.abs(table).max(axis=1, keepdims=True) / 127
    assert (np.abs(found["int8"][0] - table) <= step * 0.5001).all()
    assert (found["int8"] != found["fp32"]).any()
    wide, narrow = ((tmp_path / f"{precision}.weights").stat().st_size for precision in ("fp32", "int8"))
    assert narrow == 50 * 64 < wide / 3.9  # the scales of so small a table lie in the graph file
