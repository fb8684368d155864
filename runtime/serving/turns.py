"""Turns of engines that share the CPUs of one process: one call at a time, the highest priority and earliest deadline
first.

Two calls at once would each take longer than predicted. One after another, each takes the time that it was measured
with, and its decision knows who waits for it.
"""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown
from gearshift.runtime.background import Flag

Result = TypeVar("Result")

LOOK_S = 0.005
"""Seconds between two looks of one that waits: it is woken at its turn, unless an exception of a signal handler came in
between."""

LOOKS = 10
"""Number of looks after which the first in line waits for the lock itself."""

MOST_PRIORITY = 100

MOST_HEARD = 1000
"""Number of turns at other engines that are kept for an engine that decides nothing meanwhile."""


class Waits(NamedTuple):
    """A request that waits for its turn at one engine, as the decision of another sees it."""

    ms: Sequence[float]
    """Time in ms now on each rung of its own engine, the most accurate first."""
    due_s: float
    """Moment of its deadline in seconds."""
    priority: int


class Came(NamedTuple):
    """A request whose turn has come at one engine, as the others count it."""

    arrival_s: float
    deadline_ms: float
    fastest_ms: float
    """Time in ms now on the fastest rung."""


class Turns:
    """Turns of the calls of several engines. Safe for several threads.

    A turn is held by a lock that `with` takes and frees in one step each, and whoever waits holds a lock of its own
    meanwhile: so that no exception of a signal handler leaves a turn taken, or a place in the line empty.
    """

    def __init__(self) -> None:
        self._gate = threading.RLock()  # a signal handler may ask for a turn within one
        self._owner: int | None = None
        self._line: set[InLine] = set()
        self._numbers = itertools.count()
        self._shares: weakref.WeakSet[Share] = weakref.WeakSet()

    def share(self, priority: int) -> Share:
        """Return a new engine's part; raise InputError for a priority that is no whole number from 0 to 100."""
        if not is_whole(priority, 0, MOST_PRIORITY):
            raise InputError(f"priority: expected a whole number from 0 to {MOST_PRIORITY}, got {shown(priority)}")
        share = Share(self, priority)
        self._shares.add(share)
        return share

    def take(self, one: InLine, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return `function(*arguments)`, called at its turn."""
        if self._owner == threading.get_ident():
            return function(*arguments)
        one.number = next(self._numbers)
        try:
            with one.place:
                self._line.add(one)
                self._wait(one)
                with self._gate:
                    self._owner = threading.get_ident()
                    self._line.discard(one)
                    try:
                        return function(*arguments)
                    finally:
                        self._owner = None
        finally:
            first = self._first()
            if first is not None:
                first.flag.set()

    def _wait(self, one: InLine) -> None:
        for _ in range(LOOKS):
            one.flag.clear()
            if self._owner is None and self._first() is one:
                return
            one.flag.wait(LOOK_S)
        while self._first() is not one:
            one.flag.clear()
            one.flag.wait(LOOK_S)

    def _first(self) -> InLine | None:
        """Return who is first in line, and forget those who left it."""
        waiting = list[InLine]()
        for one in self._line.copy():
            if one.place.locked():
                waiting.append(one)
            else:
                self._line.discard(one)
        return min(waiting, key=InLine.key, default=None)

    def others(self, own: Share) -> list[Waits]:
        """Return the requests that wait for a turn, and the most urgent ones in queues of other engines, of the
        priority of this engine and above."""
        in_line = [one.waits for one in self._line.copy() if one.waits is not None and one.place.locked()]
        found = [waits for waits in in_line if waits.priority >= own.priority]
        for share in list(self._shares):
            if share is not own and share.priority >= own.priority:
                found += share.waiting()
        return found

    def tell(self, own: Share, came: Came) -> None:
        """Tell the engines of this priority and below of a request whose turn has come."""
        for one in list(self._shares):
            if one is not own and one.priority <= own.priority:
                one.heard.append(came)


class InLine:
    """A place in the line: of an engine's worker, or of one request that does not wait in a queue.

    `due_s` gives the moment of the deadline in seconds. `waits`: the request, as other engines see it; None for a
    worker, whose queue they see.
    """

    def __init__(self, priority: int, due_s: Callable[[], float], waits: Waits | None = None) -> None:
        self._priority, self._due_s, self.waits = priority, due_s, waits
        self.number = 0
        self.place, self.flag = threading.Lock(), Flag()

    def key(self) -> tuple[int, float, int]:
        """Return what the line is sorted by."""
        return -self._priority, self._due_s(), self.number


class Share:
    """One engine's part in `Turns`."""

    def __init__(self, turns: Turns, priority: int) -> None:
        self._turns, self.priority = turns, priority
        self.waiting: Callable[[], Sequence[Waits]] = tuple
        """Function that gives the most urgent requests in this engine's queue."""
        self.heard: deque[Came] = deque(maxlen=MOST_HEARD)
        """Turns at other engines that this one has not counted yet."""

    def take_next(self, due_s: Callable[[], float], function: Callable[[], Result]) -> Result:
        """Return `function()`, called at the turn of this engine's queue."""
        return self._turns.take(InLine(self.priority, due_s), function)

    def take(self, ms: Sequence[float], due_s: float, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return `function(*arguments)`, called at the turn of one request; `ms`, `due_s` as in `Waits`."""
        waits = Waits(ms, due_s, self.priority) if due_s < math.inf else None
        return self._turns.take(InLine(self.priority, lambda: due_s, waits), function, *arguments)

    def others(self) -> list[Waits]:
        """Return the most urgent requests that wait at other engines of this priority and above."""
        return self._turns.others(self)

    def tell(self, came: Came) -> None:
        """Tell the others of a request whose turn has come."""
        self._turns.tell(self, came)
