"""ONNX model as it is read here: nodes, tensors and their places, values with type and shape.

Only what graphs of ours hold is known. Functions, sparse tensors, sequences, quantization notes and training are
refused by `wire`, since the tables below lack them. `onnx.proto` of the ONNX project numbers the fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gearshift.runtime.graph.wire import inner, many, one, read_message, table

FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16 = 1, 2, 3, 6, 7, 9, 10
"""Types of elements, by ONNX's numbers."""

ITEM_BYTES = {FLOAT: 4, UINT8: 1, INT8: 1, INT32: 4, INT64: 8, BOOL: 1, FLOAT16: 2}
"""Type -> bytes of an element; other types are refused."""

MOST_AXES = 4
"""Number of dimensions of any tensor: scores have batch, heads, and tokens twice."""

EXTERNAL = 1
"""Value of `data_location` of a tensor whose bytes lie in another file."""

A_FLOAT, AN_INT, A_TEXT, A_GRAPH, FLOATS, INTS = 1, 2, 3, 5, 6, 7
"""Types of attributes, by ONNX's numbers."""

_TENSOR = {
    1: many("dims", "int"),
    2: one("data_type", "int"),
    8: one("name", "text"),
    9: one("raw_data", "bytes"),
    13: inner("external_data", {1: one("key", "text"), 2: one("value", "text")}, repeated=True),
    14: one("data_location", "int"),
}
_DIMENSION = {1: one("size", "int"), 2: one("symbol", "text")}
_TENSOR_TYPE = {1: one("elem_type", "int"), 2: inner("shape", {1: inner("dim", _DIMENSION, repeated=True)})}
_VALUE = {1: one("name", "text"), 2: inner("type", {1: inner("tensor_type", _TENSOR_TYPE)})}
_ATTRIBUTE = {
    1: one("name", "text"),
    2: one("f", "float"),
    3: one("i", "int"),
    4: one("s", "text"),
    7: many("floats", "float"),
    8: many("ints", "int"),
    20: one("type", "int"),
}
_NODE = {
    1: many("input", "text"),
    2: many("output", "text"),
    3: one("name", "text"),
    4: one("op_type", "text"),
    7: one("domain", "text"),
}
_GRAPH = {2: one("name", "text"), 12: inner("output", _VALUE, repeated=True)}
_BRANCH = {
    **_GRAPH,
    1: inner("node", {**_NODE, 5: inner("attribute", _ATTRIBUTE, repeated=True)}, repeated=True),
    5: inner("initializer", _TENSOR, repeated=True),
}
_ROOT_ATTRIBUTE = {**_ATTRIBUTE, 6: inner("g", _BRANCH)}
_ROOT = {
    **_GRAPH,
    1: inner("node", {**_NODE, 5: inner("attribute", _ROOT_ATTRIBUTE, repeated=True)}, repeated=True),
    5: inner("initializer", _TENSOR, repeated=True),
    11: inner("input", _VALUE, repeated=True),
}
_MODEL = {
    1: one("ir_version", "int"),
    2: one("producer_name", "text"),
    3: one("producer_version", "text"),
    7: inner("graph", _ROOT),
    8: inner("opset_import", {1: one("domain", "text"), 2: one("version", "int")}, repeated=True),
}
_TABLE = table(_MODEL)

_SAVED_GRAPH = {
    1: many("node", "bytes"),
    2: one("name", "text"),
    5: inner("initializer", {**_TENSOR, 12: one("doc_string", "text")}, repeated=True),
    10: one("doc_string", "text"),
    11: many("input", "bytes"),
    12: many("output", "bytes"),
    13: many("value_info", "bytes"),
}
_SAVED = table({**_MODEL, 7: inner("graph", _SAVED_GRAPH)})
"""Table of a model that ONNX Runtime saved: only its tensors are read."""

Dims = tuple[int | str, ...]
"""Dimensions of a value: sizes, and symbols such as `batch`."""


@dataclass(frozen=True)
class Tensor:
    """Stored tensor: a weight, or a few whole numbers such as a shape."""

    name: str
    kind: int
    dims: tuple[int, ...]
    content: bytes | None
    """Bytes inside the graph's file; None if they lie in another file."""
    place: Mapping[str, str]
    """Entries of the place in the other file: `location`, `offset`, `length`."""

    @property
    def bytes(self) -> int:
        """Bytes that the type and the dimensions ask for."""
        return math.prod(self.dims) * ITEM_BYTES[self.kind]


@dataclass(frozen=True)
class Declared:
    """Value that a graph declares as its input or output."""

    name: str
    kind: int
    dims: Dims | None
    """Dimensions; None where the graph states none."""


