"""The probe that ships is made of the operators that the exporter uses now."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import onnx
import pytest

from gearshift.export.probes.probe import LAYERS, write_probe


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_ships_is_what_is_written_now(precision: str, tmp_path: Path) -> None:
    """Check the probes that ship against those that are written now.

    If they differ: python -m gearshift.export.probes.probe device_profiles, and measure the committed profile again.
    """
    shipped = resources.files("gearshift.device_profiles")
    for path in write_probe(tmp_path, precision):
        assert path.read_bytes() == (shipped / path.name).read_bytes(), path.name


def test_its_shapes_reach_from_a_tiny_encoder_to_a_bert_base() -> None:
    assert {layer.hidden for layer in LAYERS} == {128, 256, 384, 512, 768}
    assert any(layer.first_token for layer in LAYERS)


def test_it_needs_no_weights_to_ship(tmp_path: Path) -> None:
    graph, listing = write_probe(tmp_path, "int8")
    assert {path.name for path in tmp_path.iterdir()} == {graph.name, listing.name}
    assert graph.stat().st_size < 200_000
    branches = [node for node in onnx.load(graph, load_external_data=False).graph.node if node.op_type == "If"]
    assert len(branches) > len(LAYERS)
