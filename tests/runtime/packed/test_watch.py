"""The check of whole entries in the background: seldom, without an effect, and over at `close`."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearshift.errors import BundleError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.engine import Engine
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.packed.entry import BLOCK, describe, read_marker, write_marker
from gearshift.runtime.packed.watch import AGAIN_S, FIRST_S, PAUSE_S, PackedWatch
from tests.runtime.kept import answers, flip


class Waits:
    """Clock that passes as it is asked to, so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked: list[float] = []

    def __call__(self, event: threading.Event, seconds: float) -> bool:
        self.asked.append(seconds)
        return event.is_set() or len(self.asked) > self.times


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    (tmp_path / "graph.weights").write_bytes(os.urandom(3 * BLOCK + 1))
    write_marker(tmp_path, describe(tmp_path, {}, [], 0.0), tmp_path)
    return tmp_path


@contextlib.contextmanager
def watch_over(entry: Path, times: int = 100) -> Iterator[tuple[PackedWatch, list[str], Waits]]:
    found: list[str] = []
    waits = Waits(times)
    with contextlib.closing(PackedWatch(entry, read_marker(entry).files, found.append, wait=waits)) as watch:
        yield watch, found, waits


def test_it_reads_slowly_and_then_rests_for_a_day(entry: Path) -> None:
    with watch_over(entry, times=10) as (watch, found, waits):
        watch.run()
    blocks = [PAUSE_S] * 4
    assert waits.asked == [FIRST_S, *blocks, AGAIN_S, *blocks, AGAIN_S]
    assert BLOCK / PAUSE_S <= 4e6 and not found


@pytest.mark.parametrize("block", range(4))
def test_it_finds_a_changed_block_once_and_ends(entry: Path, block: int) -> None:
    with watch_over(entry) as (watch, found, waits):
        flip(entry / "graph.weights", block * BLOCK)
        watch.run()
    assert found == [f"graph.weights: block {block} has changed"]
    assert len(waits.asked) == 2 + block


def test_it_finds_what_changes_after_a_check_that_found_nothing(entry: Path) -> None:
    with watch_over(entry) as (watch, _, _):
        assert watch.check() is None
        flip(entry / "graph.weights", 3 * BLOCK)
        assert watch.check() == "graph.weights: block 3 has changed"


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_it_reads_the_files_that_are_mapped_whatever_has_their_name(entry: Path, how: str) -> None:
    whole = (entry / "graph.weights").read_bytes()
    with watch_over(entry) as (watch, found, _):
        flip(entry / "graph.weights", 1)
        (entry / "graph.weights").unlink()
        if how == "replaced":
            (entry / "graph.weights").write_bytes(whole)
        watch.run()
    assert found == ["graph.weights: block 0 has changed"]


def test_a_file_that_is_cut_off_meanwhile_has_changed(entry: Path) -> None:
    with watch_over(entry) as (watch, found, _):
        os.truncate(entry / "graph.weights", BLOCK)
        watch.run()
    assert found == ["graph.weights: block 1 has changed"]


def test_it_stops_between_two_blocks(entry: Path) -> None:
    with watch_over(entry) as (watch, found, waits):
        watch.stop()
        watch.run()
    assert waits.asked == [FIRST_S] and not found


# In an engine


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackedCache:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    return PackedCache()


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[PackedWatch]]:
    """The watches of sessions, which this test runs itself."""
    started: list[PackedWatch] = []
    monkeypatch.setattr(PackedWatch, "start", lambda watch: started.append(watch))
    yield started


def test_a_session_whose_weights_have_changed_goes_on_with_the_bundle_itself(
    cache: PackedCache, bundle: Bundle, watches: list[PackedWatch], caplog: pytest.LogCaptureFixture
) -> None:
    right = answers(ElasticSession(bundle, "fp32", threads=1), bundle)
    session = cache.open(bundle, "fp32", threads=1)
    assert session is not None and session.packed
    (place,) = cache.entries()
    weights = (place / "graph.weights").read_bytes()
    with (place / "graph.weights").open("r+b") as file:
        file.write(bytes(len(weights)))  # the session has mapped it: its answers change at once
    assert answers(session, bundle) != right
    watches[0]._wait = Waits(100)
    with caplog.at_level(logging.WARNING, logger="gearshift"):
        watches[0].run()
    assert answers(session, bundle) == right
    assert not session.packed and session.path == bundle.path / "fp32.onnx" and session.release_pages() == 0
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{place}: packed weights are damaged (graph.weights: block 0 has changed); answering from {bundle.path} itself"
    )
    assert not cache.entries()
    session.close()


@pytest.mark.parametrize("name", ["fp32.onnx", "fp32.weights"])
def test_a_session_whose_bundle_has_changed_too_answers_no_more(
    cache: PackedCache, bundle_copy: Path, watches: list[PackedWatch], name: str
) -> None:
    """One bit of the bundle: no answer of its self-test need show it."""
    bundle = open_bundle(bundle_copy, whole=False)
    session = cache.open(bundle, "fp32", threads=1)
    assert session is not None
    content = bytearray((bundle_copy / name).read_bytes())
    content[-1] ^= 1
    (bundle_copy / name).write_bytes(content)
    watches[0]._damaged("block 0 has changed")
    for _ in range(2):
        with pytest.raises(BundleError, match=rf"{name}: expected sha256 .*; load the engine again$"):
            answers(session, bundle)
    session.close()


def test_damage_that_is_found_while_the_session_closes_opens_nothing(
    cache: PackedCache, bundle: Bundle, watches: list[PackedWatch]
) -> None:
    session = cache.open(bundle, "fp32", threads=1)
    assert session is not None
    (place,) = cache.entries()
    session.close()
    watches[0]._damaged("block 0 has changed")
    assert session._session is None and not place.exists()


@pytest.fixture
def others() -> set[threading.Thread]:
    """Threads of engines that tests before have left open."""
    return watching(set())


def watching(others: set[threading.Thread]) -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "gearshift-packed"} - others


def test_the_thread_ends_with_its_engine(cache: PackedCache, tiny_bundle: Path, others: set[threading.Thread]) -> None:
    for _ in range(2):  # the entry is made, and then found
        with Engine.load(tiny_bundle, threads=1, sensors=False):
            (thread,) = watching(others)
        assert not watching(others) and not thread.is_alive()


def test_the_thread_keeps_no_engine_alive_that_nobody_has_any_more(
    cache: PackedCache, bundle: Bundle, others: set[threading.Thread]
) -> None:
    session = cache.open(bundle, "fp32", threads=1)
    (thread,) = watching(others)
    del session
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_without_a_cache_there_is_no_thread(tiny_bundle: Path, others: set[threading.Thread]) -> None:
    with Engine.load(tiny_bundle, threads=1, sensors=False, cache=False):
        assert not watching(others)


def test_a_system_without_a_thread_to_spare_loads_all_the_same(
    cache: PackedCache, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    session = cache.open(bundle, "fp32", threads=1)
    assert session is not None and session.packed
    session.close()
