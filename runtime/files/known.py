"""Memory of what passed checks that need not be made again: names, such as hashes, in the cache directory."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from gearshift.errors import StorageError
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.files.cache import cache_directory
from gearshift.schema import read_if_whole

REMEMBERED = 64
"""Number of names that are kept; the oldest are dropped first."""


class Known:
    """Names that passed a check, in a file of the cache directory; without one nothing is known."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    def has(self, name: str) -> bool:
        """Return whether a name passed."""
        return name in self._read()

    def add(self, name: str) -> None:
        """Remember a name; a cache that cannot be written remembers nothing."""
        kept = [*(known for known in self._read() if known != name), name][-REMEMBERED:]
        with contextlib.suppress(StorageError):
            replace_file(self._path(), json.dumps(kept).encode())

    def _path(self) -> Path:
        return (self._directory or cache_directory()) / "known.json"

    def _read(self) -> list[str]:
        try:
            found = read_if_whole(self._path(), list) or []
        except StorageError:
            return []
        return [name for name in found if isinstance(name, str)]
