"""Batches: texts of a list that run in one call have similar lengths, since each is padded to the longest of them."""

from __future__ import annotations

from collections.abc import Sequence

Work = tuple[tuple[int, int], ...]
"""Work of a request for the graph: (tokens that texts are padded to, number of texts) of each call."""

MOST_PADDING = 0.2
"""Largest share of padding in a call. Padding costs as much as text, and a call costs little on top of its texts, so
that saving padding is worth further calls."""

MOST_TOKENS = 4096
"""Largest number of tokens of one call: its memory grows with them (some 100 MB for a BERT-base)."""


def one(length: int) -> Work:
    """Return the work of a single text of `length` tokens."""
    return ((length, 1),)


def is_single(work: Work) -> bool:
    """Return whether a work is one text."""
    return len(work) == 1 and work[0][1] == 1


def group(lengths: Sequence[int], *, batch: bool = True) -> tuple[tuple[int, ...], ...]:
    """Group texts by their numbers of tokens; return the rows that run together, the shortest texts first.

    Every row is in one group. A group has at most a share MOST_PADDING of padding, and at most MOST_TOKENS tokens
    unless it is a single text. `batch`: False puts each row into a group of its own, in their order.
    """
    if len(lengths) == 1:  # the usual case, on the path of every request
        return ((0,),)
    if not batch:
        return tuple((row,) for row in range(len(lengths)))
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


def work_of(lengths: Sequence[int], *, batch: bool = True) -> Work:
    """Return the work of texts of these numbers of tokens; `batch` as in `group`."""
    if len(lengths) == 1:
        return one(lengths[0])
    return tuple((max(lengths[row] for row in rows), len(rows)) for rows in group(lengths, batch=batch))
