"""Compressed bundles: unpacked once, to the very same files, and nothing half-unpacked is ever used."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearshift.errors import BundleError, GearshiftError, IntegrityError, SchemaError, StorageError
from gearshift.runtime.bundle import compressed as module
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.compressed import (
    COMPRESSED,
    SUFFIX,
    open_compressed,
    remove_damaged_copies,
    unpack,
    unpacked_entries,
    write_compressed,
    write_listing,
)
from gearshift.runtime.bundle.manifest import MANIFEST
from gearshift.runtime.engine import Engine
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.files.cache import HashMemory
from gearshift.runtime.files.entries import KEPT_ENTRIES
from gearshift.runtime.files.private import PRIVATE, holding
from tests.command_line import PATIENCE_S
from tests.runtime.altered import edit_manifest, set_field
from tests.runtime.kept import exchange, flip, make_other, places, remember

TEXT = "turn the lights off"


@pytest.fixture(scope="session")
def made(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, compressed. Not to be written to."""
    directory = tmp_path_factory.mktemp("compressed")
    write_compressed(bundle.path, bundle.manifest.files, directory, {})
    return directory


@pytest.fixture
def shipped(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may alter."""
    return shutil.copytree(made, tmp_path / "tiny.gearshift")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache directory for each test; gives where bundles are unpacked to."""
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    yield unpacked_entries().directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def nothing_is_left(cache: Path) -> bool:
    return not cache.exists() or not list(cache.iterdir())


def test_what_is_opened_is_the_dense_bundle_bit_for_bit(shipped: Path, bundle: Bundle, cache: Path) -> None:
    opened = open_bundle(shipped)
    assert (opened.hash, opened.manifest, opened.origin) == (bundle.hash, bundle.manifest, shipped)
    assert opened.path.parent == cache
    assert contents(opened.path) == contents(bundle.path)


def test_it_answers_as_the_plain_one_does(shipped: Path, bundle: Bundle) -> None:
    scores = []
    for path in (bundle.path, shipped):
        with Engine.load(path, precision="int8", sensors=False) as engine:
            for name in ("w100-d100", "w050-d050"):
                engine.pin(name)
                scores.append((name, engine.run(TEXT).scores))
    assert scores[:2] == scores[2:]


@pytest.mark.parametrize("kept", [True, False])
def test_it_is_unpacked_once(shipped: Path, cache: Path, kept: bool) -> None:
    sha256 = HashMemory().sha256_of if kept else sha256_of
    first = open_bundle(shipped, sha256=sha256)
    before = {path.name: path.stat().st_ino for path in first.path.iterdir()}
    assert open_bundle(shipped, sha256=sha256).path == first.path
    assert {path.name: path.stat().st_ino for path in first.path.iterdir()} == before
    assert len(list(cache.iterdir())) == 1


def test_the_ones_used_last_stay(shipped: Path, cache: Path) -> None:
    open_bundle(shipped)
    for number in range(KEPT_ENTRIES):
        other = cache / f"{number:032x}"
        other.mkdir(PRIVATE)
        (other / MANIFEST).write_text("{}")
        os.utime(other / MANIFEST, (number, number))
    open_bundle(shipped)  # nothing is made, and so nothing goes
    assert len(unpacked_entries().listed()) == KEPT_ENTRIES + 1
    shutil.rmtree(open_bundle(shipped).path)
    opened = open_bundle(shipped)
    assert next(iter(unpacked_entries().listed())) == opened.path
    assert len(unpacked_entries().listed()) == KEPT_ENTRIES


# Damage on the way


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (Path.unlink, "missing; copy the bundle again"),
    "cut off": (cut_off, r"expected \d+ bytes, found \d+; copy the bundle again"),
    "altered": (alter, r"expected sha256 \w{64}, found \w{64}; copy the bundle again"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_nothing_is_unpacked(shipped: Path, cache: Path, damage: str) -> None:
    harm, message = DAMAGE[damage]
    whole = contents(shipped)
    for name in whole.keys() - {COMPRESSED, MANIFEST}:
        harm(shipped / name)
        with pytest.raises(IntegrityError, match=f"{name}: {message}$"):
            open_bundle(shipped)
        (shipped / name).write_bytes(whole[name])
    assert nothing_is_left(cache)


@pytest.mark.parametrize("damage", ["cut off", "altered"])
@pytest.mark.parametrize("name", [COMPRESSED, MANIFEST])
def test_a_damaged_listing_or_manifest_is_refused(shipped: Path, cache: Path, damage: str, name: str) -> None:
    DAMAGE[damage][0](shipped / name)
    with pytest.raises(BundleError):
        open_bundle(shipped)
    assert nothing_is_left(cache)


@pytest.mark.parametrize("damage", ["cut off", "altered"])
def test_a_file_that_is_listed_as_it_is_but_unpacks_to_another_is_refused(
    shipped: Path, cache: Path, damage: str
) -> None:
    DAMAGE[damage][0](shipped / f"int8.weights{SUFFIX}")
    write_listing(shipped)
    with pytest.raises(IntegrityError, match=rf"int8\.weights{SUFFIX}: expected"):
        open_bundle(shipped)
    assert nothing_is_left(cache)


def test_a_file_that_unpacks_to_more_than_the_manifest_says_is_stopped(shipped: Path, cache: Path) -> None:
    shutil.copy(shipped / f"fp32.weights{SUFFIX}", shipped / f"int8.weights{SUFFIX}")
    write_listing(shipped)
    with pytest.raises(IntegrityError, match=r"expected \d+ bytes unpacked, found more"):
        open_bundle(shipped)
    assert nothing_is_left(cache)


def test_a_name_that_leads_out_of_the_bundle_is_refused(shipped: Path, cache: Path) -> None:
    edit_manifest(shipped, set_field("files", "../evil", to={"bytes": 1, "sha256": "0" * 64}))
    write_listing(shipped)
    with pytest.raises(IntegrityError, match=r"names '\.\./evil'; expected a plain file name"):
        open_bundle(shipped)
    assert nothing_is_left(cache)


def test_a_file_of_the_manifest_that_is_not_listed_is_named(shipped: Path) -> None:
    (shipped / f"int8.weights{SUFFIX}").unlink()
    write_listing(shipped)
    with pytest.raises(IntegrityError, match=rf"neither int8\.weights nor int8\.weights{SUFFIX} is listed"):
        open_bundle(shipped)


@pytest.mark.parametrize(
    ("listing", "error", "message"),
    [
        (
            {"schema_version": 2, "files": {}},
            SchemaError,
            "schema version 1, found 2; install a newer gearshift",
        ),
        ({"schema_version": 1, "files": {}}, SchemaError, r"does not list manifest\.json"),
        ({"schema_version": 1, "files": [1]}, SchemaError, "not of schema version 1 .*copy the bundle again"),
        ({"schema_version": 1, "files": {"a": {"bytes": "5", "sha256": ""}}}, GearshiftError, "bytes of a file"),
        ([], SchemaError, "expected a JSON object, found a list; copy the bundle again"),
        (None, IntegrityError, "expected JSON .*copy the bundle again"),
    ],
)
def test_a_listing_that_says_something_else_is_refused(
    shipped: Path, listing: object, error: type[Exception], message: str
) -> None:
    (shipped / COMPRESSED).write_text("{" if listing is None else json.dumps(listing))
    with pytest.raises(error, match=message):
        open_bundle(shipped)


# Damage on the device


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["int8.weights", MANIFEST])
def test_a_damaged_copy_in_the_cache_is_made_anew(
    shipped: Path, bundle: Bundle, damage: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    DAMAGE[damage][0](open_bundle(shipped).path / name)
    with caplog.at_level(logging.WARNING, logger="gearshift"):
        opened = open_bundle(shipped)
    assert contents(opened.path) == contents(bundle.path)
    assert f"unpacking {shipped} anew" in caplog.text


def test_a_copy_whose_manifest_says_something_else_is_made_anew(
    shipped: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    copy = open_bundle(shipped).path
    edit_manifest(copy, set_field("labels", 0, to="another"))
    with caplog.at_level(logging.WARNING, logger="gearshift"):
        opened = open_bundle(shipped)
    assert opened.manifest == bundle.manifest and contents(opened.path) == contents(bundle.path)
    assert f"of another bundle; unpacking {shipped} anew" in caplog.text


def test_a_copy_in_the_place_of_another_is_made_anew(shipped: Path, bundle: Bundle, bundle_copy: Path) -> None:
    """A bundle that is whole by itself, with the hashes of its own files."""
    other, other_shipped = make_other(bundle_copy), bundle_copy.with_name("other")
    other_shipped.mkdir()
    write_compressed(other.path, other.manifest.files, other_shipped, {})
    copies = [open_bundle(shipped).path, open_bundle(other_shipped).path]
    exchange(*copies)
    assert open_bundle(shipped).hash == bundle.hash
    assert open_bundle(other_shipped).hash == other.hash
    assert contents(copies[0]) == contents(bundle.path)


@pytest.mark.parametrize("remembered", [False, True])
def test_no_byte_of_a_copy_can_change_what_is_opened(shipped: Path, bundle: Bundle, remembered: bool) -> None:
    whole = contents(bundle.path)
    sha256 = HashMemory().sha256_of if remembered else sha256_of
    copy = open_bundle(shipped, sha256=sha256).path
    for name in whole:
        for place in places(len(whole[name]), 3):
            if remembered:
                remember(copy / name)
            flip(copy / name, place)
            opened = open_bundle(shipped, sha256=sha256)
            assert (opened.path, opened.hash) == (copy, bundle.hash)
            assert contents(copy) == whole, (name, place)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "link to nowhere"])
@pytest.mark.parametrize("name", [MANIFEST, "int8.weights", "more"])
def test_what_is_no_file_of_ours_in_a_copy_is_not_opened(
    shipped: Path, bundle: Bundle, tmp_path: Path, name: str, kind: str
) -> None:
    place = open_bundle(shipped).path / name
    if place.exists():
        place.rename(tmp_path / "mine")
    else:
        (tmp_path / "mine").write_text("mine")
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / ("mine" if kind == "link" else "nowhere"))
    opened = open_bundle(shipped)
    assert contents(opened.path) == contents(bundle.path)
    assert (tmp_path / "mine").is_file()


