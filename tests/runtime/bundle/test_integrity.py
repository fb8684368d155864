"""Files of a bundle are compared with their sizes and hashes, the largest on a thread beside the others."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from gearshift.errors import IntegrityError
from gearshift.runtime.bundle import integrity
from gearshift.runtime.bundle.integrity import BESIDE_BYTES, check_files
from gearshift.runtime.bundle.manifest import FileEntry
from gearshift.runtime.files.atomic import sha256_of

SIZES = {"a": 10, "large": 2 * BESIDE_BYTES, "rest": BESIDE_BYTES}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, FileEntry]:
    for name, size in SIZES.items():
        (tmp_path / name).write_bytes(name.encode() * (size // len(name)))
    return {
        path.name: FileEntry(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in tmp_path.iterdir()
    }


@pytest.fixture(params=[1, 2], ids=["one CPU", "two CPUs"])
def cpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(integrity, "available_cpus", lambda: range(request.param))
    count: int = request.param
    return count


def test_every_file_is_hashed_once(tmp_path: Path, files: dict[str, FileEntry], cpus: int) -> None:
    hashed: dict[str, str] = {}

    def counting(path: Path) -> str:
        assert path.name not in hashed
        hashed[path.name] = threading.current_thread().name
        return sha256_of(path)

    check_files(tmp_path, files, counting)
    assert hashed.keys() == SIZES.keys()
    assert (hashed["large"] == "gearshift-hash") == (cpus > 1)
    assert threading.current_thread().name == hashed["a"] == hashed["rest"]


@pytest.mark.parametrize("name", SIZES)
def test_one_altered_byte_is_found_wherever_it_is_hashed(
    tmp_path: Path, files: dict[str, FileEntry], cpus: int, name: str
) -> None:
    content = bytearray((tmp_path / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{name}: expected sha256"):
        check_files(tmp_path, files, sha256_of)


@pytest.mark.parametrize("name", SIZES)
def test_a_file_of_another_size_is_refused_before_any_is_read(
    tmp_path: Path, files: dict[str, FileEntry], cpus: int, name: str
) -> None:
    (tmp_path / name).write_bytes(b"short")

    def never(path: Path) -> str:
        raise AssertionError(path)

    with pytest.raises(IntegrityError, match=f"{name}: expected .* bytes, found 5"):
        check_files(tmp_path, files, never)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, files: dict[str, FileEntry], cpus: int) -> None:
    def failing(path: Path) -> str:
        if path.name == "large":
            raise PermissionError("no")
        return sha256_of(path)

    with pytest.raises(PermissionError, match="no"):
        check_files(tmp_path, files, failing)


def test_a_system_without_a_thread_to_spare_does_without(
    tmp_path: Path, files: dict[str, FileEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(integrity, "available_cpus", lambda: range(2))
    monkeypatch.setattr(threading.Thread, "start", refused)
    check_files(tmp_path, files, sha256_of)
