"""Checks of a bundle file's name, place, size and SHA-256 against the manifest."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

from gearshift.cpus import available_cpus
from gearshift.errors import IntegrityError
from gearshift.runtime.bundle.manifest import FileEntry

BESIDE_BYTES = 4 << 20
"""Bytes of the files beside the largest from which a thread is worth its while."""


def check_name(directory: Path, name: str) -> None:
    """Raise IntegrityError unless a name is plain: no path may lead out of a bundle."""
    odd = any(ord(character) < 32 or "\ud800" <= character <= "\udfff" for character in name)
    if name != Path(name).name or name in {"", ".", ".."} or "\\" in name or odd:
        raise IntegrityError(f"{directory}: the manifest names {name!r}; expected a plain file name inside the bundle")


def check_place(path: Path) -> None:
    """Raise IntegrityError unless a path is a regular file of the bundle itself, or a link to one of its hub cache.

    Caches of the Hugging Face hub keep the files of a repository in `blobs/`, and links to them in
    `snapshots/REVISION/`. A link that leads anywhere else could name any file of the device.
    """
    found = Path(os.path.realpath(path))  # Path.resolve raises on links that lead in a circle
    if path.is_symlink() and found.parent not in _blobs(path.parent):
        raise IntegrityError(
            f"{path}: expected a file, found a symbolic link to {found}, outside of a hub cache that the bundle is in; "
            "copy the bundle with the files that its links name (cp -rL)"
        )
    if not found.exists():
        raise IntegrityError(f"{path}: missing; copy the bundle again")
    if not found.is_file():
        raise IntegrityError(f"{path}: expected a file, found a directory or device; copy the bundle again")


def _blobs(directory: Path) -> list[Path]:
    """Return where files of a bundle may lie, if its directory is in `snapshots/` of a hub cache."""
    return [above.parent / "blobs" for above in directory.resolve().parents if above.name == "snapshots"]


def check_file(directory: Path, name: str, expected: FileEntry, sha256: Callable[[Path], str]) -> None:
    """Raise IntegrityError, which says what to do, if a file is missing, truncated or altered."""
    path = _of_right_size(directory, name, expected)
    _check_hash(path, expected, sha256(path))


def check_files(directory: Path, files: Mapping[str, FileEntry], sha256: Callable[[Path], str]) -> None:
    """Check files as `check_file` does; the largest is hashed on a thread of its own, beside the others."""
    paths = {name: _of_right_size(directory, name, expected) for name, expected in files.items()}
    largest = max(files, key=lambda name: files[name].bytes, default="")
    others = sum(entry.bytes for name, entry in files.items() if name != largest)
    beside = _beside(paths[largest], sha256) if others >= BESIDE_BYTES and len(available_cpus()) > 1 else None
    for name, path in paths.items():
        if name != largest or beside is None:
            _check_hash(path, files[name], sha256(path))
    if beside is not None:
        _check_hash(paths[largest], files[largest], beside.result())


def check_sizes(directory: Path, files: Mapping[str, FileEntry]) -> None:
    """Raise IntegrityError unless files are in their places and of their sizes; reads none of them."""
    for name, expected in files.items():
        _of_right_size(directory, name, expected)


def _beside(path: Path, sha256: Callable[[Path], str]) -> Future[str] | None:
    """Start to hash a file on a thread; return None if the system has none to spare."""
    found: Future[str] = Future()

    def run() -> None:
        try:
            found.set_result(sha256(path))
        except BaseException as error:
            found.set_exception(error)

    try:
        threading.Thread(target=run, name="gearshift-hash", daemon=True).start()
    except RuntimeError:
        return None
    return found


def _of_right_size(directory: Path, name: str, expected: FileEntry) -> Path:
    """Return the path of a file that is in its place and of its size; raise IntegrityError otherwise."""
    check_name(directory, name)
    path = directory / name
    check_place(path)
    size = path.stat().st_size
    if size != expected.bytes:
        raise IntegrityError(f"{path}: expected {expected.bytes} bytes, found {size}; copy the bundle again")
    return path


def _check_hash(path: Path, expected: FileEntry, found: str) -> None:
    if found != expected.sha256:
        raise IntegrityError(f"{path}: expected sha256 {expected.sha256}, found {found}; copy the bundle again")
