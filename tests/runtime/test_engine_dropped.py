"""Engines that nobody closes: their threads, files and memory are freed when they are dropped."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import psutil
import pytest

from gearshift.runtime import Engine
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.startup import Loaded
from tests.runtime.test_engine_caps import _until

TEXT = "turn the lights off"


@pytest.fixture(scope="module")
def profile(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "profile.json"
    with Engine.load(tiny_bundle, threads=1, precision="fp32") as engine:
        engine.save_profile(path)
    return path


USES = ["load", "run", "submit", "wait", "cycle", "metrics", "log", "all"]


def use(what: str, engine: Engine) -> None:
    if what in ("run", "all"):
        engine.run(TEXT)
    if what in ("submit", "log", "all"):
        engine.submit(TEXT).result(30)
    if what in ("cycle", "all"):
        engine.itself = engine  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", USES)
def test_an_engine_that_is_dropped_leaves_no_thread_no_file_and_no_session(
    what: str, tiny_bundle: Path, profile: Path, tmp_path: Path
) -> None:
    process = psutil.Process()
    gc.collect()
    threads, files = process.num_threads(), process.num_fds()
    sessions: list[weakref.ref[ElasticSession]] = []
    for number in range(3):
        engine = Engine.load(
            tiny_bundle,
            threads=1,
            precision="fp32",
            profile=profile,
            log=tmp_path / f"{number}.jsonl" if what in ("log", "all") else None,
            metrics_port=0 if what in ("metrics", "all") else None,
        )
        sessions.append(weakref.ref(engine._opened.session))
        use(what, engine)
        futures = [engine.submit(TEXT) for _ in range(5)] if what in ("wait", "all") else []
        del engine
        assert all(future.result(30).label for future in futures)
    gc.collect()
    _until(lambda: process.num_threads() <= threads and process.num_fds() <= files)
    _until(lambda: not any(session() for session in sessions))


def test_requests_that_wait_are_answered_though_their_engine_was_dropped(tiny_bundle: Path, profile: Path) -> None:
    futures = [
        Engine.load(tiny_bundle, threads=1, precision="fp32", profile=profile).submit([TEXT] * 20) for _ in range(2)
    ]
    gc.collect()
    assert [len(future.result(30)) for future in futures] == [20, 20]


def test_the_log_of_a_dropped_engine_is_whole(tiny_bundle: Path, profile: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    futures = [
        Engine.load(tiny_bundle, threads=1, precision="fp32", profile=profile, log=path).submit(TEXT) for _ in range(2)
    ]
    gc.collect()
    assert all(future.result(30).label for future in futures)
    _until(lambda: len(path.read_text().splitlines()) == 4)


def test_an_engine_over_the_session_of_another_leaves_it_open_when_dropped(tiny_bundle: Path, profile: Path) -> None:
    with Engine.load(tiny_bundle, threads=1, precision="fp32", profile=profile) as engine:
        other = Engine(Loaded(engine._opened, engine.table))
        assert other.submit(TEXT).result(30).label
        del other
        gc.collect()
        assert engine.run(TEXT).label
