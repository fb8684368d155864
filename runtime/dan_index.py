"""From n-gram keys to rows of an embedding table, without a dictionary: arrays that are memory-mapped.

Rows are sorted by key. The upper half of a key picks a bucket, `starts[bucket]` is the bucket's first row, and the
lower half is compared with the prints of the next `widest` rows. Nothing is padded: a row costs 4 bytes
of print and 2 to 4 of `starts`.
A key that is not in the table passes for one that is with a chance of about widest / 2**32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import InputError, IntegrityError

_LOWER = np.uint64(0xFFFFFFFF)
_LOAD = 2  # rows per bucket on average: 1 would double `starts`, 4 would compare twice as many prints


@dataclass(frozen=True)
class NgramIndex:
    """Which row of the table an n-gram has."""

    prints: NDArray[np.uint32]
    """Lower half of the key of each row, (rows,)."""
    starts: NDArray[np.uint32]
    """First row of each bucket and, last, the number of rows: (2**bits + 1,)."""

    def __post_init__(self) -> None:
        starts, buckets = self.starts, len(self.starts) - 1
        whole = (
            buckets > 0
            and buckets & (buckets - 1) == 0
            and starts[0] == 0
            and starts[-1] == len(self.prints) > 0
            and bool(np.all(starts[:-1] <= starts[1:]))
        )
        if not whole:
            raise IntegrityError(
                f"n-gram index: expected rising starts from 0 to {len(self.prints)}, found others; copy it again"
            )

    @cached_property
    def _shift(self) -> np.uint64:
        return np.uint64(64 - ((len(self.starts) - 1).bit_length() - 1))

    @cached_property
    def _steps(self) -> NDArray[np.int64]:
        return np.arange(int(np.diff(self.starts).max()), dtype=np.int64)

    def rows(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Row of each key that the table has, in the order of the keys; the others are left out."""
        if not len(keys):
            return np.empty(0, np.int64)
        first = self.starts[(keys >> self._shift).astype(np.int64)].astype(np.int64)
        candidates = first[:, None] + self._steps
        np.minimum(candidates, len(self.prints) - 1, out=candidates)
        same = self.prints[candidates] == (keys & _LOWER).astype(np.uint32)[:, None]
        which = same.ravel().nonzero()[0]
        found: NDArray[np.int64] = candidates.ravel()[which]
        if len(found) > 1:  # clamping at the end of the table shows its last row several times for one key
            owner = which // len(self._steps)
            found = found[np.concatenate([[True], owner[1:] != owner[:-1]])]
        return found


def build_index(keys: NDArray[np.uint64]) -> tuple[NgramIndex, NDArray[np.int64]]:
    """An index of different keys, and for each of its rows which key of the argument that is."""
    if not len(keys):
        raise InputError("n-gram index: expected at least one n-gram, found none; give more text")
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    if bool(np.any(ordered[1:] == ordered[:-1])):
        raise InputError("n-gram index: expected different keys, found one twice")
    bits = max(1, int(np.ceil(np.log2(len(keys) / _LOAD))) if len(keys) > _LOAD else 1)
    bucket = (ordered >> np.uint64(64 - bits)).astype(np.int64)
    starts = np.searchsorted(bucket, np.arange(2**bits + 1)).astype(np.uint32)
    return NgramIndex((ordered & _LOWER).astype(np.uint32), starts), order
