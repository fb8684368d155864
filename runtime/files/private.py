"""Directories that this user alone can write to: what is kept in one was written by nobody else."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from gearshift.errors import StorageError
from gearshift.json_reader import read_limited

if sys.platform != "win32":
    import fcntl

PRIVATE = 0o700
"""Permissions of a private directory."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_private(directory: Path) -> None:
    """Make a directory, and those above it that are missing, for this user alone; raises as `check_private` does.

    Raises OSError if it cannot be made.
    """
    for place in (*reversed(directory.parents), directory):
        if not place.exists():
            place.mkdir(PRIVATE, exist_ok=True)
    check_private(directory)


def check_private(directory: Path) -> None:
    """Raise StorageError if a directory is a link, belongs to another user, or can be written by others.

    A directory that does not exist passes.
    """
    try:
        found = directory.lstat()
    except OSError:  # not there, or not to be reached: whoever opens it is told why
        return
    if stat.S_ISLNK(found.st_mode):
        raise _unusable(directory, "a link", "replace it by a directory")
    if not is_ours(found):
        raise _unusable(directory, "one of another user", "have it made by this one")
    if hasattr(os, "geteuid") and found.st_mode & _OTHERS_WRITE:
        raise _unusable(directory, f"one with permissions {stat.S_IMODE(found.st_mode):o}", f"chmod 700 {directory}")


def _unusable(directory: Path, found: str, advice: str) -> StorageError:
    return StorageError(
        f"{directory}: expected a directory that this user alone can write to, found {found}; {advice}, or name "
        "another, such as a new one inside it, by GEARSHIFT_CACHE_DIR"
    )


def is_ours(status: os.stat_result) -> bool:
    """Return whether a file belongs to this user (Unix users; True on other systems)."""
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def is_own_file(path: Path) -> bool:
    """Return whether there is a regular file of this user, and no link."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        return stat.S_ISREG(found.st_mode) and is_ours(found)
    return False


def is_own_directory(path: Path) -> bool:
    """Return whether there is a directory of this user with the permissions PRIVATE, and no link."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        private = not hasattr(os, "geteuid") or stat.S_IMODE(found.st_mode) == PRIVATE
        return stat.S_ISDIR(found.st_mode) and private and is_ours(found)
    return False


def read_own(path: Path) -> bytes:
    """Return the content of a regular file of this user; raise OSError or ValueError otherwise."""
    if not is_own_file(path):
        raise ValueError("expected a regular file of this user")
    return read_limited(path)


def discard(path: Path) -> None:
    """Remove whatever is at a path, as far as that is possible; of a link nothing but itself."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def holding(directory: Path) -> Iterator[bool]:
    """Hold the lock of a directory for the time of a `with` block; give whether nobody else held it.

    The lock ends with its process, however that ends. Raises OSError if the directory is not there, or its file system
    has no locks.
    """
    if sys.platform == "win32":
        raise OSError("directories have no locks on this system")
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(descriptor)
