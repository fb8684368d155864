"""Bundles with a graph that is allowed and does not work."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from gearshift.errors import BundleError
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.startup import start
from gearshift.runtime.trust.trust import TRIED, trusted
from tests.runtime.altered import change_manifest


def test_a_graph_that_cannot_be_loaded_is_left_too(bundle_copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = onnx.load(bundle_copy / "int8.onnx", load_external_data=False)
    for node in model.graph.node:
        node.name = "the same"
    (bundle_copy / "int8.onnx").write_bytes(model.SerializeToString())
    change_manifest(bundle_copy)
    with caplog.at_level(logging.WARNING):
        loaded = start(open_bundle(bundle_copy), precision="auto", threads=1, profile=None, providers=CPU)
    assert loaded.opened.session.precision == "fp32"
    assert "cannot load it" in caplog.text


def test_what_the_trial_refuses_is_an_error_in_its_words(bundle_copy: Path) -> None:
    model = onnx.load(bundle_copy / "int8.onnx", load_external_data=False)
    tensor = next(each for each in model.graph.initializer if each.name == "classifier.bias")
    tensor.CopyFrom(numpy_helper.from_array(np.full(tuple(tensor.dims), np.nan, np.float32), tensor.name))
    (bundle_copy / "int8.onnx").write_bytes(model.SerializeToString())
    change_manifest(bundle_copy)
    with pytest.raises(BundleError, match=r"int8 self-test, subnet .* found nan") as said:
        trusted(open_bundle(bundle_copy), None, TRIED)
    assert "\n" not in str(said.value)
