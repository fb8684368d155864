"""The thread that reads the sensors beside the requests, and says how large a subnet may be."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from gearshift.runtime.sensors.cap_rules import DEFAULT_RULES, START, Rules, advance
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.sensors.snapshot import Snapshot

INTERVAL_S = 0.5
"""The least time between two looks: never more than two wake-ups a second."""

QUIET_LOOKS = 10
"""After so many looks without a request the thread sleeps until the next one."""

Wait = Callable[[threading.Event, float | None], bool]


class Readable(Protocol):
    """What gives snapshots: `Sensors`, or a stand-in."""

    def read(self) -> Snapshot:
        """The signals now."""


class SlowLoop:
    """Looks at the signals twice a second while requests come, and sleeps without any timer when none do.

        loop.start()
        loop.touch()      # at each request: a look at a flag
        loop.caps         # what the request may use: an attribute, computed elsewhere
        loop.close()

    `signals` holds those that the last look knew, by name. `rungs`: of the ladder. `release`: gives pages of
    weights back. `clock` is that of the sensors. No exception of any of them ends the loop. Threads do not follow a
    fork.
    """

    def __init__(
        self,
        sensors: Readable,
        rungs: int,
        *,
        rules: Rules = DEFAULT_RULES,
        release: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Event.wait,
    ) -> None:
        self.caps: Caps = NO_CAPS
        self.signals: Mapping[str, float] = {}
        self.snapshot: Snapshot | None = None
        """The last snapshot; None before the first look, and where the last one failed."""
        self._sensors = sensors
        self._rungs = rungs
        self._rules = rules
        self._release = release
        self._clock = clock
        self._wait = wait
        self._state = START
        self._requested = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self.run, name="gearshift-slow-loop", daemon=True)

    def start(self) -> None:
        """Begin to look; once."""
        self._thread.start()

    def touch(self) -> None:
        """Say that there is a request."""
        if not self._requested.is_set():
            self._requested.set()

    def stop(self) -> None:
        """Let the thread end, without waiting for it."""
        self._stopped.set()  # first: see `run`
        self._requested.set()

    def close(self) -> None:
        """Stop, and wait for the thread. A second call does nothing, nor does one before `start`."""
        self.stop()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def age_s(self, snapshot: Snapshot) -> float:
        """Seconds since a snapshot was taken."""
        return self._clock() - snapshot.taken_s

    def run(self) -> None:
        """Look again and again, until `close`: the work of the thread."""
        quiet = 0
        while not self._stopped.is_set():
            self._requested.clear()
            self.look()
            # Before any sleep, so that requests which come and go cannot make it look more often.
            self._wait(self._stopped, INTERVAL_S)
            quiet = 0 if self._requested.is_set() else quiet + 1
            # `stop` sets stopped first: whoever is not seen here wakes the wait below.
            if quiet >= QUIET_LOOKS and not self._stopped.is_set():
                self._wait(self._requested, None)
                quiet = 0

    def look(self) -> None:
        """Read the signals once, and set `caps` by them."""
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
        self.snapshot = snapshot
