"""The cache directory, and hashes of files that are remembered while they do not change."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from gearshift.errors import StorageError
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.files.cache import HASHES, LEFT_BEHIND_S, SETTLED_S, HashMemory, cache_directory
from tests.runtime.kept import places


def test_a_file_that_did_not_change_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    monkeypatch.setattr("gearshift.runtime.files.cache.time.time", lambda: file.stat().st_ctime + SETTLED_S + 1)
    memory = HashMemory(tmp_path / "cache")
    expected = memory.sha256_of(file)
    monkeypatch.setattr("gearshift.runtime.files.cache.sha256_of", lambda path: pytest.fail("hashed again"))
    assert memory.sha256_of(file) == HashMemory(tmp_path / "cache").sha256_of(file) == expected


@pytest.mark.parametrize("how", ["in place", "replaced", "with the old times"])
def test_a_file_that_changed_is_hashed_again(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    monkeypatch.setattr("gearshift.runtime.files.cache.time.time", lambda: file.stat().st_ctime + SETTLED_S + 1)
    memory = HashMemory(tmp_path / "cache")
    first, times = memory.sha256_of(file), file.stat()
    if how == "replaced":
        (tmp_path / "new").write_text("another")
        (tmp_path / "new").rename(file)
    else:
        file.write_text("another")
    if how == "with the old times":
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert memory.sha256_of(file) != first


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    HashMemory(tmp_path / "cache").sha256_of(tmp_path / "file")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 3}', "null", "\x00"])
def test_a_damaged_memory_is_no_memory(content: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "hashes.json").write_text(content)
    assert len(HashMemory(tmp_path).sha256_of(tmp_path / "file")) == 64


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    monkeypatch.setattr("gearshift.runtime.files.cache.time.time", lambda: file.stat().st_ctime + SETTLED_S + 1)
    assert len(HashMemory(file / "below").sha256_of(file)) == 64


def test_the_cache_directory_is_the_one_that_was_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("GEARSHIFT_CACHE_DIR")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_directory() == tmp_path / "xdg" / "gearshift"


# What may lie where the hashes are kept


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose hash may be remembered."""
    file = tmp_path / "file"
    file.write_text("content")
    monkeypatch.setattr("gearshift.runtime.files.cache.time.time", lambda: file.stat().st_ctime + SETTLED_S + 1)
    return file


def test_a_memory_tells_what_it_computed_itself_from_what_it_remembered(settled: Path, tmp_path: Path) -> None:
    memory = HashMemory(tmp_path / "cache")
    assert not memory.computed_now(settled)
    for _ in range(2):
        memory.sha256_of(settled)
        assert memory.computed_now(settled)
    other = HashMemory(tmp_path / "cache")
    other.sha256_of(settled)
    assert not other.computed_now(settled)
    os.utime(settled)  # another time of status change
    assert not memory.computed_now(settled)


def test_what_changed_just_now_does_not_count_as_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, memory = tmp_path / "file", HashMemory(tmp_path / "cache")
    file.write_text("content")
    monkeypatch.setattr("gearshift.runtime.files.cache.time.time", lambda: file.stat().st_ctime + SETTLED_S / 2)
    memory.sha256_of(file)
    assert not memory.computed_now(file)


def test_no_byte_of_the_hashes_can_change_what_is_found(settled: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    expected = HashMemory(cache).sha256_of(settled)
    whole = (cache / HASHES).read_bytes()
    for place in places(len(whole), 30):
        for bits in (1, 0xFF):
            (cache / HASHES).write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
            assert HashMemory(cache).sha256_of(settled) == expected
    assert sha256_of(settled) == expected


@pytest.mark.parametrize("kind", ["pipe", "link", "link to a pipe", "directory"])
def test_what_is_no_file_in_the_place_of_the_hashes_is_not_read_and_what_it_links_stays(
    settled: Path, tmp_path: Path, kind: str
) -> None:
    cache, mine = tmp_path / "cache", tmp_path / "mine"
    cache.mkdir(0o700)
    if "pipe" in kind:
        os.mkfifo(mine)
    else:
        HashMemory(tmp_path / "other").sha256_of(settled)
        mine.write_bytes((tmp_path / "other" / HASHES).read_bytes().replace(b"a", b"b"))
    before = mine.lstat()
    if kind == "pipe":
        os.mkfifo(cache / HASHES)
    elif kind == "directory":
        (cache / HASHES).mkdir()
    else:
        (cache / HASHES).symlink_to(mine)
    assert HashMemory(cache).sha256_of(settled) == sha256_of(settled)
    assert (mine.lstat().st_ino, mine.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (cache / HASHES).is_file() == (kind != "directory") and not (cache / HASHES).is_symlink()


def test_a_link_under_the_name_of_a_new_file_is_not_followed(settled: Path, tmp_path: Path) -> None:
    cache, mine = tmp_path / "cache", tmp_path / "mine"
    cache.mkdir(0o700)
    mine.write_text("precious")
    (cache / f".{HASHES}.{os.getpid()}.new").symlink_to(mine)
    HashMemory(cache).sha256_of(settled)
    assert (cache / HASHES).is_file() and mine.read_text() == "precious"


def test_a_directory_that_others_can_write_to_keeps_no_hashes(
    settled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    HashMemory(cache).sha256_of(settled)
    lie = json.loads((cache / HASHES).read_text())
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(cache))
    cache.chmod(0o777)
    with pytest.raises(StorageError, match=r"expected a directory that this user alone can write to, found one with"):
        cache_directory()
    (cache / HASHES).write_text(json.dumps(lie).replace(sha256_of(settled), "0" * 64))
    assert HashMemory().sha256_of(settled) == sha256_of(settled)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_directory_or_the_hashes_of_another_user_are_not_used(
    settled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    HashMemory().sha256_of(settled)
    os.chown(tmp_path / "cache" / HASHES, 12345, -1)
    assert HashMemory()._read() == {}
    os.chown(tmp_path / "cache", 12345, -1)
    with pytest.raises(StorageError, match="found one of another user"):
        cache_directory()


def test_a_cache_that_the_user_linked_to_another_disk_is_used(
    settled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir(0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    HashMemory().sha256_of(settled)
    assert (tmp_path / "disk" / HASHES).is_file()


def test_hashes_that_a_killed_process_was_writing_go_after_a_while(settled: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(0o700)
    now = settled.stat().st_ctime
    for name, age in (("old", LEFT_BEHIND_S + 60), ("young", 0.0)):
        (cache / f".{HASHES}.{name}.new").write_text("{")
        os.utime(cache / f".{HASHES}.{name}.new", (now - age, now - age))
    HashMemory(cache).sha256_of(settled)
    assert sorted(path.name for path in cache.iterdir()) == [f".{HASHES}.young.new", HASHES]
