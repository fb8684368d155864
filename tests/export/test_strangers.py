"""Bundles of strangers are trimmed and compressed as they are loaded: rightly, or refused in one line."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from gearshift.errors import BundleError, GearshiftError
from gearshift.export.compress import compress_bundle
from gearshift.export.trim import trim_bundle
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import SELF_TEST, TOKENIZER
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from tests.fuzz.kinds import graph, self_test, tokenizer
from tests.runtime.altered import change_manifest

SEEDS = range(8)


def trim(bundle: Bundle, out: Path) -> Path:
    return trim_bundle(bundle, out, keep=list(bundle.pool("fp32"))[:2]).path


def compress(bundle: Bundle, out: Path) -> Path:
    return compress_bundle(bundle, out).path


def altered(directory: Path, name: str, change: Callable[[bytes], bytes]) -> Bundle:
    (directory / name).write_bytes(change((directory / name).read_bytes()))
    change_manifest(directory)
    return open_bundle(directory)


def far_weights(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    tensor = next(each for each in model.graph.initializer if each.data_location == TensorProto.EXTERNAL)
    next(entry for entry in tensor.external_data if entry.key == "offset").value = str(1 << 40)
    return bytes(model.SerializeToString())


def weights_elsewhere(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../secret"
    return bytes(model.SerializeToString())


def huge_constant(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["choice"], ["huge"]))
    return bytes(model.SerializeToString())


def without_switches(content: bytes) -> bytes:
    """A graph whose choice is read as one value, so that no stage is found in it."""
    model = onnx.load_from_string(content)
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] == "choice":
            node.op_type, node.input[1:] = "Identity", []
    return bytes(model.SerializeToString())


GRAPHS: dict[str, Callable[[bytes], bytes]] = {
    "weights far away": far_weights,
    "weights out of the bundle": weights_elsewhere,
    "a huge constant": huge_constant,
    "no switches": without_switches,
    "no graph": lambda content: b"no graph",
    "nothing": lambda content: b"",
    "half of it": lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize("step", [trim, compress])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_made_on_purpose_is_refused(
    bundle_copy: Path, tmp_path: Path, step: Callable[[Bundle, Path], Path], name: str
) -> None:
    with pytest.raises(BundleError, match=r"fp32\.onnx: expected a graph") as said:
        step(altered(bundle_copy, "fp32.onnx", GRAPHS[name]), tmp_path / "out.gearshift")
    assert "\n" not in str(said.value)
    assert not (tmp_path / "out.gearshift").exists()


SELF_TESTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: b"",
    "no archive": lambda content: b"x" * 100,
    "half of it": lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize("name", SELF_TESTS)
def test_a_self_test_made_on_purpose_is_refused(bundle_copy: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match=r"selftest\.npz: not readable") as said:
        trim(altered(bundle_copy, SELF_TEST, SELF_TESTS[name]), tmp_path / "out.gearshift")
    assert "\n" not in str(said.value)


def test_a_tokenizer_made_on_purpose_is_refused(bundle_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json: expected a tokenizer") as said:
        trim(altered(bundle_copy, "tokenizer.json", lambda content: b"{}"), tmp_path / "out.gearshift")
    assert "\n" not in str(said.value)


def test_arrays_that_nobody_asks_for_are_left_out(bundle_copy: Path, tmp_path: Path) -> None:
    with np.load(bundle_copy / SELF_TEST) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    np.savez(bundle_copy / SELF_TEST, allow_pickle=False, **kept, secret=np.zeros(3))
    change_manifest(bundle_copy)
    trimmed = trim(open_bundle(bundle_copy), tmp_path / "out.gearshift")
    with np.load(trimmed / SELF_TEST) as arrays:
        assert "secret" not in arrays.files and "input_ids" in arrays.files


FUZZERS = {
    "graph": ("fp32.onnx", graph.change),
    "self_test": (SELF_TEST, self_test.change),
    "tokenizer": (TOKENIZER, tokenizer.change),
}


@pytest.mark.parametrize("kind", FUZZERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_fuzzers_make_is_trimmed_rightly_or_refused(
    bundle_copy: Path, tmp_path: Path, kind: str, seed: int
) -> None:
    name, change = FUZZERS[kind]
    try:
        bundle = altered(bundle_copy, name, lambda content: change(content, random.Random(seed)))
        trimmed = open_bundle(trim(bundle, tmp_path / "out.gearshift"))
    except GearshiftError as error:
        assert str(error) and "\n" not in str(error)
        return
    inputs = random_inputs(bundle, 9)
    old, new = (ElasticSession(each, "fp32", threads=1) for each in (bundle, trimmed))
    for name, entry in trimmed.pool("fp32").items():
        wanted = old.run(inputs, bundle.pool("fp32")[name].choice)
        np.testing.assert_allclose(new.run(inputs, entry.choice), wanted, rtol=0, atol=1e-5)
