"""The entries of a cache: directories that are made under another name, and renamed when they are whole.

So processes that start at once each find a whole entry or none. Everything here can be made again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

UNFINISHED = ".new-"
"""How the name of a directory starts that is not an entry yet."""

KEPT_ENTRIES = 8
"""Entries that stay; making one more removes the one that was not used for longest."""

PRIVATE = 0o700
"""Permissions of an entry, as `mkdtemp` gives them."""

ABANDONED_S = 3600.0


@dataclass(frozen=True)
class Entries:
    """What lies in one directory."""

    directory: Path
    marker: str
    """A file that every entry has; its time of change is when the entry was last used."""
    abandoned_s: float = ABANDONED_S
    """Age at which a directory that never became an entry is removed: its process is gone."""

    def listed(self) -> dict[Path, int]:
        """Directory -> bytes of every entry, the one used last first."""
        markers = [path for path in self.directory.glob(f"*/{self.marker}") if not path.parent.name.startswith(".")]
        with contextlib.suppress(OSError):  # another process may remove one meanwhile
            markers.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        return {marker.parent: _bytes_in(marker.parent) for marker in markers}

    def used(self, place: Path) -> None:
        """Note that an entry was used just now."""
        with contextlib.suppress(OSError):  # a cache that may be read alone
            os.utime(place / self.marker)

    def prepare(self) -> None:
        """Make room for one more entry, and remove what interrupted processes left; raises OSError."""
        self.directory.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        for place in list(self.listed())[KEPT_ENTRIES - 1 :]:
            shutil.rmtree(place, ignore_errors=True)
        for place in self.directory.glob(f"{UNFINISHED}*"):
            with contextlib.suppress(OSError):
                if time.time() - place.stat().st_mtime > self.abandoned_s:
                    shutil.rmtree(place, ignore_errors=True)

    def fresh(self) -> Path:
        """A new private directory to fill; raises OSError."""
        return Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.directory))

    def clear(self) -> int:
        """Remove every entry; gives the bytes that were freed. Processes that use one keep it until they end.

        Whatever else lies in the directory stays: it may be one that the user named for other things too.
        """
        before = sum(self.listed().values())
        for place in (*self.listed(), *self.directory.glob(f"{UNFINISHED}*")):
            shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):  # not there, or not empty
            self.directory.rmdir()
        return before - sum(self.listed().values())


def become(fresh: Path, place: Path) -> None:
    """Give a filled directory the name of its entry; raises FileExistsError where another process was first."""
    try:
        fresh.rename(place)
    except OSError as error:
        if place.is_dir():
            raise FileExistsError(error.errno, error.strerror, str(place)) from error
        raise


def _bytes_in(place: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        total = sum(path.stat().st_size for path in place.iterdir())
    return total
