"""Checks of a bundle file's name, size and SHA-256 against the manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gearshift.errors import IntegrityError
from gearshift.runtime.bundle.manifest import FileEntry


def check_name(directory: Path, name: str) -> None:
    """Raise IntegrityError unless a name is plain: no path may lead out of a bundle."""
    if name != Path(name).name or name in {"", ".", ".."} or "\\" in name:
        raise IntegrityError(f"{directory}: the manifest names {name!r}; expected a plain file name inside the bundle")


def check_file(directory: Path, name: str, expected: FileEntry, sha256: Callable[[Path], str]) -> None:
    """Raise IntegrityError, which says what to do, if a file is missing, truncated or altered."""
    check_name(directory, name)
    path = directory / name
    if path.is_symlink():
        raise IntegrityError(f"{path}: expected a file, found a symbolic link; copy the bundle with its files")
    if not path.is_file():
        raise IntegrityError(f"{path}: missing; copy the bundle again")
    size = path.stat().st_size
    if size != expected.bytes:
        raise IntegrityError(f"{path}: expected {expected.bytes} bytes, found {size}; copy the bundle again")
    found = sha256(path)
    if found != expected.sha256:
        raise IntegrityError(f"{path}: expected sha256 {expected.sha256}, found {found}; copy the bundle again")
