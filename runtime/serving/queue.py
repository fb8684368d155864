"""Bounded queue of requests, the earliest deadline first."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import Generic, TypeVar

from gearshift.errors import InputError, QueueFullError
from gearshift.number_checks import is_whole

Item = TypeVar("Item")

LIMIT = 1000
"""Default number of requests that may wait: at a millisecond each, the last one waits for a second."""


def check_limit(limit: object) -> None:
    """Raise InputError for anything but a whole number of at least 1."""
    if not is_whole(limit, 1):
        raise InputError(f"queue limit: expected a whole number of at least 1, got {limit!r}")


@dataclass(frozen=True, slots=True)
class Waiting(Generic[Item]):
    """Item that waits in the queue."""

    item: Item
    due_s: float
    """Moment of its deadline in seconds on the caller's clock; infinity without one."""


class DeadlineQueue(Generic[Item]):
    """Bounded queue in the order of deadlines (earliest deadline first, Liu and Layland 1973).

    Items without a deadline come last; equal deadlines keep the order of arrival. Raises InputError if the limit is not
    a whole number of at least 1. Not safe for several threads by itself.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        check_limit(limit)
        self._limit = limit
        self._heap: list[tuple[float, int, Waiting[Item]]] = []
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, item: Item, due_s: float = math.inf) -> None:
        """Add an item; raise QueueFullError if the queue is full."""
        if len(self._heap) >= self._limit:
            raise QueueFullError(
                f"{self._limit} requests wait already, which is the limit; send fewer, ask again later, "
                "or load the engine with a larger queue_limit"
            )
        heapq.heappush(self._heap, (due_s, next(self._arrivals), Waiting(item, due_s)))

    def pop(self) -> Waiting[Item]:
        """Remove and return the item with the earliest deadline; raise IndexError if the queue is empty."""
        return heapq.heappop(self._heap)[2]

    def most_urgent(self, count: int) -> list[Waiting[Item]]:
        """Return the items with the earliest deadlines, at most `count`, in order; they stay in the queue."""
        found: list[Waiting[Item]] = []
        reached = [(self._heap[0], 0)] if self._heap else []
        while reached and len(found) < count:  # walks down from the heap's root: the time does not grow with the queue
            entry, place = heapq.heappop(reached)
            found.append(entry[2])
            for below in (2 * place + 1, 2 * place + 2):
                if below < len(self._heap):
                    heapq.heappush(reached, (self._heap[below], below))
        return found

    def remove(self, item: Item) -> bool:
        """Remove this very item (by identity); return whether it was in the queue."""
        for place, entry in enumerate(self._heap):
            if entry[2].item is item:
                self._heap[place] = self._heap[-1]
                self._heap.pop()
                heapq.heapify(self._heap)
                return True
        return False

    def drain(self) -> list[Waiting[Item]]:
        """Remove and return all items, in order."""
        everyone = [entry[2] for entry in sorted(self._heap)]
        self._heap.clear()
        return everyone
