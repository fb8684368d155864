"""Feed-forward: the change of the slow-down that sensor signals show before a request has measured it."""

from __future__ import annotations

import math

from gearshift.runtime.sensors.snapshot import OLDEST_S, Reading, Snapshot

SIGNALS = ("others_cpu", "cpu_pressure")
"""Signals in use: shares of the CPU time, 0 to 1, that other processes take or that processes wait for a CPU."""

LARGEST_SHARE = 0.95
FORGETTING = 0.97
FIRST_UNCERTAINTY = 1.0
LARGEST_UNCERTAINTY = 10.0
"""Variance of a weight before anything was learnt, and its upper bound, since forgetting lets it grow."""

FIRST_WEIGHTS = (0.5, 0.0)
"""Initial weights of the signals. A process that takes a share s of the CPU leaves 1 - s, so that weight 1 is a
machine that shares evenly. The first weight starts at half of that; pressure, which includes our own waiting, at 0."""


class FeedForward:
    """Estimator of the change of the log slow-down since the last request, from the signals.

    A share s counts as -log(1 - s). The weights are never negative. They are learnt by recursive least squares with
    forgetting, from the latencies of the requests that follow a change of the signals. A change while requests were
    running is already in their latency: only the part of a reading's interval after the last request counts. Before any
    request, the first reading is a change too: from the unloaded device that the latency table is of.
    """

    def __init__(self) -> None:
        self._weights = list(FIRST_WEIGHTS)
        self._uncertainty = [
            [FIRST_UNCERTAINTY if row == column else 0.0 for column in range(len(SIGNALS))]
            for row in range(len(SIGNALS))
        ]
        self._levels: list[float | None] = [None] * len(SIGNALS)
        self._known = [False] * len(SIGNALS)
        self._changes = [0.0] * len(SIGNALS)
        self._sensed_at: float | None = None
        self.ahead = 0.0
        """Change to add to the log slow-down that past requests have shown."""
        self.changed = False
        """Whether a signal has changed since the last request, so that there is something to learn from."""

    def sense(self, snapshot: Snapshot, now: float, last_request: float | None) -> None:
        """Take in the signals; `last_request` is the moment of the last observed request, None before the first."""
        since = 0.0 if self._sensed_at is None else now - self._sensed_at
        unseen = 1.0
        if last_request is not None and since > 0:
            unseen = max(0.0, min(1.0, (now - last_request) / since))
        for index, name in enumerate(SIGNALS):
            level = _level(getattr(snapshot, name))
            before = self._levels[index]
            if level is not None and not self._known[index]:
                self._known[index] = True
                before = 0.0 if last_request is None else None  # the latency table is of the unloaded device
            if level is not None and before is not None:
                self._changes[index] += unseen * (level - before)
            self._levels[index] = level
        self._sensed_at = now
        self.changed = any(self._changes)
        self.ahead = sum(weight * change for weight, change in zip(self._weights, self._changes, strict=True))

    def learn(self, innovation: float) -> None:
        """Learn the weights from log(observed / predicted latency) of a request, and start again from no change."""
        changes = self._changes
        if self.changed:
            spread = [sum(map(float.__mul__, row, changes)) for row in self._uncertainty]
            total = FORGETTING + sum(map(float.__mul__, changes, spread))
            gains = [value / total for value in spread]
            self._weights = [
                max(0.0, weight + gain * innovation) for weight, gain in zip(self._weights, gains, strict=True)
            ]
            self._uncertainty = [
                [
                    min(LARGEST_UNCERTAINTY, (value - gain * other) / FORGETTING)
                    for value, other in zip(row, spread, strict=True)
                ]
                for row, gain in zip(self._uncertainty, gains, strict=True)
            ]
            self._changes = [0.0] * len(SIGNALS)
            self.changed = False
        self.ahead = 0.0


def _level(reading: Reading) -> float | None:
    """Return -log(1 - share); None if the reading is unknown, stale or not a number."""
    value, age = reading.value, reading.age_s
    if value is None or not math.isfinite(value) or age is None or not 0 <= age <= OLDEST_S:
        return None
    return -math.log(1 - max(0.0, min(LARGEST_SHARE, value)))
