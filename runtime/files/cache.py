"""The cache directory, its entries, and the remembered hashes of files.

Everything in the cache directory can be made again and may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gearshift.errors import StorageError
from gearshift.runtime.files.atomic import flush, replace_file, sha256_of
from gearshift.schema import read_if_whole

VARIABLE = "GEARSHIFT_CACHE_DIR"

SETTLED_S = 2.0
"""Age in seconds from which a file counts as settled: a younger one may change again within a tick of the file system's
clock."""

REMEMBERED = 256
"""Number of file hashes that are kept; the oldest are dropped first."""


def cache_directory() -> Path:
    """Return the user's cache directory for gearshift: $GEARSHIFT_CACHE_DIR, or the place for caches on this system.

    Raises StorageError if the user has no home directory, as in a container that runs under a number without a name.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    try:
        return _cache_of_user()
    except RuntimeError as error:
        raise StorageError(f"no home directory to keep a cache in; set {VARIABLE} to a directory") from error


def _cache_of_user() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "gearshift" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gearshift"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gearshift"


class HashMemory:
    """Hashes of unchanged files: same path, inode, size, and times of change to the nanosecond.

    Programs cannot set the time of a status change, so a file with other contents is hashed again.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    def sha256_of(self, path: Path) -> str:
        """Return the SHA-256 of a file, remembered or computed now; raises OSError."""
        key, state = str(path.resolve()), _state(path)
        known = self._read()
        entry = known.get(key)
        if isinstance(entry, list) and len(entry) == 2 and entry[0] == state and isinstance(entry[1], str):
            return entry[1]
        found = sha256_of(path)
        if _state(path) == state and time.time() - max(state[2:]) / 1e9 > SETTLED_S:
            known.pop(key, None)
            known[key] = [state, found]
            self._write(known)
        return found

    def _path(self) -> Path:
        return (self._directory or cache_directory()) / "hashes.json"

    def _read(self) -> dict[str, object]:
        try:
            path = self._path()
        except StorageError:
            return {}
        return read_if_whole(path, dict) or {}

    def _write(self, known: dict[str, object]) -> None:
        kept = dict(list(known.items())[-REMEMBERED:])
        with contextlib.suppress(StorageError):  # the file is then hashed again the next time
            replace_file(self._path(), json.dumps(kept).encode())


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


UNFINISHED = ".new-"
"""Prefix of the name of a directory that is not an entry yet."""

KEPT_ENTRIES = 8
"""Number of entries that stay; one more removes the least recently used."""

PRIVATE = 0o700
"""Permissions of an entry, as `mkdtemp` sets them."""

ABANDONED_S = 3600.0


@dataclass(frozen=True)
class Entries:
    """The cached entries of one directory, each a directory of its own."""

    directory: Path
    marker: str
    """Name of a file that every entry has; its modification time is that of the last use."""
    abandoned_s: float = ABANDONED_S
    """Age in seconds at which a directory that never became an entry is removed: its process is gone."""

    def listed(self) -> dict[Path, int]:
        """Return directory -> bytes of every entry, the most recently used first."""
        markers = [path for path in self.directory.glob(f"*/{self.marker}") if not path.parent.name.startswith(".")]
        with contextlib.suppress(OSError):  # another process may remove one meanwhile
            markers.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        return {marker.parent: _bytes_in(marker.parent) for marker in markers}

    def used(self, place: Path) -> None:
        """Record that an entry was used just now."""
        with contextlib.suppress(OSError):  # a read-only cache
            os.utime(place / self.marker)

    @contextlib.contextmanager
    def adding(self, place: Path) -> Iterator[Path]:
        """Give a new private directory to fill. On leaving it is flushed to disk and becomes the entry `place`.

        The least recently used entries are removed to make room. On an error nothing is left of the new one.
        Raises OSError, and FileExistsError if another process made the same entry first.
        """
        self._make_room()
        fresh = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.directory))
        try:
            yield fresh
            flush(fresh)  # else a power cut could leave a name for bytes that never reached the disk
            try:
                fresh.rename(place)
            except OSError as error:
                if place.is_dir():
                    raise FileExistsError(error.errno, error.strerror, str(place)) from error
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)  # gone already if it became the entry

    def _make_room(self) -> None:
        """Make room for one more entry, and remove what interrupted processes left."""
        self.directory.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        for place in list(self.listed())[KEPT_ENTRIES - 1 :]:
            shutil.rmtree(place, ignore_errors=True)
        for place in self.directory.glob(f"{UNFINISHED}*"):
            with contextlib.suppress(OSError):
                if time.time() - place.stat().st_mtime > self.abandoned_s:
                    shutil.rmtree(place, ignore_errors=True)

    def clear(self) -> int:
        """Remove every entry and return the bytes freed. Processes that use an entry keep it until they end.

        Other files in the directory stay: the user may keep other things there too.
        """
        before = sum(self.listed().values())
        for place in (*self.listed(), *self.directory.glob(f"{UNFINISHED}*")):
            shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):  # not there, or not empty
            self.directory.rmdir()
        return before - sum(self.listed().values())


def _bytes_in(place: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        total = sum(path.stat().st_size for path in place.iterdir())
    return total
