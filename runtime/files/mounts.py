"""File systems on which the time of a status change proves that a file has not changed since."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

WITHOUT_CHANGE_TIME = ("9p", "cifs", "exfat", "fuse", "msdos", "nfs", "ntfs", "smb", "vfat")
"""Beginnings of the names of file systems that lack such a time, or have it from another machine."""


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    point: str
    kind: str
    """Name of its type, such as ext4."""
    read_only: bool


def read_mounts(listing: Path = MOUNTS) -> tuple[Mount, ...]:
    """Return what is mounted, in the order of the lines of mountinfo (proc(5)); nothing if they cannot be read."""
    try:
        lines = listing.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ()
    mounts = []
    for line in lines:
        fields, _, rest = line.partition(" - ")
        parts, kind = fields.split(" "), rest.partition(" ")[0]
        if len(parts) < 6 or not kind:
            continue
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), parts[4])
        options = (*parts[5].split(","), *rest.rpartition(" ")[2].split(","))  # of the mount, of the file system
        mounts.append(Mount(point, kind, "ro" in options))
    return tuple(mounts)


def mount_of(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that a resolved path lies in; None if none has it."""
    place = f"{path}/"
    holding = [mount for mount in mounts if place.startswith(f"{mount.point.rstrip('/')}/")]
    # The innermost; of two at one point the later hides the earlier, and `max` keeps the first.
    return max(reversed(holding), key=lambda mount: len(mount.point), default=None)


def proves_changes(path: Path, found: os.stat_result, mounts: Sequence[Mount]) -> bool:
    """Return whether a changed file at a resolved path would have another time of status change than in `found`.

    It would not on an image that is mounted read-only: another image may hold another file under the same path, inode
    and times, which are often set to whole seconds on purpose, so that builds are reproducible.
    """
    if not stat.S_ISREG(found.st_mode) or found.st_ctime_ns % 1_000_000_000 == 0:
        return False
    mount = mount_of(path, mounts)
    return mount is not None and not mount.read_only and not mount.kind.startswith(WITHOUT_CHANGE_TIME)
