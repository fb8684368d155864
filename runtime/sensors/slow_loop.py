"""The slow loop: a thread that reads the sensors while requests run, and caps the subnets that they may use."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from gearshift.runtime.background import Background, Flag
from gearshift.runtime.sensors.cap_rules import DEFAULT_RULES, START, Rules, advance
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.sensors.snapshot import Snapshot

INTERVAL_S = 0.5
"""Least seconds between two looks: never more than two wake-ups a second."""

UNREAD = 64
"""Largest number of snapshots that are kept for whoever learns from them; the oldest go first."""

QUIET_LOOKS = 10
"""Number of looks without a request after which the thread sleeps until the next request."""

Wait = Callable[[Flag, float | None], bool]


class Readable(Protocol):
    """Source of snapshots: `Sensors`, or a stand-in."""

    def read(self) -> Snapshot:
        """Read all signals now."""


class SlowLoop:
    """Thread that reads the signals twice a second while requests come, and sleeps without any timer when none do.

        loop.start()
        loop.touch()      # at each request: reads a flag
        loop.caps         # caps of the request: an attribute, computed by the thread
        loop.close()

    `signals`: values of the signals that the last look could read, by name.
    `rungs`: number of rungs of the ladder.
    `release`: function that gives pages of weights back to the system.
    `clock`: clock of the sensors, in seconds.

    No exception of sensors, rules or `release` ends the loop. The thread does not survive a fork.
    """

    def __init__(
        self,
        sensors: Readable,
        rungs: int,
        *,
        rules: Rules = DEFAULT_RULES,
        release: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = Flag.wait,
    ) -> None:
        self.caps: Caps = NO_CAPS
        self.signals: Mapping[str, float] = {}
        self.unread: deque[Snapshot] = deque(maxlen=UNREAD)
        """Snapshots that nobody has taken out yet, the oldest first."""
        self._sensors = sensors
        self._rungs = rungs
        self._rules = rules
        self._release = release
        self._clock = clock
        self._wait = wait
        self._state = START
        self._requested = Flag()
        self._stopped = Flag()
        self._thread = Background()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start(self.run)

    def touch(self) -> None:
        """Signal a request to the thread."""
        if not self._requested.is_set():
            self._requested.set()

    def stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._stopped.set()  # first: see `run`
        self._requested.set()

    def close(self, timeout: float | None = None) -> bool:
        """Stop, and wait for the thread to end, for at most `timeout` seconds; return whether it ended.

        A second call does nothing, nor does one before `start`.
        """
        self.stop()
        return self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether the thread was started and has not ended."""
        return self._thread.alive

    def age_s(self, snapshot: Snapshot) -> float:
        """Return the seconds since a snapshot was taken."""
        return self._clock() - snapshot.taken_s

    def run(self) -> None:
        """Look again and again until `close`; the target of the thread."""
        quiet = 0
        while not self._stopped.is_set():
            self._requested.clear()
            self.look()
            # Before any sleep, so that intermittent requests cannot make it look more often.
            self._wait(self._stopped, INTERVAL_S)
            quiet = 0 if self._requested.is_set() else quiet + 1
            # `stop` sets `_stopped` first: a stop that is not seen here wakes the wait below.
            if quiet >= QUIET_LOOKS and not self._stopped.is_set():
                self._wait(self._requested, None)
                quiet = 0

    def look(self) -> None:
        """Read the signals once; set `signals` and `caps`, add to `unread`, release pages if the rules ask for it."""
        snapshot = None
        with contextlib.suppress(Exception):
            snapshot = self._sensors.read()
        with contextlib.suppress(Exception):
            self.signals = {} if snapshot is None else snapshot.known()
        with contextlib.suppress(Exception):
            self._state = advance(
                self._state,
                snapshot,
                self._clock(),
                rungs=self._rungs,
                rules=self._rules,
                can_release=self._release is not None,
            )
            self.caps = self._state.caps
            if self._state.release and self._release is not None:
                self._release()
        if snapshot is not None:
            self.unread.append(snapshot)
