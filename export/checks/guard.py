"""The guard: every large weight of a graph must have been packed, or it runs at half the speed.

ONNX Runtime packs root weights only for consumers at `If` depth 0 or 1, and says nothing when it does
not. Saved with its packed weights, a model lists them; what is not listed was not packed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

from gearshift.errors import ExportError
from gearshift.runtime.inference.session import PACKED_FROM_BYTES, save_packed

PACKED_INPUTS = {
    "MatMul": 1,
    "Gemm": 1,
    "Attention": 1,
    "QAttention": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
}
"""Operator -> which of its inputs is packed where it is a constant."""


LARGE_BYTES = PACKED_FROM_BYTES
"""Weights below this stay inline when a model is saved; packing them would change nothing."""


def check_packed(path: Path) -> int:
    """Check that ONNX Runtime packs every large weight of a graph; gives how many there are.

    Raises ExportError with the names of the ones it left alone.
    """
    model = onnx.load(path, load_external_data=False)
    sizes = {tensor.name: _bytes_of(tensor) for tensor in model.graph.initializer}
    wanted = {name for name in _packable(model.graph) if sizes.get(name, 0) >= LARGE_BYTES}
    missing = sorted(wanted - _packed(path))
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise ExportError(
            f"{path}: {len(missing)} of {len(wanted)} large weights are not packed ({shown}); "
            "the graph may use a weight at `If` depth 2 or deeper"
        )
    return len(wanted)


def _packable(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of values that a packing operator takes, in the graph and in all branches."""
    for node in graph.node:
        position = PACKED_INPUTS.get(node.op_type)
        if position is not None and len(node.input) > position:
            yield node.input[position]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _packable(attribute.g)


def _packed(path: Path) -> set[str]:
    """Names of the weights that ONNX Runtime saves in packed form."""
    with tempfile.TemporaryDirectory() as directory:
        saved = Path(directory) / "packed.onnx"
        save_packed(path, saved, {})
        model = onnx.load(saved, load_external_data=False)
    return {
        tensor.name
        for tensor in model.graph.initializer
        if any(entry.key.startswith("prepacked") for entry in tensor.external_data)
    }


def _bytes_of(tensor: onnx.TensorProto) -> int:
    for entry in tensor.external_data:
        if entry.key == "length":
            return int(entry.value)
    return len(tensor.raw_data)
