"""Entries of packed weights that were changed: the same answers as before, whatever changed and whoever hides it."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import IntegrityError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.files.cache import HashMemory
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.packed.entry import (
    BLOCK,
    MARKER,
    SAMPLED,
    describe,
    read_marker,
    require_intact,
    require_whole,
    write_marker,
)
from gearshift.runtime.packed.making import GRAPH
from gearshift.sealed_json import sealed, unsealed
from tests.runtime.kept import answers, exchange, flip, make_other, places, remember

WEIGHTS = "graph.weights"
FLIPS = 5


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackedCache]:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    yield PackedCache()


@pytest.fixture(scope="session")
def made(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The entry of the tiny bundle at fp32, to be copied."""
    directory = tmp_path_factory.mktemp("made")
    found(PackedCache(directory / "packed"), bundle)
    return directory / "packed"


@pytest.fixture
def entry(made: Path, cache: PackedCache) -> Path:
    """A copy of it in the cache of a test."""
    shutil.copytree(made, cache.directory)
    cache.directory.chmod(0o700)
    (place,) = cache.entries()
    return place


@pytest.fixture(scope="session")
def right(bundle: Bundle) -> list[list[float]]:
    from gearshift.runtime.inference.session import ElasticSession

    return answers(ElasticSession(bundle, "fp32", threads=1), bundle)


def found(cache: PackedCache, bundle: Bundle) -> list[list[float]]:
    session = cache.open(bundle, "fp32", threads=1)
    assert session is not None
    try:
        return answers(session, bundle)
    finally:
        session.close()


@pytest.mark.parametrize("name", ["fp32.weights", "fp32.onnx"])
def test_no_entry_is_made_of_files_that_a_disk_changed_since_they_were_hashed(
    bundle_copy: Path, cache: PackedCache, name: str
) -> None:
    """It would keep the fault for all later loads, though the files be made whole again."""
    remember(bundle_copy / name)
    flip(bundle_copy / name, (bundle_copy / name).stat().st_size // 2, 1, hidden=True)
    bundle = open_bundle(bundle_copy, sha256=HashMemory().sha256_of)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=f"{name}: expected sha256"):
            cache.open(bundle, "fp32", threads=1)
    assert not cache.entries()


@pytest.mark.parametrize("hidden", [False, True], ids=["by a program", "by the disk"])
@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, MARKER])
def test_no_byte_of_an_entry_can_change_an_answer(
    cache: PackedCache, bundle: Bundle, entry: Path, right: list[list[float]], name: str, hidden: bool
) -> None:
    for place in places((entry / name).stat().st_size, FLIPS):
        remember(entry / WEIGHTS)
        remember(entry / GRAPH)
        flip(entry / name, place, hidden=hidden)
        assert found(cache, bundle) == right, (name, place)


def test_entries_that_took_each_others_place_are_made_anew(
    cache: PackedCache, bundle: Bundle, bundle_copy: Path, right: list[list[float]], caplog: pytest.LogCaptureFixture
) -> None:
    other = make_other(bundle_copy)
    wanted = found(cache, other)
    assert found(cache, bundle) == right != wanted
    exchange(*cache.entries())
    with caplog.at_level(logging.WARNING, logger="gearshift"):
        assert found(cache, bundle) == right
        assert found(cache, other) == wanted
    assert "made for another bundle, precision, onnxruntime or CPU" in caplog.text


