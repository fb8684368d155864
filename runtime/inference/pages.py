"""Pages of mapped files: count those that this process holds, and release them (Linux; no effect elsewhere)."""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

from gearshift.errors import is_time_limit

Result = TypeVar("Result")

Extent = tuple[int, int]
"""Start and end address of a mapping."""

MADV_DONTNEED = 4
MAPS, SMAPS = Path("/proc/self/maps"), Path("/proc/self/smaps")

_MAPPING = threading.RLock()
"""Lock of the one call in the process whose mappings are noted."""


def resident_bytes(path: Path) -> int:
    """Return the bytes of a mapped file that this process holds in memory; 0 if that is unknown."""
    total = 0
    inside = False
    of_file = _line_of(path)
    try:
        with SMAPS.open("rb") as lines:
            for line in lines:
                head, _, rest = line.partition(b" ")
                if not head.endswith(b":"):  # the first line of a mapping
                    inside = of_file.match(line) is not None
                elif inside and head == b"Rss:":
                    total += int(rest.split()[0]) * 1024
    except OSError as error:
        if is_time_limit(error):
            raise
    return total


def drop(extents: Collection[Extent]) -> None:
    """Release the pages of mapped files to the system.

    Nothing is lost: a page that is touched again is read from the file, mostly from the system's page cache. The caller
    holds what keeps the mappings, since other memory that had come to one of these places would be zeroed.
    """
    if sys.platform != "linux" or not extents:
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, end in extents:
            madvise(start, end - start, MADV_DONTNEED)


def mapped_by(path: Path, call: Callable[[], Result]) -> tuple[Result, frozenset[Extent]]:
    """Return the result of a call, and the mappings of a file that it made and left there.

    Calls of several threads come one after another, so that none takes the mappings of another for its own.
    """
    found: list[tuple[Result, frozenset[Extent]]] = []
    mapped_by_each(path, [call], lambda *one: found.append(one))
    return found[0]


def mapped_by_each(
    path: Path, calls: Iterable[Callable[[], Result]], then: Callable[[Result, frozenset[Extent]], object]
) -> None:
    """Give `then` the result of each call and the mappings that it made, as `mapped_by` returns them.

    Between two calls the mappings are read once, which takes some milliseconds where there are thousands.
    """
    with _MAPPING:
        before = _mappings(path)
        for call in calls:
            result = call()
            after = _mappings(path)
            then(result, _apart(after - before, before))
            before = after


def _apart(made: Collection[Extent], before: Collection[Extent]) -> frozenset[Extent]:
    """Return the mappings that touch none of those that were there before, which the system may have joined."""
    old = sorted(before)  # they do not overlap each other, so that their ends ascend as well
    ends = [end for _, end in old]

    def touches(start: int, end: int) -> bool:
        place = bisect.bisect_right(ends, start)
        return place < len(old) and old[place][0] < end

    return frozenset(extent for extent in made if not touches(*extent))


def _mappings(path: Path) -> set[Extent]:
    """Return start and end address of every mapping of a file; none where the system does not tell."""
    if sys.platform != "linux":
        return set()
    try:
        text = MAPS.read_bytes()
    except OSError as error:
        if is_time_limit(error):
            raise
        return set()
    # Twelve sessions have thousands of lines, each of which a split would take some microseconds for.
    return {(int(start, 16), int(end, 16)) for start, end in _line_of(path).findall(text)}


def _line_of(path: Path) -> re.Pattern[bytes]:
    """Return the pattern of the first line of a mapping of a file, also of one removed since, whose pages are still
    held; its groups are start and end address."""
    name = re.escape(os.fsencode(path.resolve()))
    return re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) +\S+ +\S+ +\S+ +\S+ +" + name + rb"(?: \(deleted\))?$", re.MULTILINE)
