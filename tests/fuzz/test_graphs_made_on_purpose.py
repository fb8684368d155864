"""Graphs made on purpose, with hashes that are right: each is refused in one line, before the library sees it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gearshift.errors import SchemaError
from gearshift.runtime.bundle.bundle import open_bundle, write_manifest
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.inference.session import ElasticSession
from tests.runtime.altered import change_manifest

Edit = Callable[[onnx.GraphProto], object]


def refused(directory: Path, edit: Callable[[onnx.ModelProto], object]) -> str:
    """Words said of the bundle's fp32 graph after an edit."""
    path = directory / "fp32.onnx"
    model = onnx.load(path, load_external_data=False)
    edit(model)
    path.write_bytes(model.SerializeToString())
    return said_of(directory)


def said_of(directory: Path) -> str:
    change_manifest(directory)
    with pytest.raises(
        SchemaError, match=r"fp32\.onnx: expected a graph as `gearshift export` writes it, found"
    ) as said:
        ElasticSession(open_bundle(directory), "fp32", threads=1)
    assert "\n" not in str(said.value)
    return str(said.value)


def node_of(graph: onnx.GraphProto, operator: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.op_type == operator)


def tensor_of(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(each for each in node.attribute if each.name == name)


def stored(graph: onnx.GraphProto, name: str, values: object, kind: type = np.int64) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(values, kind), name))
    return name


def first(graph: onnx.GraphProto, operator: str, inputs: list[str], domain: str = "", **attributes: object) -> None:
    """Put a node before all others."""
    graph.node.insert(0, helper.make_node(operator, inputs, ["made"], domain=domain, **attributes))


def add_constant_of_4_gigabytes(graph: onnx.GraphProto) -> None:
    first(graph, "ConstantOfShape", [stored(graph, "size", [1 << 30])])


def add_range(graph: onnx.GraphProto) -> None:
    first(graph, "Range", [stored(graph, name, number) for name, number in (("a", 0), ("b", 1 << 40), ("c", 1))])


def add_expand(graph: onnx.GraphProto) -> None:
    first(graph, "Expand", [stored(graph, "one", [1.0], np.float32), stored(graph, "size", [1 << 30])])


def add_tile(graph: onnx.GraphProto) -> None:
    first(graph, "Tile", [stored(graph, "one", [1.0], np.float32), stored(graph, "size", [1 << 30])])


def add_outer_sum(graph: onnx.GraphProto) -> None:
    """A million numbers out of two thousand, which the library would store as a constant."""
    column, row = np.zeros((1024, 1)), np.zeros((1, 1024))
    first(graph, "Add", [stored(graph, "column", column, np.float32), stored(graph, "row", row, np.float32)])


def add_loop(graph: onnx.GraphProto) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", 9, [])],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    first(graph, "Loop", [stored(graph, "times", 1 << 40), ""], body=body)


def nest_an_if(graph: onnx.GraphProto) -> None:
    outer = node_of(graph, "If")
    branch = attribute(outer, "then_branch").g
    inner = onnx.NodeProto()
    inner.CopyFrom(outer)
    inner.output[0] = "inner"
    branch.node.append(inner)


def share_a_name(graph: onnx.GraphProto) -> None:
    graph.node[1].output[0] = graph.node[0].output[0]


def read_ahead(graph: onnx.GraphProto) -> None:
    graph.node[0].input[0] = graph.node[5].output[0]


def many_heads(graph: onnx.GraphProto) -> None:
    branch = attribute(node_of(graph, "If"), "then_branch").g
    node = node_of(branch, "Attention")
    attribute(node, "num_heads").i *= 8


def give_attention_the_state_of_another(graph: onnx.GraphProto) -> None:
    branch = attribute(node_of(graph, "If"), "then_branch").g
    node_of(branch, "Attention").attribute.append(helper.make_attribute("past_present_share_buffer", 1))


def set_input(place: int, value: str) -> Edit:
    def edit(graph: onnx.GraphProto) -> None:
        attribute(node_of(graph, "If"), "then_branch").g.node[0].input[place] = value

    return edit


def set_dims(*dims: int) -> Edit:
    def edit(graph: onnx.GraphProto) -> None:
        tensor_of(graph, "embeddings.word.weight").dims[:] = dims

    return edit


def set_place(name: str, value: str) -> Edit:
    def edit(graph: onnx.GraphProto) -> None:
        places = tensor_of(graph, "embeddings.word.weight").external_data
        next(entry for entry in places if entry.key == name).value = value

    return edit


def lay_weights_on_one_another(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            entry.value = "0" if entry.key == "offset" else entry.value


def store_texts(graph: onnx.GraphProto) -> None:
    graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [1], [b"word"]))


def store_sparsely(graph: onnx.GraphProto) -> None:
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))


def take_a_sequence(graph: onnx.GraphProto) -> None:
    graph.input.append(helper.make_tensor_sequence_value_info("more", TensorProto.FLOAT, None))


