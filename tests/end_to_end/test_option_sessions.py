"""Sessions of single options answer as the graph that has them all, over the same file of weights."""

from __future__ import annotations

import itertools
import logging
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from benchmarks.graph.bundles import random_bundle
from gearshift.errors import EngineClosedError, InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.engine import Engine
from gearshift.runtime.files.cache import VARIABLE
from gearshift.runtime.graph.model import read_model
from gearshift.runtime.inference.onnxruntime_calls import call_options
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.option_sessions import MOST_OPTIONS, OptionSessions, option_path, option_paths
from gearshift.runtime.inference.session import ElasticSession, _by_size
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.packed.making import GRAPH, packed_session
from gearshift.runtime.packed.opening import Opening
from gearshift.runtime.packed.option_files import write_options
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Option, Space, Stage
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.runtime.startup import Loaded
from tests.runtime.test_engine import _table

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


@pytest.fixture(scope="module")
def kept(listed: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with an entry of the bundle in fp32."""
    path = tmp_path_factory.mktemp("kept")
    made = PackedCache(path).open(listed, "fp32", threads=1)
    assert made is not None
    made.close()
    return path


def first_alone(bundle: Bundle, kept: Path) -> ElasticSession:
    """A session whose smallest subnet alone is open."""
    (place,) = PackedCache(kept).entries()
    return ElasticSession(bundle, "fp32", threads=1, graph=place / GRAPH, first=True)


def open_names(session: ElasticSession, bundle: Bundle) -> set[str]:
    return {name for name, entry in bundle.pool("fp32").items() if session.is_open(entry.choice)}


def test_the_smallest_opens_first_and_another_by_its_first_call(listed: Bundle, kept: Path) -> None:
    session, plain = first_alone(listed, kept), ElasticSession(listed, "fp32", threads=1)
    assert open_names(session, listed) == {"w025-d050"}
    assert not session.whole
    inputs = random_inputs(listed, 9)
    for number, (name, entry) in enumerate(listed.pool("fp32").items()):
        assert np.array_equal(session.run(inputs, entry.choice), plain.run(inputs, entry.choice))
        assert open_names(session, listed) == {"w025-d050", *list(listed.pool("fp32"))[: number + 1]}, name
    assert session.whole
    assert not session.open_next()
    assert plain.whole


def test_the_next_larger_ones_follow_until_all_are_open(listed: Bundle, kept: Path) -> None:
    session = first_alone(listed, kept)
    seen = [open_names(session, listed)]
    while session.open_next():
        seen.append(open_names(session, listed))
    macs = {name: entry.macs for name, entry in listed.pool("fp32").items()}
    for before, after in itertools.pairwise(seen):
        assert before < after
        assert max(macs[name] for name in before) <= min(macs[name] for name in after - before)
    assert session.whole


def test_options_that_read_much_are_opened_one_by_one(listed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their pages are released before those of the next one come."""
    many = len(listed.pool("fp32"))
    assert [len(group) for group in _by_size(listed, "fp32", many)] == [1, many - 1]
    monkeypatch.setattr("gearshift.runtime.inference.session.READ_BYTES", 1)
    assert [len(group) for group in _by_size(listed, "fp32", many)] == [1] * many


def test_a_deadline_takes_what_is_open_and_no_deadline_waits(listed: Bundle, kept: Path) -> None:
    session = first_alone(listed, kept)
    with Engine(Loaded.of(listed, session, _table(listed))) as engine:
        assert engine.run("w4 w5 w6", deadline_ms=10_000).subnet == "w025-d050"
        assert open_names(session, listed) == {"w025-d050"}
        assert engine.run("w4 w5 w6").subnet == engine.ladder[0]
        while session.open_next():
            pass
        assert engine.run("w4 w5 w6", deadline_ms=10_000).subnet == engine.ladder[0]


def test_an_engine_at_once_has_all_subnets_in_the_end(
    listed: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    with Engine.load(listed.path, threads=1, precision="fp32") as engine:
        engine.save_profile(tmp_path / "profile.json")
    with Engine.load(
        listed.path, threads=1, precision="fp32", profile=tmp_path / "profile.json", at_once=True
    ) as engine:
        assert engine.run("w4 w5 w6", deadline_ms=10_000).subnet in engine.ladder
        for thread in threading.enumerate():
            if thread.name == "gearshift-opening":
                thread.join()
        assert engine._opened.session.whole


def test_a_subnet_that_cannot_be_opened_is_told_and_ends_the_opening(
    listed: Bundle, kept: Path, tmp_path: Path
) -> None:
    (place,) = PackedCache(kept).entries()
    broken = tmp_path / "broken"
    shutil.copytree(place, broken)
    session = ElasticSession(listed, "fp32", threads=1, graph=broken / GRAPH, first=True)
    for name, entry in listed.pool("fp32").items():
        if name != "w025-d050":
            option_path(broken / GRAPH, entry.choice[0]).write_bytes(b"no graph")
    told: list[str] = []
    Opening(session, told.append).run()
    assert len(told) == 1
    assert "could not open a subnet" in told[0]


def test_a_closed_session_opens_no_more(listed: Bundle, kept: Path) -> None:
    session = first_alone(listed, kept)
    told: list[str] = []
    opening = Opening(session, told.append)
    session.close()
    opening.run()
    opening.close()
    assert not told
    assert not session.open_next()
