"""Sessions of single options answer as the graph that has them all, over the same file of weights."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from benchmarks.graph.bundles import random_bundle
from gearshift.errors import EngineClosedError, InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.graph.model import read_model
from gearshift.runtime.inference.onnxruntime_calls import call_options
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.option_sessions import MOST_OPTIONS, OptionSessions, option_paths
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.packed.making import GRAPH, packed_session
from gearshift.runtime.packed.option_files import write_options
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Option, Space, Stage
from gearshift.runtime.space.uniform import uniform_grid

SHAPE = EncoderShape(2, 64, 4, 256, 200, 64, 2)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of one stage that lists its subnets."""
    path = tmp_path_factory.mktemp("listed") / "listed.gearshift"
    return random_bundle(path, SHAPE, uniform_grid(SHAPE), layers_per_stage=SHAPE.layers, max_length=64)


def packed(bundle: Bundle, precision: str, folder: Path, threads: int = 1) -> ElasticSession:
    folder.mkdir(exist_ok=True)
    return packed_session(bundle, precision, folder, threads, lambda size: None)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_subnet_gives_the_bits_of_the_graph_that_has_them_all(
    listed: Bundle, tmp_path: Path, precision: str
) -> None:
    session = packed(listed, precision, tmp_path / "packed")
    assert isinstance(session._session, OptionSessions)
    together = packed(listed, precision, tmp_path / "together", threads=2)  # which uses the graph of all
    assert not isinstance(together._session, OptionSessions)
    inputs = random_inputs(listed, 13, batch=3)
    for entry in listed.pool(precision).values():
        assert np.array_equal(session.run(inputs, entry.choice), together.run(inputs, entry.choice)), entry.name


def test_an_option_has_no_switch_and_only_its_own_weights(listed: Bundle, tmp_path: Path) -> None:
    packed(listed, "int8", tmp_path / "packed").close()
    paths = option_paths(tmp_path / "packed" / GRAPH)
    assert len(paths) == len(listed.pool("int8"))
    sizes = {}
    for name, entry in listed.pool("int8").items():
        model = read_model(paths[entry.choice[0]].read_bytes())
        assert "If" not in {node.operator for node in model.graph.nodes}
        assert "choice" not in {each.name for each in model.graph.inputs}
        sizes[name] = sum(tensor.bytes for tensor in model.graph.tensors)
    assert sizes["w025-d050"] < sizes["w050-d050"] < sizes["w050-d100"] < sizes["w100-d100"]


def test_no_weight_is_packed_anew(listed: Bundle, tmp_path: Path) -> None:
    """Every large matrix of an option refers to the packed form in the file."""
    packed(listed, "int8", tmp_path / "packed").close()
    for path in option_paths(tmp_path / "packed" / GRAPH):
        tensors = read_model(path.read_bytes()).graph.tensors
        matrices = [one for one in tensors if one.name.endswith((".qkv", ".output", ".in", ".out")) and one.place]
        assert matrices
        assert all(any(key.startswith("prepacked") for key in one.place) for one in matrices)


def test_a_choice_that_there_is_not_is_refused(listed: Bundle, tmp_path: Path) -> None:
    session = packed(listed, "int8", tmp_path / "packed")
    last = len(listed.pool("int8")) - 1
    for choice in ((last + 1,), (-1,), (0, 0)):
        with pytest.raises(InputError, match=f"choice: expected a number from 0 to {last}, got"):
            session.run(random_inputs(listed, 5), choice)


def test_a_call_can_be_ended(listed: Bundle, tmp_path: Path) -> None:
    session = packed(listed, "int8", tmp_path / "packed")
    session.end_calls()
    with pytest.raises(EngineClosedError):
        session.run(random_inputs(listed, 5), (0,))
    assert call_options().terminate is False


def test_an_entry_that_is_found_has_them_too(listed: Bundle, tmp_path: Path) -> None:
    cache = PackedCache(tmp_path / "packed")
    made = cache.open(listed, "int8", threads=1)
    found = cache.open(listed, "int8", threads=1)
    assert made is not None
    assert found is not None
    assert isinstance(found._session, OptionSessions)
    inputs = random_inputs(listed, 9)
    for entry in listed.pool("int8").values():
        assert np.array_equal(made.run(inputs, entry.choice), found.run(inputs, entry.choice))
    assert found.release_pages() > 0


def test_more_options_than_sessions_stay_in_one_graph(tmp_path: Path) -> None:
    stage = Stage(0, tuple(Option(((1 + number % 4, 1 + number), (0, 0))) for number in range(MOST_OPTIONS + 1)))
    assert not write_options(Space(SHAPE, (stage,)), tmp_path / "none", tmp_path / "none")


def test_a_graph_of_another_form_stays_in_one(
    listed: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> bool:
        raise ValueError("no switches that end in the output")

    monkeypatch.setattr("gearshift.runtime.packed.option_files.write_options", refused)
    with caplog.at_level(logging.INFO, logger="gearshift"):
        session = packed(listed, "int8", tmp_path / "packed")
    assert "options stay in one graph (no switches that end in the output)" in caplog.text
    assert not isinstance(session._session, OptionSessions)
