"""Writer of ONNX models in the form of `model`: what `read_model` reads is written back with the same meaning.

Protocol Buffers without a library: a device has none. Field numbers are those of `onnx.proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from gearshift.runtime.graph.model import (
    A_FLOAT,
    A_GRAPH,
    AN_INT,
    EXTERNAL,
    INTS,
    Declared,
    Graph,
    Model,
    Node,
    Tensor,
)
from gearshift.runtime.graph.wire import BYTES_4, LENGTH, VARINT


def write_model(model: Model) -> bytes:
    """Return the content of an ONNX file."""
    opsets = (_text(1, domain) + _number(2, version) for domain, version in model.opsets.items())
    return b"".join(
        [
            _number(1, model.ir_version),
            _bytes(7, _graph(model.graph, "gearshift")),
            *(_bytes(8, each) for each in opsets),
        ]
    )


def _graph(graph: Graph, name: str) -> bytes:
    return b"".join(
        [
            *(_bytes(1, _node(each)) for each in graph.nodes),
            _text(2, name),
            *(_bytes(5, _tensor(each)) for each in graph.tensors),
            *(_bytes(11, _declared(each)) for each in graph.inputs),
            *(_bytes(12, _declared(each)) for each in graph.outputs),
        ]
    )


def _node(node: Node) -> bytes:
    domain, _, operator = node.operator.rpartition(".")
    parts = [*(_text(1, name) for name in node.inputs), *(_text(2, name) for name in node.outputs), _text(4, operator)]
    parts += [_bytes(5, _attribute(name, value)) for name, value in node.attributes.items()]
    return b"".join([*parts, _text(7, domain)])


def _attribute(name: str, value: float | int | Graph | list[int]) -> bytes:
    if isinstance(value, Graph):
        stored, kind = _bytes(6, _graph(value, name)), A_GRAPH
    elif isinstance(value, float):
        stored, kind = _key(2, BYTES_4) + struct.pack("<f", value), A_FLOAT
    elif isinstance(value, int):
        stored, kind = _number(3, value), AN_INT
    else:
        stored, kind = b"".join(_number(8, each) for each in value), INTS
    return _text(1, name) + stored + _number(20, kind)


def _tensor(tensor: Tensor) -> bytes:
    parts = [*(_number(1, size) for size in tensor.dims), _number(2, tensor.kind), _text(8, tensor.name)]
    if tensor.content is not None:
        return b"".join([*parts, _bytes(9, tensor.content)])
    places = (_text(1, key) + _text(2, value) for key, value in tensor.place.items())
    return b"".join([*parts, *(_bytes(13, each) for each in places), _number(14, EXTERNAL)])


def _declared(value: Declared) -> bytes:
    typed = _number(1, value.kind)
    if value.dims is not None:
        typed += _bytes(2, b"".join(_bytes(1, _dimension(size)) for size in value.dims))
    return _text(1, value.name) + _bytes(2, _bytes(1, typed))


def _dimension(size: int | str) -> bytes:
    return _text(2, size) if isinstance(size, str) else _number(1, size)


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _number(field: int, value: int) -> bytes:
    return _key(field, VARINT) + _varint(value % (1 << 64))


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, LENGTH) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    return bytes(_groups(value))


def _groups(value: int) -> Iterable[int]:
    while value > 127:
        yield value & 127 | 128
        value >>= 7
    yield value
