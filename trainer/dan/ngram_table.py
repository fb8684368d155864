"""N-grams of a DAN's table: the most frequent of all texts, counted as keys while the texts stream by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import DataError
from gearshift.runtime.dan.ngrams import Keys, keys

Counts = NDArray[np.int64]

MOST_DISTINCT = 20_000_000
"""Most distinct n-grams that are counted at once."""
BYTES_EACH = 64
"""Bytes per distinct n-gram: its key and count, twice while they are merged, and the order of both."""
_AT_ONCE = 4_000_000


def most_frequent(texts: Iterable[str], *, longest: int, size: int, most_distinct: int = MOST_DISTINCT) -> Keys:
    """Return at most `size` keys, the most frequent first, ties by key; raise DataError if no text has a word.

    If there are more distinct n-grams than `most_distinct`, those seen once so far are forgotten: the counts of rare
    ones become too low, those of frequent ones do not.
    """
    known, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
    for part in _parts(texts, longest):
        if len(part):
            known, counts = _merged(known, counts, *np.unique(part, return_counts=True))
        if len(known) > most_distinct:
            known, counts = known[counts > 1], counts[counts > 1]
    if not len(known):
        raise DataError("vocabulary: expected texts with words, found none")
    order = np.lexsort((known, -counts))[:size]
    return known[order]


def _parts(texts: Iterable[str], longest: int) -> Iterable[Keys]:
    """Give the keys of many texts at a time."""
    waiting: list[Keys] = []
    held = 0
    for text in texts:
        waiting.append(keys(text, longest))
        held += len(waiting[-1])
        if held >= _AT_ONCE:
            yield np.concatenate(waiting)
            waiting, held = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _merged(known: Keys, counts: Counts, more: Keys, of_more: Counts) -> tuple[Keys, Counts]:
    """Return the sums of two counts, each sorted by key."""
    both = np.concatenate([known, more])
    order = np.argsort(both, kind="stable")  # fast for two sorted parts
    both = both[order]
    first = np.flatnonzero(np.concatenate([[True], both[1:] != both[:-1]]))
    return both[first], np.add.reduceat(np.concatenate([counts, of_more])[order], first)
