"""Tests of the file systems on which a time proves that nothing has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gearshift.runtime.files.cache import HashMemory
from gearshift.runtime.files.mounts import Mount, mount_of, proves_changes, read_mounts

LISTED = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:5 / /dev rw,nosuid - devtmpfs none rw
24 22 7:0 / /models ro,relatime - squashfs /dev/loop0 ro
25 22 7:1 / /opt/my\040models rw,relatime shared:1 - squashfs /dev/loop1 ro
26 22 8:1 / /boot rw - vfat /dev/sda1 rw
27 22 0:9 / /net rw - nfs4 server:/a rw
28 24 254:0 / /models/new rw - ext4 /dev/vdb rw
29 28 7:2 / /models/new ro - erofs /dev/loop2 ro
30 22 0:40 / /phone rw - fuse.sshfs there rw
""".strip()


@pytest.fixture
def mounts(tmp_path: Path) -> tuple[Mount, ...]:
    (tmp_path / "mountinfo").write_text(LISTED)
    return read_mounts(tmp_path / "mountinfo")


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/home/a/file", Mount("/", "ext4", read_only=False)),
        ("/models/a", Mount("/models", "squashfs", read_only=True)),
        ("/modelsx/a", Mount("/", "ext4", read_only=False)),
        ("/opt/my models/a", Mount("/opt/my models", "squashfs", read_only=True)),
        ("/models/new/a", Mount("/models/new", "erofs", read_only=True)),
    ],
)
def test_a_file_lies_in_the_innermost_mount_that_was_made_last(
    mounts: tuple[Mount, ...], path: str, mount: Mount
) -> None:
    assert mount_of(Path(path), mounts) == mount


@pytest.mark.parametrize("listed", ["", "22 1\nwords - \n"])
def test_what_is_not_listed_has_no_mount(tmp_path: Path, listed: str) -> None:
    (tmp_path / "mountinfo").write_text(listed)
    assert mount_of(Path("/a"), read_mounts(tmp_path / "mountinfo")) is None


@pytest.mark.parametrize(
    ("place", "proved"),
    [("home", True), ("models", False), ("opt/my models", False), ("boot", False), ("net", False), ("phone", False)],
)
def test_times_prove_nothing_on_images_and_on_foreign_file_systems(
    tmp_path: Path, mounts: tuple[Mount, ...], place: str, proved: bool
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"1")
    assert _with_fraction(file)
    assert proves_changes(Path("/") / place / "file", file.stat(), mounts) is proved


def test_times_in_whole_seconds_prove_nothing(tmp_path: Path, mounts: tuple[Mount, ...]) -> None:
    (tmp_path / "file").write_bytes(b"1")
    found = (tmp_path / "file").stat()
    whole = os.stat_result((*found[:10], *found[10:]), {"st_ctime_ns": 1_700_000_000_000_000_000})
    assert not proves_changes(Path("/home/file"), whole, mounts)


def test_times_prove_nothing_where_mounts_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    assert not proves_changes(tmp_path / "file", (tmp_path / "file").stat(), read_mounts(tmp_path / "none"))


def test_a_file_whose_times_prove_nothing_is_hashed_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that is mounted in place of another may change nothing that `stat` tells."""
    file = tmp_path / "file"
    file.write_bytes(b"1")
    os.utime(file, (1_600_000_000, 1_600_000_000))
    monkeypatch.setattr("gearshift.runtime.files.cache.SETTLED_S", -1e9)
    state = file.stat()
    monkeypatch.setattr("gearshift.runtime.files.cache._state", lambda path: [0, 1, 2, state.st_mtime_ns, 0])
    monkeypatch.setattr("gearshift.runtime.files.cache.proves_changes", lambda *asked: False)
    memory = HashMemory(tmp_path / "cache")
    first = memory.sha256_of(file)
    file.write_bytes(b"2")
    assert memory.sha256_of(file) != first
    assert not (tmp_path / "cache").exists()


def _with_fraction(file: Path) -> bool:
    """Let the time of the status change of a file have a fraction of a second, as nearly all have."""
    for _ in range(100):
        if file.stat().st_ctime_ns % 1_000_000_000:
            return True
        file.chmod(0o600)
    return False
