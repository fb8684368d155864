"""Entries of a cache: directories that are whole or not there, made by one process at a time and used by many."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gearshift.runtime.files.atomic import flush
from gearshift.runtime.files.private import (
    check_private,
    discard,
    holding,
    is_own_directory,
    is_own_file,
    make_private,
)

UNFINISHED = ".new-"
"""Prefix of the name of a directory that is not an entry yet."""

KEPT_ENTRIES = 8
"""Number of entries that stay; one more removes the least recently used."""

ABANDONED_S = 3600.0

State = tuple[int, int] | None
"""Inode of an entry and time of its last change; None without one."""

_TRIES = 10
_PAUSE_S = 0.05


@dataclass(frozen=True)
class Entries:
    """The cached entries of one directory, each a private directory of its own.

    A directory that is not an entry yet is locked by the process that fills it. One that nobody has locked is removed:
    its process is gone, whatever the clock says.
    """

    directory: Path
    marker: str
    """Name of a file that every entry has; its modification time is that of the last use."""
    abandoned_s: float = ABANDONED_S
    """Age in seconds at which an unfinished directory is removed where file systems have no locks."""

    def listed(self) -> dict[Path, int]:
        """Return directory -> bytes of every entry, the most recently used first; raise StorageError if others can
        write here."""
        check_private(self.directory)
        found = [path for path in self.directory.glob(f"*/{self.marker}") if not path.parent.name.startswith(".")]
        markers = [path for path in found if is_own_file(path) and is_own_directory(path.parent)]
        with contextlib.suppress(OSError):  # another process may remove one meanwhile
            markers.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        return {marker.parent: _bytes_in(marker.parent) for marker in markers}

    def has(self, place: Path) -> bool:
        """Return whether there is an entry at a place, which may be damaged; what else is there is removed.

        Raises StorageError if others can write here.
        """
        check_private(self.directory)
        if is_own_directory(place):
            return True
        discard(place)
        return False

    def remove(self, place: Path, found: State) -> None:
        """Remove an entry that was found damaged in this `state`, unless another process has replaced it since."""
        for _ in range(_TRIES):
            if self.state(place) != found:
                return
            try:
                with holding(place) as free:  # of several that found the damage one removes it
                    if free and self.state(place) == found:
                        self._set_aside(place)
                        return
            except FileNotFoundError:
                return
            except OSError:  # a file system without locks
                self._set_aside(place)
                return
            time.sleep(_PAUSE_S)

    def _set_aside(self, place: Path) -> None:
        """Remove an entry, which is gone at once for all who come: to remove its files takes a while."""
        aside = self.directory / f"{UNFINISHED}{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):
            place.rename(aside)
        discard(aside)

    def state(self, place: Path) -> State:
        """Return what tells an entry from one that takes its place: its inode, and when that changed."""
        try:
            status = place.lstat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns

    def used(self, place: Path) -> None:
        """Record that an entry was used just now."""
        with contextlib.suppress(OSError):  # a read-only cache
            os.utime(place / self.marker)

    @contextlib.contextmanager
    def adding(self, place: Path) -> Iterator[Path]:
        """Give a new private directory to fill. On leaving it is flushed to disk and becomes the entry `place`.

        The least recently used entries are removed to make room. On an error nothing is left of the new one.
        Raises OSError, FileExistsError if another process made the same entry first, or StorageError if others can
        write here.
        """
        self._make_room()
        with self._unfinished() as fresh:
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

    @contextlib.contextmanager
    def _unfinished(self) -> Iterator[Path]:
        """Give a new directory that is locked, where that is possible, so that nobody takes it for one left behind."""
        with contextlib.ExitStack() as held:
            for _ in range(_TRIES):
                fresh = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.directory))
                try:
                    ours = held.enter_context(holding(fresh))
                except FileNotFoundError:  # another process saw it before it was locked
                    continue
                except OSError:
                    break
                if ours and fresh.exists():
                    break
            yield fresh

    def _make_room(self) -> None:
        """Make room for one more entry, and remove what interrupted processes left."""
        make_private(self.directory)
        for place in list(self.listed())[KEPT_ENTRIES - 1 :]:
            discard(place)
        self._remove_abandoned()

    def _remove_abandoned(self) -> None:
        for place in self.directory.glob(f"{UNFINISHED}*"):
            try:
                with holding(place) as free:
                    if free:
                        discard(place)
            except OSError:  # a link, a file, or a file system without locks
                with contextlib.suppress(OSError):
                    if (
                        place.is_symlink()
                        or not place.is_dir()
                        or time.time() - place.lstat().st_mtime > self.abandoned_s
                    ):
                        discard(place)

    def clear(self) -> int:
        """Remove every entry and return the bytes freed. Processes that use an entry keep it until they end.

        Other files in the directory stay: the user may keep other things there too. So does what another process is
        making now. Raises StorageError if others can write here.
        """
        before = sum(self.listed().values())
        for place in self.listed():
            discard(place)
        self._remove_abandoned()
        with contextlib.suppress(OSError):  # not there, or not empty
            self.directory.rmdir()
        return before - sum(self.listed().values())


def _bytes_in(place: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        total = sum(path.lstat().st_size for path in place.iterdir())
    return total
