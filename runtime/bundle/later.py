"""Files of a bundle whose hashes are compared later: those of a graph when it is opened, if ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from gearshift.runtime.bundle.integrity import check_files, check_sizes
from gearshift.runtime.bundle.manifest import FileEntry


class LaterFiles:
    """Files that were not read yet, each hashed once before it is used; safe to use from several threads.

    Names, places and sizes of all are checked now; raises IntegrityError.
    """

    def __init__(self, directory: Path, files: Mapping[str, FileEntry], sha256: Callable[[Path], str]) -> None:
        check_sizes(directory, files)
        self._directory = directory
        self._files = dict(files)
        self._sha256 = sha256
        self._lock = threading.Lock()

    def check(self, names: Collection[str]) -> None:
        """Hash those of these files that were not hashed yet; raise IntegrityError as `check_files` does."""
        with self._lock:
            wanted = {name: entry for name, entry in self._files.items() if name in names}
            check_files(self._directory, wanted, self._sha256)
            for name in wanted:
                del self._files[name]