@dataclass(frozen=True)
class Node:
    """Operator with its inputs, outputs and attributes; an `If` has its two branches among these."""

    operator: str
    """Name with domain, such as `com.microsoft.Gelu`, or without for the standard one."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """Nodes in order, with what goes in and comes out; branches have no inputs, and tensors of images alone."""

    nodes: Sequence[Node]
    tensors: Sequence[Tensor]
    inputs: Sequence[Declared]
    outputs: Sequence[Declared]


@dataclass(frozen=True)
class Model:
    """Graph with the versions that it was written for."""

    ir_version: int
    opsets: Mapping[str, int]
    """Domain of operators -> version."""
    graph: Graph


def read_model(content: bytes) -> Model:
    """Read an ONNX file; raise ValueError in one line if it is none, or holds what none of ours does."""
    raw = read_message(content, _TABLE)
    opsets = [(each.get("domain", ""), each.get("version", 0)) for each in raw.get("opset_import", [])]
    if len(dict(opsets)) < len(opsets):
        raise ValueError("a set of operators twice")
    if "graph" not in raw:
        raise ValueError("no graph")
    return Model(raw.get("ir_version", 0), dict(opsets), _graph(raw["graph"]))


def read_saved_tensors(content: bytes) -> list[Tensor]:
    """Read the tensors of a model that ONNX Runtime saved, with the places of their packed forms; raise ValueError."""
    return [_tensor(each) for each in read_message(content, _SAVED).get("graph", {}).get("initializer", [])]


def _graph(raw: Mapping[str, Any]) -> Graph:
    return Graph(
        [_node(each) for each in raw.get("node", [])],
        [_tensor(each) for each in raw.get("initializer", [])],
        [_declared(each) for each in raw.get("input", [])],
        [_declared(each) for each in raw.get("output", [])],
    )


def _node(raw: Mapping[str, Any]) -> Node:
    domain, operator = raw.get("domain", ""), raw.get("op_type", "")
    attributes = {each.get("name", ""): _attribute(each) for each in raw.get("attribute", [])}
    if len(attributes) < len(raw.get("attribute", [])):
        raise ValueError(f"{operator} with an attribute twice")
    name = f"{domain}.{operator}" if domain else operator
    return Node(name, tuple(raw.get("input", ())), tuple(raw.get("output", ())), attributes)


_ATTRIBUTE_FIELDS = {A_FLOAT: "f", AN_INT: "i", A_TEXT: "s", A_GRAPH: "g", FLOATS: "floats", INTS: "ints"}
_ABSENT: Mapping[str, Any] = {"f": 0.0, "i": 0, "s": "", "floats": [], "ints": []}
"""Type of an attribute -> field of its value, and the value if the field is left out."""


def _attribute(raw: Mapping[str, Any]) -> Any:
    """Return the value of an attribute, which must be the one that its type announces."""
    field = _ATTRIBUTE_FIELDS.get(raw.get("type", 0), "")
    if not field or set(raw) - {"name", "type", field} or (field == "g" and "g" not in raw):
        raise ValueError(f"attribute {raw.get('name', '')!r} of a type that no graph of ours has")
    value = raw.get(field, _ABSENT.get(field))
    return _graph(value) if field == "g" else value


def _tensor(raw: Mapping[str, Any]) -> Tensor:
    name, kind, dims = raw.get("name", ""), raw.get("data_type", 0), tuple(raw.get("dims", ()))
    if kind not in ITEM_BYTES or len(dims) > MOST_AXES or any(size < 0 for size in dims):
        raise ValueError(f"tensor {name!r}: type {kind} with dimensions {list(dims)}")
    place = {each.get("key", ""): each.get("value", "") for each in raw.get("external_data", [])}
    location = raw.get("data_location", 0)
    if location not in (0, EXTERNAL) or (location == EXTERNAL) == ("raw_data" in raw) or (place and not location):
        raise ValueError(f"tensor {name!r}: expected its bytes in one place")
    if len(place) < len(raw.get("external_data", [])):
        raise ValueError(f"tensor {name!r}: an entry of its place twice")
    tensor = Tensor(name, kind, dims, None if location == EXTERNAL else raw.get("raw_data", b""), place)
    if tensor.content is not None and len(tensor.content) != tensor.bytes:
        raise ValueError(f"tensor {name!r}: expected {tensor.bytes} bytes, found {len(tensor.content)}")
    return tensor


def _declared(raw: Mapping[str, Any]) -> Declared:
    name, typed = raw.get("name", ""), raw.get("type", {}).get("tensor_type", {})
    kind = typed.get("elem_type", 0)
    if kind not in ITEM_BYTES:
        raise ValueError(f"{name!r} of a type {kind} that no graph of ours has")
    if "shape" not in typed:
        return Declared(name, kind, None)
    dims = tuple(_dimension(each) for each in typed["shape"].get("dim", []))
    return Declared(name, kind, dims)


def _dimension(raw: Mapping[str, Any]) -> int | str:
    if len(raw) != 1 or raw.get("size", 1) < 1:
        raise ValueError(f"a dimension {dict(raw)!r}")
    size: int | str = raw.get("size", raw.get("symbol"))
    return size
