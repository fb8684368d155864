"""Index from n-gram keys to rows of an embedding table: memory-mapped arrays instead of a dictionary.

Hash, displace and compress (Belazzougui, Botelho, Dietzfelbinger 2009), without the compression. The upper half of a
key selects a bucket of some 4 keys. The bucket's displacement maps each of its keys to a row that no other key has. The
lower half of the key is compared with that row's print. A look-up reads two numbers, and a row costs 4.6 bytes; one
row in 50 stays empty. A key that is not in the table is taken for one that is with probability 2**-32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError, IntegrityError
from gearshift.runtime.dan.ngrams import Keys

Rows = NDArray[np.int64]

_HALF = np.uint64(32)
_BUCKET = 4
"""Mean number of keys of a bucket: with more, displacements take longer to find; with fewer, there are more of them."""
_LOAD = 0.98
_MOST = 1 << 16
"""Number of displacements to try: the last buckets of a million keys need some 5,000."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class NgramIndex:
    """Index that maps an n-gram's key to its row of the table."""

    displacements: NDArray[np.uint16]
    """Displacement of each bucket, (buckets,)."""
    prints: NDArray[np.uint32]
    """Lower half of the key of each row, 0 for an empty one, (rows,)."""

    def __post_init__(self) -> None:
        if not len(self.displacements) or not len(self.prints):
            raise IntegrityError(
                f"n-gram index: expected buckets and rows, found {len(self.displacements)} and {len(self.prints)}; "
                "copy it again"
            )

    @cached_property
    def _sizes(self) -> tuple[np.uint64, np.uint64]:
        return np.uint64(len(self.displacements)), np.uint64(len(self.prints))

    def rows(self, keys: Keys) -> Rows:
        """Return the row of each key that the table has, in the order of the keys; other keys are left out."""
        buckets, rows = self._sizes
        found = _rows(keys, self.displacements.take(_buckets(keys, buckets)).astype(np.uint64), rows)
        known: Rows = found[self.prints.take(found) == keys.astype(np.uint32)]
        return known


def _buckets(keys: Keys, count: np.uint64) -> Rows:
    return _scaled(keys.copy(), count)


def _rows(keys: Keys, displacements: Keys, count: np.uint64) -> Rows:
    """Return the row of each key by its displacement; `displacements` is overwritten."""
    displacements *= _SPREAD
    displacements ^= keys
    displacements *= _MIX
    return _scaled(displacements, count)


def _scaled(values: Keys, count: np.uint64) -> Rows:
    """Scale uniform 64-bit numbers to 0 ... count - 1, in place (Lemire 2019)."""
    values >>= _HALF
    values *= count
    values >>= _HALF
    return values.view(np.int64)


def build_index(keys: Keys) -> tuple[NgramIndex, Rows]:
    """Build an index of distinct keys; return it and the row of each key."""
    if not len(keys):
        raise InputError("n-gram index: expected at least one n-gram, found none; give more text")
    if len(np.unique(keys)) < len(keys):
        raise InputError("n-gram index: expected distinct keys, found a duplicate")
    for spare in range(1, 9):  # more empty rows if some bucket found no displacement, as may happen with few keys
        placed = _place(keys, int(np.ceil(len(keys) / _LOAD ** (spare**2))))
        if placed is not None:
            displacements, rows, row_of = placed
            prints = np.zeros(rows, np.uint32)
            prints[row_of] = keys.astype(np.uint32)
            return NgramIndex(displacements, prints), row_of
    raise InputError(f"n-gram index: {len(keys)} keys could not be placed; expected keys of `runtime.dan.ngrams`")


def _place(keys: Keys, rows: int) -> tuple[NDArray[np.uint16], int, Rows] | None:
    """Find a displacement for every bucket, the fullest first; return them, the count of rows and the row of each key.

    Returns None if a bucket has no displacement that fits.
    """
    count = -(-len(keys) // _BUCKET)
    bucket = _buckets(keys, np.uint64(count))
    order = np.argsort(bucket, kind="stable")
    first = np.searchsorted(bucket[order], np.arange(count + 1))
    sizes = np.diff(first)
    displacements, taken = np.zeros(count, np.uint16), np.zeros(rows, bool)
    owner, row_of = np.empty(rows, np.int64), np.empty(len(keys), np.int64)
    for size in range(int(sizes.max()), 0, -1):
        left = np.flatnonzero(sizes == size)
        places = order[first[left][:, None] + np.arange(size)]
        for displacement in range(_MOST):
            if not len(left):
                break
            tried = _rows(keys[places], np.full(places.shape, displacement, np.uint64), np.uint64(rows))
            free = np.flatnonzero(~taken[tried].any(1))
            wanted = tried[free]
            numbers = np.arange(wanted.size).reshape(wanted.shape)
            owner[wanted] = numbers  # if two keys want one row, also within a bucket, the last one gets it
            fits = free[(owner[wanted] == numbers).all(1)]
            taken[tried[fits]], displacements[left[fits]] = True, displacement
            row_of[places[fits]] = tried[fits]
            kept = np.ones(len(left), bool)
            kept[fits] = False
            left, places = left[kept], places[kept]
        if len(left):
            return None
    return displacements, rows, row_of
