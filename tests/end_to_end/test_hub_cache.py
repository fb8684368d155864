"""Bundles in a cache of the Hugging Face hub: `snapshots/REVISION/` has links to files in `blobs/` beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import onnxruntime as ort
import pytest

from gearshift.errors import BundleError, IntegrityError
from gearshift.export.compress import compress_bundle
from gearshift.export.dedicated import dedicated_graphs
from gearshift.export.trim import trim_bundle
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.compressed import COMPRESSED, unpack, write_compressed
from gearshift.runtime.bundle.manifest import MANIFEST
from gearshift.runtime.engine import Engine
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.files.cache import HashMemory
from gearshift.runtime.inference.session import ElasticSession
from gearshift.versions import release_numbers

REVISION = "0123456789abcdef0123456789abcdef01234567"
TEXT = "turn the lights off"


def downloaded(source: Path, cache: Path, *, folder: str = "", absolute: bool = False) -> Path:
    """The bundle as `huggingface_hub.snapshot_download` leaves it in a cache: its directory."""
    repository = cache / "models--someone--tiny"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / REVISION / folder
    for made in (blobs, snapshot, repository / "refs"):
        made.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(REVISION)
    for path in source.iterdir():
        blob = blobs / sha256_of(path)
        shutil.copyfile(path, blob)
        (snapshot / path.name).symlink_to(blob if absolute else os.path.relpath(blob, snapshot))
    return snapshot


@pytest.fixture
def snapshot(tiny_bundle: Path, tmp_path: Path) -> Path:
    return downloaded(tiny_bundle, tmp_path / "hub")


def test_the_cache_of_these_tests_is_one_to_the_library_of_the_hub(snapshot: Path) -> None:
    found = huggingface_hub.scan_cache_dir(snapshot.parents[2])
    assert not found.warnings
    (repository,) = found.repos
    (revision,) = repository.revisions
    assert (repository.repo_id, revision.snapshot_path) == ("someone/tiny", snapshot)
    assert {file.blob_path.parent for file in revision.files} == {snapshot.parents[1] / "blobs"}


@pytest.mark.parametrize("folder", ["", "tiny.gearshift", "snapshots/tiny.gearshift"])
@pytest.mark.parametrize("absolute", [False, True], ids=["relative", "absolute"])
def test_a_bundle_of_links_to_the_blobs_of_its_repository_is_opened(
    tiny_bundle: Path, bundle: Bundle, tmp_path: Path, folder: str, absolute: bool
) -> None:
    directory = downloaded(tiny_bundle, tmp_path / "hub", folder=folder, absolute=absolute)
    opened = open_bundle(directory)
    assert (opened.hash, opened.path) == (bundle.hash, directory)


def test_a_link_to_the_whole_directory_is_followed(snapshot: Path, bundle_copy: Path, tmp_path: Path) -> None:
    for number, directory in enumerate((snapshot, bundle_copy)):
        link = tmp_path / f"link-{number}"
        link.symlink_to(directory)
        assert open_bundle(link).hash == open_bundle(directory).hash


def test_it_is_opened_from_inside_by_a_relative_path(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(snapshot)
    open_bundle(".")
    monkeypatch.chdir(snapshot.parent)
    open_bundle(snapshot.name)


def test_it_answers_as_the_copied_bundle_does(snapshot: Path, tiny_bundle: Path) -> None:
    for cache in (True, False):  # joined weights of a cache have other numbers
        scores = []
        for path in (tiny_bundle, snapshot):
            with Engine.load(path, precision="int8", threads=1, sensors=False, cache=cache) as engine:
                engine.pin("w050-d050")
                scores.append(engine.run(TEXT).scores)
        assert scores[0] == scores[1]


def test_what_is_made_of_it_has_no_links(snapshot: Path, tmp_path: Path) -> None:
    opened = open_bundle(snapshot)
    trimmed = trim_bundle(opened, tmp_path / "small", keep=["w050-d050"])
    compressed = compress_bundle(opened, tmp_path / "compressed")
    for directory in (trimmed.path, compressed.path, shutil.copytree(snapshot, tmp_path / "copied")):
        assert not any(path.is_symlink() for path in directory.iterdir())
        open_bundle(directory)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_dedicated_graph_is_that_of_the_copied_bundle(
    snapshot: Path, bundle: Bundle, precision: str, tmp_path: Path
) -> None:
    """It joins segments, and so reads the weights, which onnx itself refuses to do through a link."""
    graphs = []
    for opened in (bundle, open_bundle(snapshot)):
        with dedicated_graphs(opened)(precision, "w075-d100", 1) as rival:
            graphs.append([path.read_bytes() for path in sorted(rival.session.path.parent.glob(f"{precision}.*"))])
    assert len(graphs[0]) == 2 and graphs[0] == graphs[1]


def test_a_compressed_bundle_is_unpacked_from_the_cache(bundle: Bundle, tmp_path: Path) -> None:
    write_compressed(bundle.path, bundle.manifest.files, _made(tmp_path / "compressed"), {})
    directory = downloaded(tmp_path / "compressed", tmp_path / "hub")
    opened = open_bundle(directory)
    assert (opened.hash, opened.origin) == (bundle.hash, directory)
    assert opened.compressed is not None
    unpack(opened.compressed, tmp_path / "plain")
    assert open_bundle(tmp_path / "plain").hash == bundle.hash


def test_a_local_directory_of_the_hub_is_opened(bundle_copy: Path) -> None:
    """With `local_dir`, the files are copied, and `.cache/huggingface` beside them says from where."""
    notes = bundle_copy / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    (notes / f"{MANIFEST}.metadata").write_text(f"{REVISION}\n\n")
    open_bundle(bundle_copy)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


# Links that lead elsewhere


def relink(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def out_of_the_cache(path: Path) -> None:
    elsewhere = path.parents[4] / "elsewhere"
    shutil.copyfile(path, elsewhere)
    relink(path, elsewhere)


def into_another_repository(path: Path) -> None:
    other = _made(path.parents[3] / "models--somebody--else") / "blobs"
    shutil.copytree(path.parents[2] / "blobs", other)
    relink(path, other / path.resolve().name)


def through_a_blob_that_is_a_link(path: Path) -> None:
    blob, elsewhere = path.resolve(), path.parents[4] / "elsewhere"
    blob.rename(elsewhere)
    blob.symlink_to(elsewhere)


def through_a_folder_that_is_a_link(path: Path) -> None:
    blobs, elsewhere = path.parents[2] / "blobs", path.parents[4] / "elsewhere"
    blobs.rename(elsewhere)
    blobs.symlink_to(elsewhere)


def below_the_blobs(path: Path) -> None:
    blob = path.resolve()
    _made(blob.parent / "deeper")
    relink(path, Path(shutil.move(blob, blob.parent / "deeper")))


def in_a_circle(path: Path) -> None:
    relink(path, path)


@pytest.mark.parametrize("name", ["fp32.weights", MANIFEST])
@pytest.mark.parametrize(
    "lead",
    [
        out_of_the_cache,
        into_another_repository,
        through_a_blob_that_is_a_link,
        through_a_folder_that_is_a_link,
        below_the_blobs,
        in_a_circle,
    ],
)
def test_a_link_that_leads_elsewhere_is_refused_though_the_content_is_right(
    snapshot: Path, name: str, lead: Callable[[Path], None]
) -> None:
    lead(snapshot / name)
    with pytest.raises(IntegrityError, match=r": expected a file, found a symbolic link to .+; copy the bundle with"):
        open_bundle(snapshot)


def test_a_listing_of_a_compressed_bundle_is_no_link_elsewhere(bundle: Bundle, tmp_path: Path) -> None:
    write_compressed(bundle.path, bundle.manifest.files, _made(tmp_path / "compressed"), {})
    (tmp_path / "compressed" / COMPRESSED).rename(tmp_path / COMPRESSED)
    (tmp_path / "compressed" / COMPRESSED).symlink_to(tmp_path / COMPRESSED)
    with pytest.raises(IntegrityError, match=r"compressed\.json: expected a file, found a symbolic link"):
        open_bundle(tmp_path / "compressed")


def test_links_that_were_copied_without_their_files_are_refused(snapshot: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(snapshot, tmp_path / "copied", symlinks=True)
    (copied / MANIFEST).unlink()
    shutil.copyfile(snapshot / MANIFEST, copied / MANIFEST)
    with pytest.raises(IntegrityError, match=r"found a symbolic link to .+ \(cp -rL\)"):
        open_bundle(copied)


def test_a_blob_that_is_gone_is_missing(snapshot: Path) -> None:
    (snapshot / "int8.onnx").resolve().unlink()
    with pytest.raises(IntegrityError, match=r"int8\.onnx: missing; copy the bundle again"):
        open_bundle(snapshot)


def test_a_directory_in_the_place_of_a_file_is_named(bundle_copy: Path) -> None:
    (bundle_copy / "int8.onnx").unlink()
    (bundle_copy / "int8.onnx").mkdir()
    with pytest.raises(IntegrityError, match=r"int8\.onnx: expected a file, found a directory or device"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("remembered", [False, True])
def test_a_blob_that_was_altered_is_found(snapshot: Path, tmp_path: Path, remembered: bool) -> None:
    sha256 = HashMemory(tmp_path / "memory").sha256_of if remembered else sha256_of
    open_bundle(snapshot, sha256=sha256)
    blob = (snapshot / "int8.weights").resolve()
    content = bytearray(blob.read_bytes())
    content[100] ^= 1
    blob.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"int8\.weights: expected sha256 \w+, found \w+"):
        open_bundle(snapshot, sha256=sha256)


def test_a_link_that_is_led_elsewhere_after_it_was_remembered_is_refused(snapshot: Path, tmp_path: Path) -> None:
    sha256 = HashMemory(tmp_path / "memory").sha256_of
    open_bundle(snapshot, sha256=sha256)
    out_of_the_cache(snapshot / "int8.weights")
    with pytest.raises(IntegrityError, match="found a symbolic link"):
        open_bundle(snapshot, sha256=sha256)


@pytest.mark.skipif((release_numbers(ort.__version__) or ()) < (1, 24), reason="onnxruntime 1.23 follows any link")
def test_weights_that_are_led_elsewhere_after_the_check_are_refused_with_advice(snapshot: Path) -> None:
    opened = open_bundle(snapshot)
    out_of_the_cache(snapshot / "fp32.weights")
    with pytest.raises(BundleError, match=r"fp32\.onnx: onnxruntime .+ cannot load it .+ \(cp -rL\)$"):
        ElasticSession(opened, "fp32", threads=1)
