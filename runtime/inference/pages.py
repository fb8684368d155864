"""Pages of mapped files: count those that this process holds, and release them (Linux; no effect elsewhere)."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

from gearshift.errors import is_time_limit

MADV_DONTNEED = 4
MAPS, SMAPS = Path("/proc/self/maps"), Path("/proc/self/smaps")


def resident_bytes(path: Path) -> int:
    """Return the bytes of a mapped file that this process holds in memory; 0 if that is unknown."""
    total = 0
    inside = False
    path = path.resolve()
    try:
        with SMAPS.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                head, _, rest = line.partition(" ")
                if not head.endswith(":"):  # the first line of a mapping
                    inside = _is_of(line, path)
                elif inside and head == "Rss:":
                    total += int(rest.split()[0]) * 1024
    except OSError as error:
        if is_time_limit(error):
            raise
    return total


def release(path: Path) -> int:
    """Release the pages of a mapped file to the system; return the bytes that were freed.

    Nothing is lost: a page that is touched again is read from the file, mostly from the system's page cache.
    """
    if sys.platform != "linux":
        return 0
    path = path.resolve()
    before = resident_bytes(path)
    with contextlib.suppress(AttributeError, OSError):  # another C library
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, end in _mappings(path):
            madvise(start, end - start, MADV_DONTNEED)
    return max(0, before - resident_bytes(path))


def _mappings(path: Path) -> Iterator[tuple[int, int]]:
    """Yield start and end address of every mapping of a file."""
    text = MAPS.read_text(encoding="utf-8", errors="replace")
    found = [line.split()[0] for line in text.splitlines() if _is_of(line, path)]
    for extent in found:
        start, end = extent.split("-")
        yield int(start, 16), int(end, 16)


def _is_of(line: str, path: Path) -> bool:
    """Return whether a mapping's line names a file, including one removed since, whose pages are still held."""
    fields = line.rstrip("\n").split(maxsplit=5)
    return len(fields) == 6 and fields[5] in (str(path), f"{path} (deleted)")
