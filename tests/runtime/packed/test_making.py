"""Joined weights: each option has the operators of a graph of its own, and the bundle answers without them too."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gearshift.errors import SelfTestError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.graph.model import Graph, Model, read_model
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.joined_files import JoinedFiles
from gearshift.runtime.packed.making import GRAPH, SIZE_FACTOR, packed_session


@pytest.fixture(scope="module")
def shipped(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, logger="gearshift"):
        yield


def branches(model: Model) -> list[Graph]:
    """The branches that compute something."""
    found = (node.attributes.get("then_branch") for node in model.graph.nodes)
    return [each for each in found if isinstance(each, Graph)]


def files_of(bundle: Bundle, precision: str) -> JoinedFiles:
    files = JoinedFiles.of(bundle.path / f"{precision}.onnx")
    assert files is not None
    return files


def opened(bundle: Bundle, path: Path, precision: str) -> ElasticSession:
    return ElasticSession(bundle, precision, threads=1, graph=path)


def test_each_option_runs_one_attention_and_one_product_of_each_kind_in_a_layer(shipped: Bundle) -> None:
    plain = read_model((shipped.path / "int8.onnx").read_bytes())
    joined = files_of(shipped, "int8").joined.model
    space = shipped.manifest.space
    layers = [sum(bool(heads) for heads, _ in option.layers) for stage in space.stages for option in stage.options]
    counts = [sum(node.operator.endswith("QAttention") for node in branch.nodes) for branch in branches(joined)]
    assert counts == [count for count in layers if count]
    before = [sum(node.operator.endswith("QAttention") for node in branch.nodes) for branch in branches(plain)]
    assert max(before) > max(counts)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_subnet_gives_the_same_sums(shipped: Bundle, tmp_path: Path, precision: str) -> None:
    path = files_of(shipped, precision).write(tmp_path / "joined.onnx")
    plain, joined = ElasticSession(shipped, precision, threads=1), opened(shipped, path, precision)
    pool, inputs = shipped.pool(precision).values(), random_inputs(shipped, 11, batch=4)
    spread = np.std([plain.run(inputs, entry.choice) for entry in pool])
    for entry in pool:
        off = np.abs(plain.run(inputs, entry.choice) - joined.run(inputs, entry.choice)).max()
        assert off <= (1e-5 if precision == "fp32" else 0.03 * spread), entry.name


def test_a_subnet_of_one_segment_a_layer_keeps_its_bits(shipped: Bundle, tmp_path: Path) -> None:
    path = files_of(shipped, "int8").write(tmp_path / "joined.onnx")
    plain, joined = ElasticSession(shipped, "int8", threads=1), opened(shipped, path, "int8")
    inputs, entry = random_inputs(shipped, 11), shipped.pool("int8")["w025-d100"]
    assert np.array_equal(plain.run(inputs, entry.choice), joined.run(inputs, entry.choice))


def test_the_bytes_that_are_planned_are_those_that_are_written(shipped: Bundle, tmp_path: Path) -> None:
    files = files_of(shipped, "int8")
    written = files.write(tmp_path / "joined.onnx").with_suffix(".weights").stat().st_size
    tensors = len(read_model((tmp_path / "joined.onnx").read_bytes()).graph.tensors)
    # Output matrices get one scale a column in place of one for each segment, which shows in a net as small as this.
    assert 0.8 * files.bytes < written < files.bytes + 64 * tensors


def test_a_graph_without_cuts_has_nothing_to_join(shipped: Bundle, tmp_path: Path) -> None:
    path = files_of(shipped, "int8").write(tmp_path / "joined.onnx")
    assert JoinedFiles.of(path) is None


def test_fp32_stays_apart_and_int8_is_joined(shipped: Bundle, tmp_path: Path) -> None:
    joined = {}
    for precision in ("fp32", "int8"):
        fresh = tmp_path / precision
        fresh.mkdir()
        packed_session(shipped, precision, fresh, 1, lambda size: None).close()
        assert {path.name for path in fresh.iterdir()} == {GRAPH, "graph.weights"}
        joined[precision] = b"layer0.heads0+" in (fresh / GRAPH).read_bytes()
    assert joined == {"fp32": False, "int8": True}


def test_without_room_for_joined_weights_they_stay_apart(
    shipped: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def room(size: int) -> None:
        asked.append(size)
        if len(asked) == 1:
            raise OSError("no room")

    packed_session(shipped, "int8", tmp_path, 1, room).close()
    apart = sum(entry.bytes for entry in shipped.graph_files("int8").values())
    assert asked == [int((1 + SIZE_FACTOR) * files_of(shipped, "int8").bytes), int(SIZE_FACTOR * apart)]
    assert "segments stay apart (no room)" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {GRAPH, "graph.weights"}


def test_joined_weights_that_fail_the_self_test_stay_apart(
    shipped: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tested = []

    def failing_once(session: ElasticSession, bundle: Bundle) -> None:
        tested.append(session.path)
        if len(tested) == 1:
            raise SelfTestError("wrong numbers")
        check_self_test(session, bundle)

    monkeypatch.setattr("gearshift.runtime.packed.making.check_self_test", failing_once)
    session = packed_session(shipped, "int8", tmp_path, 1, lambda size: None)
    assert "segments stay apart (wrong numbers)" in caplog.text
    plain = ElasticSession(shipped, "int8", threads=1)
    inputs = random_inputs(shipped, 9)
    for entry in shipped.pool("int8").values():
        assert np.array_equal(session.run(inputs, entry.choice), plain.run(inputs, entry.choice))


def test_a_graph_of_another_form_stays_apart(
    shipped: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(shipped.path, copied)
    monkeypatch.setattr(
        "gearshift.runtime.graph.joined._heads", lambda *_: (_ for _ in ()).throw(ValueError("no attention of its own"))
    )
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    packed_session(open_bundle(copied), "int8", fresh, 1, lambda size: None).close()
    assert "segments stay apart (no attention of its own)" in caplog.text
