"""Bounded queue of requests, the earliest deadline first."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import Generic, TypeVar

from gearshift.errors import InputError, QueueFullError
from gearshift.number_checks import is_whole, shown

Item = TypeVar("Item")

LIMIT = 1000
"""Default number of requests that may wait: at a millisecond each, the last one waits for a second."""

MOST_STALE = 64
"""Number of entries of the heap that may be of items taken back, beside one for each item that waits."""


def check_limit(limit: object) -> None:
    """Raise InputError for anything but a whole number of at least 1."""
    if not is_whole(limit, 1):
        raise InputError(f"queue limit: expected a whole number of at least 1, got {shown(limit)}")


@dataclass(frozen=True, slots=True, eq=False)
class Waiting(Generic[Item]):
    """Item that waits in the queue."""

    item: Item
    due_s: float = math.inf
    """Moment of its deadline in seconds on the caller's clock; infinity without one."""


class DeadlineQueue(Generic[Item]):
    """Bounded queue in the order of deadlines (earliest deadline first, Liu and Layland 1973).

    Items without a deadline come last; equal deadlines keep the order of arrival. Raises InputError if the limit is not
    a whole number of at least 1. Not safe for several threads by itself.

    What waits is one set, which changes in one step; the heap gives the order, and may hold entries that wait no more.
    So an item is taken back in constant time, and an exception of a signal handler leaves no count wrong.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        check_limit(limit)
        self._limit = limit
        self._heap: list[tuple[float, int, Waiting[Item]]] = []
        self._waiting: set[Waiting[Item]] = set()
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, one: Waiting[Item]) -> None:
        """Add an item; raise QueueFullError if the queue is full."""
        if len(self._waiting) >= self._limit:
            raise QueueFullError(
                f"{self._limit} requests wait already, which is the limit; send fewer, ask again later, "
                "or load the engine with a larger queue_limit"
            )
        if len(self._heap) > 2 * len(self._waiting) + MOST_STALE:
            kept = [entry for entry in self._heap if entry[2] in self._waiting]
            heapq.heapify(kept)
            self._heap = kept
        heapq.heappush(self._heap, (one.due_s, next(self._arrivals), one))
        self._waiting.add(one)

    @property
    def earliest_s(self) -> float:
        """Moment of the earliest deadline in seconds; infinity if there is none. Needs no lock."""
        try:
            return self._heap[0][0]
        except IndexError:
            return math.inf

    def pop(self) -> Waiting[Item]:
        """Remove and return the item with the earliest deadline; raise IndexError if the queue is empty."""
        while True:
            one = heapq.heappop(self._heap)[2]
            if self.remove(one):
                return one

    def most_urgent(self, count: int) -> list[Waiting[Item]]:
        """Return the items with the earliest deadlines, at most `count`, in order; they stay in the queue."""
        found: list[Waiting[Item]] = []
        reached = [(self._heap[0], 0)] if self._heap else []
        while reached and len(found) < count:  # walks down from the heap's root: the time does not grow with the queue
            entry, place = heapq.heappop(reached)
            if entry[2] in self._waiting:
                found.append(entry[2])
            for below in (2 * place + 1, 2 * place + 2):
                if below < len(self._heap):
                    heapq.heappush(reached, (self._heap[below], below))
        return found

    def remove(self, one: Waiting[Item]) -> bool:
        """Take an item back; return whether it was in the queue."""
        if one not in self._waiting:
            return False
        self._waiting.discard(one)
        return True

    def everyone(self) -> list[Waiting[Item]]:
        """Return all items in order; they stay in the queue."""
        return [entry[2] for entry in sorted(self._heap) if entry[2] in self._waiting]
