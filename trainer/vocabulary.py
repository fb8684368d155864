"""The n-grams that a DAN's table holds: the most frequent of all texts, counted as keys while the texts stream by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import DataError
from gearshift.runtime.ngrams import keys

Keys = NDArray[np.uint64]
Counts = NDArray[np.int64]

MOST_DISTINCT = 50_000_000
"""Different n-grams that are counted at once, 16 bytes each and as much again while they are merged."""
_AT_ONCE = 4_000_000


def most_frequent(texts: Iterable[str], *, longest: int, size: int, most_distinct: int = MOST_DISTINCT) -> Keys:
    """At most `size` keys, the most frequent first, equal ones by key; raises DataError where no text has a word.

    Where there are more different n-grams than `most_distinct`, those seen once so far are forgotten: the counts of
    rare ones are then too low, those of frequent ones are not.
    """
    known, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
    for part in _parts(texts, longest):
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
    both, places = np.unique(np.concatenate([known, more]), return_inverse=True)
    sums = np.zeros(len(both), np.int64)
    np.add.at(sums, places, np.concatenate([counts, of_more]))
    return both, sums
