"""Blocks of channels: their size on this CPU, asked of ONNX Runtime by a graph of one conversion."""

from __future__ import annotations

from gearshift.runtime.inference import blocked


def test_a_block_has_as_many_channels_as_some_cpu_has_or_there_are_none() -> None:
    assert blocked.block_channels() in (8, 16, None)
