"""The guard against weights that ONNX Runtime leaves unpacked."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gearshift.errors import ExportError
from gearshift.export.checks.guard import LARGE_BYTES, check_packed
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.export.pipeline import ExportReport
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import layer_space
from gearshift.runtime.space.uniform import uniform_grid
from tests.export.cases import branches
from tests.trainer.tiny import random_model

WEIGHT = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
SHAPE = EncoderShape(layers=2, hidden=64, heads=4, neurons=128, vocabulary=50, positions=16, types=2)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_graph_of_ours_passes_with_every_large_weight_counted(tmp_path: Path, precision: str) -> None:
    model = random_model(SHAPE)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    space = layer_space(SHAPE, list(uniform_grid(SHAPE, (1.0, 0.5), (1.0, 0.5)).values()))
    path = tmp_path / f"{precision}.onnx"
    write_elastic_graph(path, weights, space, precision=precision, norm_eps=1e-12)
    # Two layers of two segments with four matrices each, all of them of 1 kB and more, and the pooler and the
    # classifier, which stay in fp32.
    assert check_packed(path) == 2 * 2 * 4 + 2
    assert 4 * SHAPE.hidden * 8 >= LARGE_BYTES


def test_every_precision_of_a_bundle_was_checked(exported: ExportReport) -> None:
    assert set(exported.packed_weights) == {"fp32", "int8"}
    assert min(exported.packed_weights.values()) > 0


def choose(condition: str, then: onnx.GraphProto, otherwise: onnx.GraphProto, output: str) -> onnx.NodeProto:
    return helper.make_node("If", [condition], [output], then_branch=then, else_branch=otherwise)


def branch(name: str, nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])


def planted(path: Path, depth: int, *, weight: Array = WEIGHT) -> Path:
    """x @ deep in an `If` at that depth, beside a product in the root graph."""
    nodes = [helper.make_node("MatMul", ["x", "deep"], ["product"])]
    value = "product"
    for level in range(depth):
        passed = branch(f"else{level}", [helper.make_node("Identity", ["x"], [f"passed{level}"])], f"passed{level}")
        nodes = [choose("yes", branch(f"then{level}", nodes, value), passed, f"chosen{level}")]
        value = f"chosen{level}"
    nodes.append(helper.make_node("MatMul", [value, "flat"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "planted",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", weight.shape[0]]),
            helper.make_tensor_value_info("yes", TensorProto.BOOL, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "deep"), numpy_helper.from_array(weight + 1, "flat")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("depth", [0, 1])
def test_a_weight_in_the_root_or_in_one_if_is_packed(tmp_path: Path, depth: int) -> None:
    assert check_packed(planted(tmp_path / "flat.onnx", depth)) == 2


@pytest.mark.parametrize("depth", [2, 3])
def test_an_if_inside_an_if_is_found_out(tmp_path: Path, depth: int) -> None:
    path = planted(tmp_path / "deep.onnx", depth)
    message = r"deep\.onnx: 1 of 2 large weights are not packed \(deep\); the graph may use a weight at `If` depth 2"
    with pytest.raises(ExportError, match=message):
        check_packed(path)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_weight_of_8_bits_is_found_out_on_every_cpu(tmp_path: Path, depth: int) -> None:
    """Check that it is, by its depth, on those CPUs too that pack none of them."""
    path = planted(tmp_path / "flat.onnx", depth)
    model = onnx.load(path)
    weights = [numpy_helper.from_array(np.ones((64, 64), np.int8), "deep"), numpy_helper.from_array(WEIGHT, "flat")]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*weights, numpy_helper.from_array(np.ones((), np.float32), "scale")])
    for one in products(model.graph):
        if one.input[1] == "deep":
            one.op_type, one.domain = "DynamicQuantizeMatMul", "com.microsoft"
            one.input.append("scale")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    if depth == 1:
        assert check_packed(path) == 2
    else:
        with pytest.raises(ExportError, match=r"1 of 2 large weights are not packed \(deep\)"):
            check_packed(path)


def products(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    yield from (node for node in graph.node if node.op_type == "MatMul")
    for inner in branches(graph):
        yield from products(inner)


def test_a_small_weight_is_no_matter(tmp_path: Path) -> None:
    small = np.ones((8, 8), np.float32)
    assert small.nbytes < LARGE_BYTES
    assert check_packed(planted(tmp_path / "small.onnx", 2, weight=small)) == 0


def test_the_check_leaves_nothing_beside_the_graph(tmp_path: Path) -> None:
    check_packed(planted(tmp_path / "flat.onnx", 1))
    assert [path.name for path in tmp_path.iterdir()] == ["flat.onnx"]
