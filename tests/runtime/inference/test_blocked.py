"""Blocks of channels: their size on this CPU, asked of ONNX Runtime by a graph of one conversion."""

from __future__ import annotations

import onnx

from gearshift.runtime.graph.image_operators import NCHWC, WIDEST_BLOCK
from gearshift.runtime.inference import blocked


def test_the_graph_converts_an_image_and_nothing_else() -> None:
    model = onnx.load_model_from_string(blocked._CONVERSION)
    assert [(node.domain, node.op_type) for node in model.graph.node] == [(NCHWC, "ReorderInput")]
    (shape,) = [[each.dim_value for each in value.type.tensor_type.shape.dim] for value in model.graph.input]
    assert shape == [1, WIDEST_BLOCK, 1, 2]


def test_a_block_has_as_many_channels_as_some_cpu_has_or_there_are_none() -> None:
    assert blocked.block_channels() in (8, 16, None)