def test_files_of_another_entry_are_not_taken(
    cache: PackedCache, bundle: Bundle, bundle_copy: Path, right: list[list[float]]
) -> None:
    other = make_other(bundle_copy)
    for name in (WEIGHTS, GRAPH, MARKER):
        assert found(cache, bundle) == right
        (mine,) = cache.entries()
        found(cache, other)
        (its,) = cache.entries().keys() - {mine}
        times = (mine / name).stat()
        shutil.copyfile(its / name, mine / name)
        os.utime(mine / name, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert found(cache, bundle) == right
        cache.clear()


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, MARKER])
def test_an_entry_that_was_cut_off_anywhere_is_made_anew(
    cache: PackedCache, bundle: Bundle, entry: Path, right: list[list[float]], name: str
) -> None:
    size = (entry / name).stat().st_size
    for length in (0, 1, size // 3, size - 1):
        os.truncate(entry / name, length)
        assert found(cache, bundle) == right
    with (entry / name).open("ab") as file:
        file.write(b"more")
    assert found(cache, bundle) == right


def rewrite(entry: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a marker says, with a seal that fits: as another version would have written it."""
    fields = unsealed(json.loads((entry / MARKER).read_text()))
    change(fields)
    (entry / MARKER).write_text(json.dumps(sealed(fields)))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another format": lambda fields: fields.update(format=1),
    "no format": lambda fields: fields.pop("format"),
    "another bundle": lambda fields: fields["made_for"].update(bundle="0" * 64),
    "another precision": lambda fields: fields["made_for"].update(precision="int8"),
    "another onnxruntime": lambda fields: fields["made_for"].update(onnxruntime="1.2.3"),
    "another CPU": lambda fields: fields["made_for"].update(cpu=["another"]),
    "no CPU": lambda fields: fields["made_for"].pop("cpu"),
    "made for nothing": lambda fields: fields.update(made_for=[]),
    "another answer": lambda fields: fields.update(probe=[value + 1 for value in fields["probe"]]),
    "an answer that is no number": lambda fields: fields.update(probe=["x"] * len(fields["probe"])),
    "an answer of another length": lambda fields: fields.update(probe=[]),
    "a difference that is no number": lambda fields: fields.update(within="x"),
    "no files": lambda fields: fields.update(files={}),
    "files of another form": lambda fields: fields.update(files=[1]),
    "blocks that are missing": lambda fields: fields["files"][WEIGHTS].update(blocks=[]),
    "blocks that are numbers": lambda fields: fields["files"][WEIGHTS].update(blocks=5),
    "bytes that are a text": lambda fields: fields["files"][WEIGHTS].update(bytes="5"),
    "a path for a name": lambda fields: fields["files"].update({"../x": fields["files"][GRAPH]}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_entry_that_says_something_else_is_made_anew(
    cache: PackedCache, bundle: Bundle, entry: Path, right: list[list[float]], change: str
) -> None:
    rewrite(entry, CHANGES[change])
    said = (entry / MARKER).read_bytes()
    assert found(cache, bundle) == right
    assert (entry / MARKER).read_bytes() != said
    require_whole(entry)


def test_an_entry_without_a_seal_as_versions_before_wrote_it_is_made_anew(
    cache: PackedCache, bundle: Bundle, entry: Path, right: list[list[float]]
) -> None:
    files = {name: [(entry / name).stat().st_size, (entry / name).stat().st_mtime_ns] for name in (GRAPH, WEIGHTS)}
    (entry / MARKER).write_text(json.dumps({"bundle": str(bundle.path), "files": files}))
    assert found(cache, bundle) == right
    require_whole(entry)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, MARKER, "more"])
def test_what_is_no_file_of_ours_in_an_entry_is_not_opened(
    cache: PackedCache, bundle: Bundle, entry: Path, right: list[list[float]], name: str, kind: str, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes((entry / name).read_bytes() if name != "more" else b"precious")
    before = mine.read_bytes()
    (entry / name).unlink(missing_ok=True)
    if kind == "link":
        (entry / name).symlink_to(mine)
    elif kind == "pipe":
        os.mkfifo(entry / name)
    else:
        (entry / name).mkdir()
    assert found(cache, bundle) == right
    require_whole(entry)
    assert mine.read_bytes() == before


def test_each_load_reads_the_first_block_and_as_many_others_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(BLOCK * 40))
    write_marker(tmp_path, describe(tmp_path, {}, [], 0.0), tmp_path)
    asked: list[tuple[range, int]] = []

    def draw(numbers: range, count: int) -> list[int]:
        asked.append((numbers, count))
        return [*numbers][-count:]

    require_intact(tmp_path, {}, sha256_of, draw)  # type: ignore[arg-type]
    assert asked == [(range(1, 40), SAMPLED)]
    known = sha256_of(tmp_path / "weights")
    for block in (0, 39, 40 - SAMPLED):
        flip(tmp_path / "weights", block * BLOCK + 1)
        with pytest.raises(ValueError, match=f"block {block} has changed"):
            require_intact(tmp_path, {}, lambda path: known, draw)  # type: ignore[arg-type]
        flip(tmp_path / "weights", block * BLOCK + 1)
    flip(tmp_path / "weights", 5 * BLOCK)
    require_intact(tmp_path, {}, lambda path: known, draw)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="block 5 has changed"):
        require_whole(tmp_path)


def test_files_without_a_byte_and_blocks_that_end_with_the_file_are_right(tmp_path: Path) -> None:
    for name, size in (("empty", 0), ("one", 1), ("even", 2 * BLOCK), ("odd", 2 * BLOCK + 1)):
        (tmp_path / name).write_bytes(bytes(size))
    write_marker(tmp_path, describe(tmp_path, {}, [], 0.0), tmp_path)
    files = require_intact(tmp_path, {}, sha256_of).files
    assert {name: len(kept.blocks) for name, kept in files.items()} == {"empty": 0, "one": 1, "even": 2, "odd": 3}
    assert read_marker(tmp_path).files == files
    require_whole(tmp_path)
