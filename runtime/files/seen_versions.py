"""Memory of the newest version that was seen of each name, in the cache directory.

Every version is an empty file in a directory of its name's, so that several processes can add versions at once and the
newest stays, whenever one of them is interrupted. Whoever removes the files makes the memory forget.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path

from gearshift.errors import StorageError, is_time_limit
from gearshift.runtime.files.cache import cache_directory
from gearshift.runtime.files.private import check_private, is_ours, make_private


class SeenVersions:
    """Newest version by name. Reading and adding raise StorageError: a version that is not known cannot be compared."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    @property
    def directory(self) -> Path:
        """Directory of the versions."""
        return (self._directory or cache_directory()) / "seen"

    def newest(self, name: str) -> int:
        """Return the newest version of a name; 0 if none was seen."""
        place = self._place(name)
        check_private(self.directory)
        check_private(place)
        return max((version for version, ours in _versions(place).items() if ours), default=0)

    def add(self, name: str, version: int) -> None:
        """Remember a version, unless a newer one was seen."""
        if version <= self.newest(name):
            return
        place = self._place(name)
        try:
            make_private(place)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(place / str(version), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            for directory in (place, place.parent):
                _flush_names(directory)
        except OSError as error:
            raise _unusable(place, error) from error
        # Another process may have removed it for a newer one, but something else in its place remembers nothing.
        if not _versions(place).get(version, True):
            raise _unusable(place, FileExistsError(errno.EEXIST, f"{version} is no file of this user"))
        with contextlib.suppress(OSError):
            for path in place.iterdir():
                if path.name.isdecimal() and int(path.name) < version:
                    path.unlink(missing_ok=True)

    def _place(self, name: str) -> Path:
        return self.directory / hashlib.sha256(name.encode()).hexdigest()[:32]


def _versions(place: Path) -> dict[int, bool]:
    """Return version -> whether its file is one of this user's; none without the directory."""
    while True:
        try:
            return {int(path.name): _is_ours(path.lstat()) for path in place.iterdir() if path.name.isdecimal()}
        except FileNotFoundError:  # removed for a newer one meanwhile, which this list may lack
            if not place.exists():
                return {}
        except OSError as error:
            raise _unusable(place, error) from error


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and is_ours(found)


def _flush_names(directory: Path) -> None:
    """Wait until the names in a directory are on the disk (Unix; no effect elsewhere)."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unusable(place: Path, error: OSError) -> StorageError | OSError:
    if is_time_limit(error):
        return error
    return StorageError(
        f"{place}: the versions seen could not be read or kept there ({error.strerror or error}); make it writable, or "
        "name another directory by GEARSHIFT_CACHE_DIR"
    )
