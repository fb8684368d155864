"""Requests that wait for their turn: the earliest deadline first, and no more than there is room for."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import Generic, TypeVar

from gearshift.errors import InputError, QueueFullError

Item = TypeVar("Item")

LIMIT = 1000
"""Requests that may wait: at a millisecond each, the last one waits for a second."""


def check_limit(limit: object) -> None:
    """Raise InputError where this is no number of requests that may wait."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InputError(f"queue limit: expected a whole number of at least 1, got {limit!r}")


@dataclass(frozen=True, slots=True)
class Waiting(Generic[Item]):
    """One that waits."""

    item: Item
    due_s: float
    """When its deadline is, on the caller's clock; infinity where there is none."""


class DeadlineQueue(Generic[Item]):
    """A bounded queue in the order of deadlines (earliest deadline first, Liu and Layland 1973).

    Those without a deadline come last, and equal deadlines in the order of arrival. Not safe for several threads by
    itself. Raises InputError where the limit is no whole number of at least 1.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        check_limit(limit)
        self._limit = limit
        self._heap: list[tuple[float, int, Waiting[Item]]] = []
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, item: Item, due_s: float = math.inf) -> None:
        """Let one wait; raises QueueFullError where there is no room."""
        if len(self._heap) >= self._limit:
            raise QueueFullError(
                f"{self._limit} requests wait already, which is the limit; send fewer, ask again later, "
                "or load the engine with a larger queue_limit"
            )
        heapq.heappush(self._heap, (due_s, next(self._arrivals), Waiting(item, due_s)))

    def pop(self) -> Waiting[Item]:
        """The one with the earliest deadline, which waits no more; raises IndexError where none waits."""
        return heapq.heappop(self._heap)[2]

    def most_urgent(self, count: int) -> list[Waiting[Item]]:
        """Those with the earliest deadlines, at most `count`, in order; they go on waiting."""
        found: list[Waiting[Item]] = []
        reached = [(self._heap[0], 0)] if self._heap else []
        while reached and len(found) < count:  # down from the top of the heap: the time does not grow with the queue
            entry, place = heapq.heappop(reached)
            found.append(entry[2])
            for below in (2 * place + 1, 2 * place + 2):
                if below < len(self._heap):
                    heapq.heappush(reached, (self._heap[below], below))
        return found

    def remove(self, item: Item) -> bool:
        """Whether that very item waited; it does no more."""
        for place, entry in enumerate(self._heap):
            if entry[2].item is item:
                self._heap[place] = self._heap[-1]
                self._heap.pop()
                heapq.heapify(self._heap)
                return True
        return False

    def drain(self) -> list[Waiting[Item]]:
        """All that wait, in order; none does afterwards."""
        everyone = [entry[2] for entry in sorted(self._heap)]
        self._heap.clear()
        return everyone
