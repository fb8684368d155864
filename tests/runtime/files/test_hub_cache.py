"""Repositories in the hub cache, found without the hub's package."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gearshift.errors import InputError
from gearshift.runtime import Engine
from gearshift.runtime.files.hub_cache import BUNDLE_FOLDER, cache_directory, cached_snapshot, find_bundle

REVISION = "0123abcd"


def put(cache: Path, name: str, files: Path, folder: str = "") -> Path:
    """Put files into a cache as huggingface_hub does: blobs, and links to them."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / REVISION / folder
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(files.iterdir())):
        shutil.copy(file, repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(repository / "blobs" / str(number))
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("folder", ["", BUNDLE_FOLDER])
def test_an_engine_is_loaded_by_the_name_of_a_cached_repository(cache: Path, tiny_bundle: Path, folder: str) -> None:
    snapshot = put(cache, "someone/a-model.v2", tiny_bundle, folder)
    assert find_bundle("someone/a-model.v2") == snapshot
    with Engine.from_pretrained("someone/a-model.v2", precision="fp32", threads=1) as engine:
        assert engine.run("turn the lights off").label


def test_a_directory_is_taken_before_a_name(
    cache: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache, "a/b", tiny_bundle)
    (tmp_path / "a").mkdir()
    shutil.copytree(tiny_bundle, tmp_path / "a" / "b" / BUNDLE_FOLDER)
    monkeypatch.chdir(tmp_path)
    assert find_bundle("a/b") == Path("a/b") / BUNDLE_FOLDER
    assert find_bundle(tiny_bundle) == tiny_bundle


@pytest.mark.parametrize("name", ["nobody/nothing", "plain", "a/b/c", "../a", "", "a/..", "-"])
def test_what_is_nowhere_is_one_line_that_says_how_to_fetch_it(cache: Path, name: str) -> None:
    assert cached_snapshot(name) is None
    if not Path(name).is_dir():
        with pytest.raises(InputError, match="expected a directory, or a repository in the hub cache"):
            find_bundle(name)


def test_a_repository_without_a_bundle_is_one_line(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "config.json").write_text("{}")
    put(cache, "a/b", tmp_path / "files")
    with pytest.raises(InputError, match=r"a/b: expected a bundle in it, or in its folder bundle, found none"):
        find_bundle("a/b")


def test_a_revision_cannot_lead_out_of_the_cache(cache: Path, tiny_bundle: Path) -> None:
    snapshot = put(cache, "a/b", tiny_bundle)
    refs = snapshot.parent.parent / "refs" / "main"
    for revision in ("../../..", "..", "", "gone", "\udcff"):
        refs.write_bytes(revision.encode(errors="surrogateescape"))
        assert cached_snapshot("a/b") is None


def test_the_cache_is_where_the_variables_of_the_hub_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "huggingface" / "hub"
    for name, expected in (
        ("XDG_CACHE_HOME", tmp_path / "x" / "huggingface" / "hub"),
        ("HF_HOME", tmp_path / "x" / "hub"),
        ("HUGGINGFACE_HUB_CACHE", tmp_path / "x"),
        ("HF_HUB_CACHE", tmp_path / "x"),
    ):
        monkeypatch.setenv(name, str(tmp_path / "x"))
        assert cache_directory() == expected
