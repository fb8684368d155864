"""Files of graphs are hashed when they are opened: each once, and none that is not used."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gearshift.errors import BundleError, IntegrityError, SchemaError
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.graph.check import check_content
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.cache import PackedCache
from tests.runtime.altered import add_dan, change_manifest
from tests.runtime.dans import made_dan

GRAPHS = {precision: {f"{precision}.onnx", f"{precision}.weights"} for precision in ("fp32", "int8")}


class Hashed(list[str]):
    """Names of the files that were hashed, in order."""

    def __call__(self, path: Path) -> str:
        self.append(path.name)
        return sha256_of(path)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def hashed() -> Hashed:
    return Hashed()


@pytest.fixture
def opened(bundle_copy: Path, hashed: Hashed) -> Bundle:
    return open_bundle(bundle_copy, sha256=hashed, whole=False)


def test_graphs_and_weights_are_left_for_later(opened: Bundle, hashed: Hashed) -> None:
    assert set(hashed) == opened.manifest.files.keys() - GRAPHS["fp32"] - GRAPHS["int8"]


def test_a_whole_bundle_is_hashed_at_once(bundle_copy: Path, hashed: Hashed) -> None:
    opened = open_bundle(bundle_copy, sha256=hashed)
    assert sorted(hashed) == sorted(opened.manifest.files)
    opened.check_graph_files(GRAPHS)
    assert len(hashed) == len(opened.manifest.files)


@pytest.mark.parametrize("precision", GRAPHS)
def test_a_session_hashes_its_own_graph_once(opened: Bundle, hashed: Hashed, precision: str) -> None:
    hashed.clear()
    for _ in range(2):
        ElasticSession(opened, precision, threads=1).close()
    assert sorted(hashed) == sorted(GRAPHS[precision])


@pytest.mark.parametrize("name", sorted(GRAPHS["fp32"] | GRAPHS["int8"]))
@pytest.mark.parametrize("cache", [True, False])
def test_an_altered_file_is_refused_where_it_is_used(bundle_copy: Path, name: str, cache: bool) -> None:
    precision = name.partition(".")[0]
    with Engine.load(bundle_copy, precision=precision, cache=cache):
        pass
    alter(bundle_copy / name)
    for wanted in ("auto", precision):
        with pytest.raises(IntegrityError, match=f"{name}: expected sha256"):
            Engine.load(bundle_copy, precision=wanted, cache=cache)
    (other,) = GRAPHS.keys() - {precision}
    with Engine.load(bundle_copy, precision=other, cache=cache) as engine:
        assert engine.run("turn the lights off").label


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"short")])
def test_a_file_that_is_missing_or_cut_is_refused_used_or_not(
    bundle_copy: Path, change: Callable[[Path], object]
) -> None:
    change(bundle_copy / "fp32.weights")
    with pytest.raises(IntegrityError, match=r"fp32\.weights"):
        Engine.load(bundle_copy, precision="int8")


def test_a_file_that_cannot_be_read_later_is_told(bundle_copy: Path) -> None:
    def failing(path: Path) -> str:
        if path.name in GRAPHS["int8"]:
            raise PermissionError(13, "Permission denied")
        return sha256_of(path)

    opened = open_bundle(bundle_copy, sha256=failing, whole=False)
    with pytest.raises(BundleError, match=r"could not be read \(Permission denied\)"):
        opened.check_graph_files(["int8"])


def test_packed_weights_of_a_bundle_that_has_changed_are_not_used(bundle_copy: Path, tmp_path: Path) -> None:
    cache = PackedCache(tmp_path / "packed")
    session = cache.open(open_bundle(bundle_copy, whole=False), "int8", threads=1)
    assert session is not None
    session.close()
    alter(bundle_copy / "int8.weights")
    with pytest.raises(IntegrityError, match=r"int8\.weights: expected sha256"):
        cache.open(open_bundle(bundle_copy, whole=False), "int8", threads=1)


@pytest.mark.parametrize("name", ["tokenizer.json", "selftest.npz", "selftest.json", "dan.safetensors"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_graph_that_is_another_file_too_is_refused(bundle_copy: Path, name: str, whole: bool) -> None:
    """Nobody might open that graph, and so nobody would hash the file, which is opened all the same."""
    if name.startswith("dan"):
        add_dan(
            bundle_copy, made_dan(len(open_bundle(bundle_copy).manifest.labels)), ["turn the lights off"], accuracy=0.5
        )
    manifest = open_bundle(bundle_copy).manifest
    entry = dataclasses.replace(manifest.pool[0], precision="fp16", file=name)
    change_manifest(bundle_copy, pool=(*manifest.pool, entry))
    with pytest.raises(SchemaError, match=f"'{re.escape(name)}' is a graph and something else in the manifest"):
        open_bundle(bundle_copy, whole=whole)


def test_a_graph_may_not_take_the_weights_of_another(opened: Bundle) -> None:
    content = (opened.path / "int8.onnx").read_bytes()
    check_content(content, opened.manifest, opened.graph_files("int8"))
    with pytest.raises(ValueError, match=r"weights in 'int8\.weights', which the manifest does not list"):
        check_content(content, opened.manifest, opened.graph_files("fp32"))
