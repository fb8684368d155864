"""When to try the graph again while a DAN answers everything."""

from __future__ import annotations

SHORTEST_S = 0.002
LONGEST_S = 0.5
"""Bounds of the pause between two tries; the longest at first."""

FASTER = 0.8
SLOWER = FASTER**-10
"""A try that is in time shortens the pause, one that is late undoes ten of those."""

MARGIN = 1.5
"""A try must fit though it took so many times what it is believed to take."""


class Probing:
    """The pause between tries: shorter with each that is in time, much longer with one that is late.

    What is not heard from becomes uncertain, what is uncertain does not fit, and what does not fit is not heard from:
    without tries an engine that an overload drove down to its DAN would stay there. Not safe for several threads by
    itself; time is passed in, in seconds from any fixed moment.
    """

    def __init__(self) -> None:
        self._pause_s = LONGEST_S
        self._tried_at: float | None = None

    def due(self, now: float) -> bool:
        """Whether the pause is over."""
        return self._tried_at is None or not 0 <= now - self._tried_at < self._pause_s

    def begins(self, now: float) -> None:
        """A try begins."""
        self._tried_at = now

    def ended(self, *, met: bool) -> None:
        """Take in whether it was in time."""
        pause_s = self._pause_s * (FASTER if met else SLOWER)
        self._pause_s = max(SHORTEST_S, min(LONGEST_S, pause_s))
