"""Check that every large weight of a graph is packed: unpacked, it runs at half the speed.

ONNX Runtime packs root weights only for consumers at `If` depth 0 or 1, and is silent about weights that it does not
pack. A model saved with its packed weights lists them: a weight that is not listed was not packed.

An x86 CPU without AVX2 has no kernels for packed weights of 8 bits, so there none is listed. The graph may run
elsewhere, so on such a CPU the depth alone decides.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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
"""Operator -> position of the input that is packed if it is a constant."""

INTEGER = ("QAttention", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
"""Operators whose packed input has 8 bits."""

DEEPEST = 1
"""Greatest `If` depth at which weights of the root are packed."""

LARGE_BYTES = PACKED_FROM_BYTES
"""Least size in bytes of a weight that is checked. Smaller ones stay inline when a model is saved; packing them would
change nothing."""


def check_packed(path: Path) -> int:
    """Check that ONNX Runtime packs every large weight of a graph, and return their number.

    Raises ExportError with the names of unpacked weights.
    """
    model = onnx.load(path, load_external_data=False)
    sizes = {tensor.name: _bytes_of(tensor) for tensor in model.graph.initializer}
    uses = [use for use in _packable(model.graph) if sizes.get(use[0], 0) >= LARGE_BYTES]
    wanted, packed = {name for name, _, _ in uses}, _packed(path)
    if not packs_integers():
        integers = [(name, depth) for name, kind, depth in uses if kind in INTEGER]
        packed |= {name for name, _ in integers} - {name for name, depth in integers if depth > DEEPEST}
    missing = sorted(wanted - packed)
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise ExportError(
            f"{path}: {len(missing)} of {len(wanted)} large weights are not packed ({shown}); "
            "the graph may use a weight at `If` depth 2 or deeper"
        )
    return len(wanted)


@functools.cache
def packs_integers() -> bool:
    """Return whether this CPU's kernels pack weights of 8 bits, tried on a single product in a graph without any
    `If`."""
    weight, scale = np.ones((64, 64), np.int8), np.ones((), np.float32)
    graph = helper.make_graph(
        [helper.make_node("DynamicQuantizeMatMul", ["x", "weight", "scale"], ["y"], domain="com.microsoft")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 64])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(scale, "scale")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "product.onnx"
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
        return "weight" in _packed(path)


def _packable(graph: onnx.GraphProto, depth: int = 0) -> Iterator[tuple[str, str, int]]:
    """Give value, operator and `If` depth of each input of a packing operator, in the graph and in all branches."""
    for node in graph.node:
        position = PACKED_INPUTS.get(node.op_type)
        if position is not None and len(node.input) > position:
            yield node.input[position], node.op_type, depth
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _packable(attribute.g, depth + 1)


def _packed(path: Path) -> set[str]:
    """Return the names of the weights that ONNX Runtime saves in packed form."""
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
