"""Memory of what passed checks that need not be made again: names, such as hashes, in the cache directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

from gearshift.errors import StorageError, is_time_limit
from gearshift.fresh_file import fresh_file
from gearshift.json_reader import parse_json
from gearshift.runtime.files.cache import cache_directory
from gearshift.runtime.files.private import check_private, make_private, read_own
from gearshift.sealed_json import sealed, unsealed

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
        """Remember a name; a cache that cannot be written, or that others can write to, remembers nothing."""
        kept = [*(known for known in self._read() if known != name), name][-REMEMBERED:]
        try:
            path = self._path()
            make_private(Path(os.path.realpath(path.parent)))
            with fresh_file(path) as file:
                file.write(json.dumps(sealed({"known": kept})).encode())
        except (OSError, StorageError) as error:  # the checks are then made again
            if is_time_limit(error):
                raise

    def _path(self) -> Path:
        return (self._directory or cache_directory()) / "known.json"

    def _read(self) -> list[str]:
        try:
            path = self._path()
            check_private(Path(os.path.realpath(path.parent)))
            found = unsealed(parse_json(read_own(path)))["known"]
        except (OSError, ValueError, KeyError, TypeError, StorageError) as error:
            if is_time_limit(error):
                raise
            return []
        return [name for name in found if isinstance(name, str)]
