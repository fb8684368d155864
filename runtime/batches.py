"""Which texts of a list run together: those of like length, since each is padded to the longest of its call."""

from __future__ import annotations

from collections.abc import Sequence

Work = tuple[tuple[int, int], ...]
"""What a request asks of the graph: (tokens that texts are padded to, number of texts) of each call."""

MOST_PADDING = 0.2
"""Padding costs as much as text. A call costs little on top of its texts, so that less of it is worth a call."""

MOST_TOKENS = 4096
"""Of one call: what it takes in memory grows with them (some 100 MB for a BERT-base)."""


def one(length: int) -> Work:
    """A single text of that many tokens."""
    return ((length, 1),)


def is_single(work: Work) -> bool:
    """Whether it is one text."""
    return len(work) == 1 and work[0][1] == 1


def group(lengths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Rows that run together, shortest first, for texts of so many tokens; every row is in one group.

    In a group at most MOST_PADDING of the tokens are padding, and there are no more than MOST_TOKENS of them.
    """
    if len(lengths) == 1:  # the usual case, and on the path of every request
        return ((0,),)
    groups: list[list[int]] = []
    own = 0
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        length = lengths[row]
        count = len(groups[-1]) + 1 if groups else 0
        own += length
        if not groups or own < (1 - MOST_PADDING) * length * count or length * count > MOST_TOKENS:
            groups.append([])
            own = length
        groups[-1].append(row)
    return tuple(tuple(rows) for rows in groups)


def work_of(lengths: Sequence[int]) -> Work:
    """What texts of so many tokens ask of the graph."""
    if len(lengths) == 1:
        return one(lengths[0])
    return tuple((max(lengths[row] for row in rows), len(rows)) for rows in group(lengths))