GRAPHS: dict[str, tuple[Edit, str]] = {
    "4 GB of one number": (add_constant_of_4_gigabytes, "ConstantOfShape made: no operator"),
    "a range of 2**40": (add_range, "Range made: no operator"),
    "an expansion": (add_expand, "Expand made: no operator"),
    "tiles": (add_tile, "Tile made: no operator"),
    "an outer sum": (add_outer_sum, "Add made: a result of shape 1024x1024"),
    "a loop": (add_loop, "a field 11"),
    "an If inside an If": (nest_an_if, "a field 6"),
    "an output twice": (share_a_name, "twice"),
    "nodes out of order": (read_ahead, "that nothing gave before"),
    "as many heads as there are numbers": (many_heads, "heads"),
    "attention with an attribute that we do not use": (give_attention_the_state_of_another, "attribute"),
    "attention over tokens": (set_input(0, "input_ids"), "Attention"),
    "attention whose bias is a matrix": (set_input(2, "embeddings.word.weight"), "Attention .* shape"),
    "attention without a mask": (set_input(3, ""), "no input 3"),
    "a tensor of other dimensions": (set_dims(1, 2), "beyond fp32.weights, or of another size"),
    "a tensor beyond all memory": (set_dims(1 << 40, 1 << 20), "beyond fp32.weights, or of another size"),
    "a tensor of negative size": (set_dims(-1, 32), "dimensions"),
    "a tensor of many axes": (set_dims(*[1] * 100_000), "dimensions"),
    "weights behind the end of the file": (set_place("offset", "99999999"), "beyond fp32.weights"),
    "weights at no number": (set_place("offset", "-1"), "a place '-1'"),
    "weights in another directory": (set_place("location", "../fp32.weights"), "which the manifest does not list"),
    "weights in a device": (set_place("location", "/dev/zero"), "which the manifest does not list"),
    "weights on top of one another": (lay_weights_on_one_another, "on top of one another"),
    "texts": (store_texts, "a field 6"),
    "a sparse tensor": (store_sparsely, "a field 15"),
    "a sequence": (take_a_sequence, "a field 4"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_no_export_writes_is_refused_in_one_line(bundle_copy: Path, name: str) -> None:
    edit, told = GRAPHS[name]
    assert re.search(told, refused(bundle_copy, lambda model: edit(model.graph)))


def test_more_nodes_than_the_space_asks_for_are_refused(bundle_copy: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.node.extend(helper.make_node("Identity", ["choice"], [f"v{n}"]) for n in range(200_000))

    assert re.search(r"200\d+ nodes, where its space asks for \d+ at most", refused(bundle_copy, edit))


@pytest.mark.parametrize(("domain", "version"), [("", 99), ("ai.onnx.ml", 1), ("com.example", 1)])
def test_operators_of_another_version_or_domain_are_refused(bundle_copy: Path, domain: str, version: int) -> None:
    def edit(model: onnx.ModelProto) -> None:
        known = next((each for each in model.opset_import if each.domain == domain), None)
        (known or model.opset_import.add(domain=domain)).version = version

    assert f"version {version} of the operators" in refused(bundle_copy, edit)


def test_functions_in_a_model_are_refused(bundle_copy: Path) -> None:
    body = [helper.make_node("Identity", ["x"], ["y"])]
    function = helper.make_function("com.example", "F", ["x"], ["y"], body, [helper.make_opsetid("", 18)])
    assert "a field 25" in refused(bundle_copy, lambda model: model.functions.append(function))


@pytest.mark.parametrize("place", [0, 1, 10, 1000, 20_000, -1])
def test_a_graph_that_is_cut_off_is_refused(bundle_copy: Path, place: int) -> None:
    content = (bundle_copy / "fp32.onnx").read_bytes()
    (bundle_copy / "fp32.onnx").write_bytes(content[:place])
    said_of(bundle_copy)


def test_a_weights_file_that_the_manifest_does_not_list_is_refused(bundle_copy: Path) -> None:
    """Its bytes would be under no hash."""
    manifest = open_bundle(bundle_copy).manifest
    weights = (bundle_copy / "fp32.weights").read_bytes()
    (bundle_copy / "fp32.weights").unlink()
    write_manifest(bundle_copy, Manifest(**{**vars(manifest), "files": {}}))
    (bundle_copy / "fp32.weights").write_bytes(weights)
    with pytest.raises(SchemaError, match=r"weights in 'fp32\.weights', which the manifest does not list"):
        ElasticSession(open_bundle(bundle_copy), "fp32", threads=1)


def test_a_graph_of_another_task_than_the_manifests_is_refused(bundle_copy: Path) -> None:
    change_manifest(bundle_copy, task="embedding", labels=())
    with pytest.raises(SchemaError, match=r"an output 'logits' of shape .*, which is not that of embedding"):
        ElasticSession(open_bundle(bundle_copy), "fp32", threads=1)


def test_a_text_longer_than_the_table_of_positions_is_refused(bundle_copy: Path) -> None:
    change_manifest(bundle_copy, max_length=100_000)
    with pytest.raises(SchemaError, match="places for 100000 tokens"):
        ElasticSession(open_bundle(bundle_copy), "fp32", threads=1)
