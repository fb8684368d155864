"""ONNX's own reader finds in a graph that the runtime wrote what was in the one that it read."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from gearshift.runtime.graph.model import read_model
from gearshift.runtime.graph.writer import write_model


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx"])
def test_onnx_reads_the_same_nodes_tensors_and_values(tiny_bundle: Path, name: str) -> None:
    before = onnx.load(tiny_bundle / name, load_external_data=False)
    after = onnx.load_from_string(write_model(read_model((tiny_bundle / name).read_bytes())))
    assert [tensor.name for tensor in after.graph.initializer] == [one.name for one in before.graph.initializer]
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert {each.domain: each.version for each in after.opset_import} == {
        each.domain: each.version for each in before.opset_import
    }
    for mine, its in zip(after.graph.node, before.graph.node, strict=True):
        assert (mine.op_type, mine.domain, mine.input, mine.output) == (its.op_type, its.domain, its.input, its.output)
        assert {each.name: each.type for each in mine.attribute} == {each.name: each.type for each in its.attribute}
