"""Changes of a graph: of its bytes, of its fields, and of its nodes and tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    127,
    255,
    256,
    1 << 16,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    1 << 40,
    (1 << 63) - 1,
    -(1 << 63),
)

OPERATORS = (
    "Range",
    "Expand",
    "Tile",
    "ConstantOfShape",
    "Loop",
    "Scan",
    "NonZero",
    "Resize",
    "Pad",
    "OneHot",
    "EyeLike",
    "RandomNormal",
    "Gather",
    "GatherND",
    "Slice",
    "Reshape",
    "Concat",
    "Split",
    "Transpose",
    "Softmax",
    "MatMul",
    "Gemm",
    "Conv",
    "Cast",
    "Shape",
    "Unsqueeze",
    "ReduceSum",
    "LayerNormalization",
    "CumSum",
    "Where",
    "Attention",
    "QAttention",
    "BiasGelu",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLinear",
    "Identity",
    "Add",
    "SkipLayerNormalization",
    "MultiHeadAttention",
    "StringNormalizer",
    "TfIdfVectorizer",
    "SequenceAt",
)


def change(content: bytes, source: random.Random) -> bytes:
    """Return the graph with one to four changes."""
    if source.random() < 0.2:
        return altered_bytes(content, source)
    model = onnx.ModelProto.FromString(content)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        source.choice(CHANGES)(model, source)
    changed: bytes = model.SerializeToString()
    return changed


def altered_bytes(content: bytes, source: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(source.randint(1, 8)):
        place = source.randrange(len(changed))
        kind = source.random()
        if kind < 0.6:
            changed[place] = source.randrange(256)
        elif kind < 0.8:
            del changed[place : place + source.randint(1, 40)]
        else:
            changed[place:place] = changed[source.randrange(len(changed)) :][: source.randint(1, 40)]
    return bytes(changed)


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield model.graph
    for node in model.graph.node:
        yield from (each.g for each in node.attribute if each.type == onnx.AttributeProto.GRAPH)


def _some_graph(model: onnx.ModelProto, source: random.Random) -> onnx.GraphProto:
    return source.choice([graph for graph in _graphs(model) if graph.node])


def _some_node(model: onnx.ModelProto, source: random.Random) -> onnx.NodeProto:
    return source.choice(_some_graph(model, source).node)


def _names(model: onnx.ModelProto) -> list[str]:
    found = [tensor.name for tensor in model.graph.initializer] + [each.name for each in model.graph.input]
    return found + [name for graph in _graphs(model) for node in graph.node for name in node.output]


def rewire(model: onnx.ModelProto, source: random.Random) -> None:
    node = _some_node(model, source)
    if node.input:
        node.input[source.randrange(len(node.input))] = source.choice([*_names(model), ""])


def add_input(model: onnx.ModelProto, source: random.Random) -> None:
    node = _some_node(model, source)
    node.input.extend([source.choice(_names(model))] * source.choice((1, 1, 100)))


def drop_input(model: onnx.ModelProto, source: random.Random) -> None:
    node = _some_node(model, source)
    if node.input:
        del node.input[source.randrange(len(node.input))]


def rename_output(model: onnx.ModelProto, source: random.Random) -> None:
    node = _some_node(model, source)
    node.output[source.randrange(len(node.output))] = source.choice(_names(model))


def other_operator(model: onnx.ModelProto, source: random.Random) -> None:
    node = _some_node(model, source)
    node.op_type = source.choice(OPERATORS)
    node.domain = source.choice(("", "", "com.microsoft", "ai.onnx.ml", "com.example"))


def new_node(model: onnx.ModelProto, source: random.Random) -> None:
    graph = _some_graph(model, source)
    inputs = [source.choice(_names(model)) for _ in range(source.randint(0, 4))]
    node = helper.make_node(source.choice(OPERATORS), inputs, [f"new{source.randrange(10**9)}"])
    node.domain = source.choice(("", "com.microsoft"))
    graph.node.insert(source.randrange(len(graph.node) + 1), node)
    if source.random() < 0.5:
        follower = source.choice(graph.node)
        if follower.input:
            follower.input[0] = node.output[0]


def drop_node(model: onnx.ModelProto, source: random.Random) -> None:
    graph = _some_graph(model, source)
    del graph.node[source.randrange(len(graph.node))]


def move_node(model: onnx.ModelProto, source: random.Random) -> None:
    graph = _some_graph(model, source)
    place, other = (source.randrange(len(graph.node)) for _ in range(2))
    node = onnx.NodeProto()
    node.CopyFrom(graph.node[place])
    del graph.node[place]
    graph.node.insert(other, node)


def nest(model: onnx.ModelProto, source: random.Random) -> None:
    switches = [node for node in model.graph.node if node.op_type == "If"]
    inner = onnx.NodeProto()
    inner.CopyFrom(source.choice(switches))
    source.choice(source.choice(switches).attribute).g.node.append(inner)


def attribute(model: onnx.ModelProto, source: random.Random) -> None:
    nodes = [node for graph in _graphs(model) for node in graph.node if node.attribute]
    each = source.choice(source.choice(nodes).attribute)
    if source.random() < 0.3:
        each.type = source.randrange(15)
    if source.random() < 0.2:
        each.name = source.choice(("axis", "num_heads", "to", "perm", "epsilon", "scale", "unidirectional", "x"))
    each.i = source.choice(NUMBERS)
    each.f = source.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
    if each.ints:
        each.ints[source.randrange(len(each.ints))] = source.choice(NUMBERS)


def dimensions(model: onnx.ModelProto, source: random.Random) -> None:
    tensor = source.choice(model.graph.initializer)
    kind = source.random()
    if kind < 0.4 and tensor.dims:
        tensor.dims[source.randrange(len(tensor.dims))] = source.choice(NUMBERS)
    elif kind < 0.6:
        tensor.dims.extend([source.choice((0, 1, 1 << 40))] * source.choice((1, 1, 1000)))
    elif kind < 0.8 and tensor.dims:
        del tensor.dims[0]
    else:
        tensor.data_type = source.randrange(-1, 25)


def place(model: onnx.ModelProto, source: random.Random) -> None:
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    entry = source.choice(entries)
    texts = (
        *map(str, NUMBERS),
        "../fp32.weights",
        "/etc/passwd",
        "int8.weights",
        "tokenizer.json",
        "",
        "x" * 5000,
        "1e9",
    )
    if source.random() < 0.2:
        entry.key = source.choice(("location", "offset", "length", "checksum", "prepacked_0", ""))
    entry.value = source.choice(texts)


def values(model: onnx.ModelProto, source: random.Random) -> None:
    """Other numbers in a small tensor, whose shape stays."""
    inside = [tensor for tensor in model.graph.initializer if tensor.raw_data]
    tensor = source.choice(inside)
    array = numpy_helper.to_array(tensor).copy()
    if array.dtype == np.int64:
        array[...] = source.choice(NUMBERS)
    elif array.dtype.kind == "f":
        array[...] = source.choice((0.0, np.nan, np.inf, -np.inf, 1e30, -1e-30))
    else:
        array[...] = source.choice((0, 1, 127))
    tensor.raw_data = array.tobytes()


def declare(model: onnx.ModelProto, source: random.Random) -> None:
    graph = source.choice(list(_graphs(model)))
    declared = source.choice([*graph.input, *graph.output])
    typed = declared.type.tensor_type
    if source.random() < 0.4:
        typed.elem_type = source.randrange(0, 25)
    elif typed.shape.dim:
        typed.shape.dim[source.randrange(len(typed.shape.dim))].dim_value = source.choice(NUMBERS)
    else:
        declared.name = source.choice(_names(model))


def versions(model: onnx.ModelProto, source: random.Random) -> None:
    if source.random() < 0.5:
        model.ir_version = source.choice(NUMBERS)
    else:
        source.choice(model.opset_import).version = source.choice((*NUMBERS, 9, 11, 13, 17, 19, 21, 23))


def many(model: onnx.ModelProto, source: random.Random) -> None:
    """Thousands of nodes in a row."""
    graph = _some_graph(model, source)
    last = source.choice(_names(model))
    for number in range(source.choice((1000, 20_000))):
        graph.node.append(helper.make_node("Identity", [last], [f"many{number}"]))
        last = f"many{number}"


def beyond(model: onnx.ModelProto, source: random.Random) -> None:
    """Parts of a model that none of ours has."""
    kind = source.randrange(5)
    if kind == 0:
        model.functions.add(name="F", domain="x")
    elif kind == 1:
        model.graph.sparse_initializer.add().dims.append(source.choice(NUMBERS))
    elif kind == 2:
        model.graph.quantization_annotation.add(tensor_name="x")
    elif kind == 3:
        model.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"x"]))
    else:
        model.graph.value_info.add(name=source.choice(_names(model)))


def swap(model: onnx.ModelProto, source: random.Random) -> None:
    """Two tensors of one shape in each other's place: nothing that a check of shapes could see."""
    by_form: dict[Any, list[TensorProto]] = {}
    for tensor in model.graph.initializer:
        by_form.setdefault((tensor.data_type, tuple(tensor.dims)), []).append(tensor)
    one, other = source.sample(source.choice([alike for alike in by_form.values() if len(alike) > 1]), 2)
    one.name, other.name = other.name, one.name


def other_unary(model: onnx.ModelProto, source: random.Random) -> None:
    """Another function of one value in place of one."""
    unary = ("Tanh", "Relu", "Sigmoid", "Erf", "Sqrt", "Identity", "Softmax", "LeakyRelu", "Elu")
    nodes = [node for graph in _graphs(model) for node in graph.node if node.op_type in unary]
    source.choice(nodes).op_type = source.choice(unary)


CHANGES: tuple[Callable[[onnx.ModelProto, random.Random], Any], ...] = (
    *(rewire, rewire, add_input, drop_input, rename_output, other_operator, new_node, drop_node, move_node, nest),
    *(attribute, attribute, dimensions, dimensions, place, values, values, values, swap, swap, other_unary, declare),
    *(versions, many, beyond),
)
