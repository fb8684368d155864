"""What is read of a graph is written back with the same meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearshift.runtime.graph.model import read_model
from gearshift.runtime.graph.writer import write_model


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx"])
def test_a_graph_comes_back_as_it_was(tiny_bundle: Path, name: str) -> None:
    model = read_model((tiny_bundle / name).read_bytes())
    assert read_model(write_model(model)) == model
