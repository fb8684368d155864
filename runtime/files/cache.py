"""The cache directory, and the remembered hashes of files.

Everything in the cache directory can be made again and may be deleted at any time. Nobody but the user can write to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from gearshift.errors import StorageError, is_time_limit
from gearshift.fresh_file import SUFFIX, fresh_file
from gearshift.json_reader import parse_json
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.files.mounts import Mount, proves_changes, read_mounts
from gearshift.runtime.files.private import check_private, make_private, read_own
from gearshift.sealed_json import sealed, unsealed

VARIABLE = "GEARSHIFT_CACHE_DIR"

SETTLED_S = 2.0
"""Age in seconds from which a file counts as settled: a younger one may change again within a tick of the file system's
clock."""

REMEMBERED = 256
"""Number of file hashes that are kept; the oldest are dropped first."""

HASHES = "hashes.json"

LEFT_BEHIND_S = 3600.0
"""Age in seconds from which an unfinished file of hashes is removed: the process that wrote it was killed."""


def cache_directory() -> Path:
    """Return the user's cache directory for gearshift: $GEARSHIFT_CACHE_DIR, or the place for caches on this system.

    Raises StorageError if the user has no home directory, as in a container that runs under a number without a name, or
    if others can write to the directory.
    """
    named = os.environ.get(VARIABLE)
    try:
        directory = Path(named) if named else _cache_of_user()
    except RuntimeError as error:
        raise StorageError(f"no home directory to keep a cache in; set {VARIABLE} to a directory") from error
    check_private(Path(os.path.realpath(directory)))  # the user may have linked it to another disk
    return directory


def _cache_of_user() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "gearshift" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gearshift"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gearshift"


class HashMemory:
    """Hashes of unchanged files: same path, device, inode, size, and times of change to the nanosecond.

    Programs cannot set the time of a status change, so a file with other contents is hashed again; files on file
    systems without such a time always are (`mounts.proves_changes`). Only a disk that fails can change a file unseen.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._known: dict[str, object] | None = None
        self._computed: dict[str, list[int]] = {}
        self._mounts: Sequence[Mount] = ()
        self._lock = threading.Lock()

    def sha256_of(self, path: Path) -> str:
        """Return the SHA-256 of a file, remembered or computed now; raises OSError. Several threads may ask."""
        resolved = path.resolve()
        key, state = str(resolved), _state(path)
        with self._lock:
            if self._known is None:
                self._known, self._mounts = self._read(), read_mounts()
            entry = self._known.get(key)
        if not proves_changes(resolved, path.stat(), self._mounts):
            return sha256_of(path)
        if isinstance(entry, list) and len(entry) == 2 and entry[0] == state and isinstance(entry[1], str):
            return entry[1]
        found = sha256_of(path)
        if _state(path) == state and time.time() - max(state[-2:]) / 1e9 > SETTLED_S:
            with self._lock:
                self._computed[key] = state
                self._known = self._read()  # with what other processes have added
                self._known.pop(key, None)
                self._known[key] = [state, found]
                self._write(self._known)
        return found

    def computed_now(self, path: Path) -> bool:
        """Return whether the hash of a file was computed by this memory, not remembered, and the file has not changed
        since, as far as the file system proves it; raises OSError."""
        return self._computed.get(str(path.resolve())) == _state(path)

    def _path(self) -> Path:
        return (self._directory or cache_directory()) / HASHES

    def _read(self) -> dict[str, object]:
        try:
            hashes = unsealed(parse_json(read_own(self._path())))["hashes"]
            return hashes if isinstance(hashes, dict) else {}
        except (OSError, ValueError, KeyError, StorageError) as error:
            if is_time_limit(error):
                raise
            return {}

    def _write(self, known: dict[str, object]) -> None:
        kept = dict(list(known.items())[-REMEMBERED:])
        try:
            path = self._path()
            make_private(Path(os.path.realpath(path.parent)))
            _remove_left_behind(path)
            with fresh_file(path) as file:
                file.write(json.dumps(sealed({"hashes": kept})).encode())
        except (OSError, StorageError) as error:  # the file is then hashed again the next time
            if is_time_limit(error):
                raise


def _remove_left_behind(path: Path) -> None:
    for left in path.parent.glob(f".{path.name}.*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > LEFT_BEHIND_S:
                left.unlink()


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
