"""The n-grams that a DAN's table holds: the most frequent of all texts, counted as keys while the texts stream by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import DataError
from gearshift.runtime.dan.ngrams import Keys, keys

Counts = NDArray[np.int64]

MOST_DISTINCT = 20_000_000
"""Different n-grams that are counted at once."""
BYTES_EACH = 64
"""Of a different n-gram: its key and count, twice while they are merged, and the order of both."""
_AT_ONCE = 4_000_000


def most_frequent(texts: Iterable[str], *, longest: int, size: int, most_distinct: int = MOST_DISTINCT) -> Keys:
    """At most `size` keys, the most frequent first, equal ones by key; raises DataError where no text has a word.

    Where there are more different n-grams than `most_distinct`, those seen once so far are forgotten: the counts of
    rare ones are then too low, those of frequent ones are not.
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
    """The keys of many texts at a time."""
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
    """Sums of two counts, each sorted by key."""
    both = np.concatenate([known, more])
    order = np.argsort(both, kind="stable")  # fast for two sorted parts
    both = both[order]
    first = np.flatnonzero(np.concatenate([[True], both[1:] != both[:-1]]))
    return both[first], np.add.reduceat(np.concatenate([counts, of_more])[order], first)