@pytest.mark.parametrize("kind", ["link", "file", "pipe", "open to others"])
def test_what_is_no_directory_of_ours_in_the_place_of_a_copy_is_not_entered(
    shipped: Path, bundle: Bundle, tmp_path: Path, kind: str
) -> None:
    place = open_bundle(shipped).path
    place.rename(tmp_path / "moved")
    if kind == "link":
        place.symlink_to(tmp_path / "moved")
    elif kind == "file":
        place.write_text("file")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        shutil.copytree(tmp_path / "moved", place)
        place.chmod(0o777)
    opened = open_bundle(shipped)
    assert contents(opened.path) == contents(bundle.path) == contents(tmp_path / "moved")
    assert not place.is_symlink() and place.stat().st_mode & 0o777 == PRIVATE


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_cache_that_others_can_write_to_is_told_and_not_used(shipped: Path, cache: Path, mode: int) -> None:
    open_bundle(shipped)
    for directory in (cache, cache.parent):
        directory.chmod(mode)
        with pytest.raises(StorageError, match=rf"permissions {mode:o}; chmod 700 {directory}, or name another"):
            open_bundle(shipped)
        directory.chmod(PRIVATE)
    open_bundle(shipped)


def test_what_an_unpacking_that_was_killed_left_is_not_used_and_goes(
    shipped: Path, bundle: Bundle, cache: Path
) -> None:
    half = cache / ".new-killed"
    half.mkdir(parents=True)
    shutil.copy(bundle.path / MANIFEST, half)
    (half / "int8.weights").write_bytes((bundle.path / "int8.weights").read_bytes()[:1000])
    running = cache / ".new-running"
    running.mkdir()
    with holding(running):
        opened = open_bundle(shipped)
    assert contents(opened.path) == contents(bundle.path)
    assert set(cache.iterdir()) == {opened.path, running}


