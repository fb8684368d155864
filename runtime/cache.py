"""Where things are kept between runs on this device, and which file hashes are known.

Everything in the cache directory can be made again: it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from gearshift.runtime.errors import StorageError
from gearshift.runtime.storage import replace_file, sha256_of

VARIABLE = "GEARSHIFT_CACHE_DIR"

SETTLED_S = 2.0
"""A file that changed this short a time ago may change again within one tick of the file system's clock."""

REMEMBERED = 256
"""File hashes that are kept; the oldest go first."""


def cache_directory() -> Path:
    """The user's cache directory for gearshift: $GEARSHIFT_CACHE_DIR, or where this system keeps caches.

    Raises StorageError where the user has no home, as in a container that runs as a number without a name.
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
    """Hashes of files that have not changed since: same path, inode, size, and times of change to the nanosecond.

    The time of a change of status cannot be set by a program, so that a file with other contents is hashed again.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    def sha256_of(self, path: Path) -> str:
        """The sha256 of a file, remembered or taken now; raises OSError."""
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
            raw = json.loads(self._path().read_text(encoding="utf-8"))
        except (OSError, ValueError, StorageError):
            return {}
        return raw if isinstance(raw, dict) else {}

    def _write(self, known: dict[str, object]) -> None:
        kept = dict(list(known.items())[-REMEMBERED:])
        with contextlib.suppress(StorageError):  # then it is hashed again the next time
            replace_file(self._path(), json.dumps(kept).encode())


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