@pytest.mark.parametrize("after", range(7))
def test_an_unpacking_that_is_interrupted_leaves_nothing(
    shipped: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    really_write, files = module._write, 0

    def write(*arguments: object) -> None:
        nonlocal files
        if files == after:
            raise KeyboardInterrupt
        files += 1
        really_write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_write", write)
    with pytest.raises(KeyboardInterrupt):
        open_bundle(shipped)
    assert nothing_is_left(cache)


def test_several_that_start_at_once_find_one_copy(shipped: Path, bundle: Bundle, cache: Path) -> None:
    found: list[Bundle] = []
    threads = [threading.Thread(target=lambda: found.append(open_bundle(shipped))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({opened.path for opened in found}) == 1
    assert [path.name for path in cache.iterdir()] == [bundle.hash[:32]]


class Paused:
    """An unpacking in another thread, which waits before it writes its third file."""

    def __init__(self, shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: Bundle | None = None
        self._reached, self._go_on, self._files = threading.Event(), threading.Event(), 0
        self._really_write = module._write
        monkeypatch.setattr(module, "_write", self._write)
        self._thread = threading.Thread(target=self._open, args=(shipped,))
        self._thread.start()
        assert self._reached.wait(PATIENCE_S)

    def _open(self, shipped: Path) -> None:
        self.found = open_bundle(shipped)

    def _write(self, *arguments: object) -> None:
        if threading.current_thread() is self._thread:
            self._files += 1
            if self._files == 3:
                self._reached.set()
                assert self._go_on.wait(PATIENCE_S)
        self._really_write(*arguments)  # type: ignore[arg-type]

    def finish(self) -> Bundle:
        self._go_on.set()
        self._thread.join()
        assert self.found is not None
        return self.found


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0, 1e9])
def test_a_clock_that_is_wrong_disturbs_nobody_who_unpacks_meanwhile(
    shipped: Path, bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    other = Paused(shipped, monkeypatch)
    really = time.time
    monkeypatch.setattr(time, "time", lambda: really() + ahead_s)
    opened = open_bundle(shipped)
    assert len(list(cache.iterdir())) == 2  # ours is complete, and the other's goes on
    assert other.finish().path == opened.path
    assert list(cache.iterdir()) == [opened.path] and contents(opened.path) == contents(bundle.path)


@pytest.mark.parametrize("what", ["what is unpacked", "the whole cache"])
def test_what_is_removed_while_it_is_unpacked_is_unpacked_anew(
    shipped: Path, bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    unpacking = Paused(shipped, monkeypatch)
    (fresh,) = cache.iterdir()
    shutil.rmtree(fresh if what == "what is unpacked" else cache.parent)
    assert contents(unpacking.finish().path) == contents(bundle.path)
    assert [path.name for path in cache.iterdir()] == [bundle.hash[:32]]


def test_clearing_the_cache_leaves_what_is_being_unpacked(
    shipped: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacking = Paused(shipped, monkeypatch)
    (fresh,) = cache.iterdir()
    unpacked_entries().clear()
    assert fresh.is_dir()
    unpacking.finish()


def test_damaged_copies_are_found_and_removed(shipped: Path, bundle: Bundle, bundle_copy: Path) -> None:
    other, other_shipped = make_other(bundle_copy), bundle_copy.with_name("other")
    other_shipped.mkdir()
    write_compressed(other.path, other.manifest.files, other_shipped, {})
    damaged, whole = open_bundle(shipped).path, open_bundle(other_shipped).path
    assert remove_damaged_copies() == {}
    for name in (MANIFEST, "int8.weights"):
        flip(damaged / name, 1000)
        assert list(remove_damaged_copies()) == [damaged]
        assert not damaged.exists() and whole.is_dir()
        open_bundle(shipped)
    exchange(damaged, whole)
    assert set(remove_damaged_copies()) == {damaged, whole}


# No room


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    shipped: Path, bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dense = sum(path.stat().st_size for path in bundle.path.iterdir())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=dense))
    message = (
        rf"could not be unpacked: expected {(dense + 1_000_000) / 1e6:.1f} MB free in .*, found 0\.5 MB free; free"
    )
    with pytest.raises(StorageError, match=message):
        open_bundle(shipped)
    with pytest.raises(StorageError, match=message):
        unpack(open_compressed(shipped), tmp_path / "plain")
    assert nothing_is_left(cache)
    assert not (tmp_path / "plain").exists()


def test_a_cache_that_cannot_be_written_is_told(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(
        StorageError, match=r"could not be unpacked into .* \(Not a directory\); name another .* -o DIR`$"
    ):
        open_bundle(shipped)


# Into a directory


def test_a_bundle_is_unpacked_into_any_directory_and_in_place(shipped: Path, bundle: Bundle, tmp_path: Path) -> None:
    for target in (tmp_path / "plain.gearshift", shipped):
        unpack(open_compressed(shipped), target)
        assert contents(target) == contents(bundle.path)
        assert open_bundle(target).compressed is None


def test_a_directory_of_other_things_is_not_replaced(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("mine")
    with pytest.raises(StorageError, match=r"not empty and has no manifest\.json"):
        unpack(open_compressed(shipped), tmp_path / "photos")


def test_a_plain_bundle_needs_no_unpacking(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"expected a compressed bundle, found no compressed\.json in it"):
        open_compressed(tiny_bundle)
