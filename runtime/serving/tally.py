"""Counts of the requests that have ended, and histograms of their times."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.serving.record import IN_TIME, LATE, RequestRecord

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds of the buckets of times: from a small subnet on a fast core to longer than anyone waits."""

RATIOS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
"""Upper bounds of the buckets of observed / predicted time: the share up to 1 is the tail's coverage."""

ERROR_KINDS = 32
"""Number of kinds of errors with a count of their own, so that memory stays bounded; further ones are `other`."""

NO_SUBNET = "none"


class Histogram:
    """Histogram of values: counts by upper bound, total count and sum. Not safe for several threads by itself."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def copy(self) -> Self:
        """Return a histogram of the same values."""
        other = copy.copy(self)
        other._counts = self._counts.copy()
        return other

    def observe(self, value: float) -> None:
        """Count one value; it belongs to the first bucket whose bound it does not exceed."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulated(self) -> Iterable[tuple[str, int]]:
        """Yield each bound and the number of values up to it; the last is `+Inf`."""
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            yield str(bound), total

    @property
    def sum(self) -> float:
        """Sum of the values."""
        return self._sum


class Tally:
    """Counts and histograms of requests. It is never changed while others see it: `plus` makes a new one.

    `accuracies`: accuracy of every subnet of the pool, by name; a switch to a more accurate subnet counts as `up`.
    """

    def __init__(self, accuracies: Mapping[str, float]) -> None:
        self._accuracies = dict(accuracies)
        self.requests: Counter[tuple[str, str]] = Counter()
        """Number of requests by subnet and outcome."""
        self._errors: frozenset[str] = frozenset()
        self.switches = Counter(up=0, down=0)
        self._last: str | None = None
        self.slow_down = 1.0
        self.caps: Caps = NO_CAPS
        self.latency, self.queue, self.ratio = Histogram(SECONDS), Histogram(SECONDS), Histogram(RATIOS)

    def plus(self, records: Iterable[RequestRecord]) -> Self:
        """Return the counts with those of requests that have ended since."""
        other = copy.copy(self)
        other.requests, other.switches = self.requests.copy(), self.switches.copy()
        other.latency, other.queue, other.ratio = self.latency.copy(), self.queue.copy(), self.ratio.copy()
        for record in records:
            other._count(record)
        return other

    def stats(self) -> dict[str, Any]:
        """Return the counts of `Engine.stats`."""
        subnets = dict.fromkeys(self._accuracies, 0)
        counts = {"requests": 0, "failed": 0, "met": 0, "missed": 0}
        for (subnet, outcome), count in self.requests.items():
            if outcome in self._errors:
                counts["failed"] += count
                continue
            counts["requests"] += count
            counts["met"] += count * (outcome == IN_TIME)
            counts["missed"] += count * (outcome == LATE)
            subnets[subnet] += count
        return {**counts, "switches": self.switches.total(), "subnets": subnets}

    def _count(self, record: RequestRecord) -> None:
        self.caps = record.caps
        self.requests[record.subnet or NO_SUBNET, self._outcome(record)] += 1
        self.queue.observe(record.waited_ms / 1e3)
        if record.error is not None:
            return
        if record.subnet is not None:
            self._count_switch(record.subnet)
        if record.slow_down is not None:
            self.slow_down = record.slow_down
        if record.latency_ms is not None:
            self.latency.observe(record.latency_ms / 1e3)
        if record.run_ms is not None and record.predicted_ms:
            self.ratio.observe(record.run_ms / record.predicted_ms)

    def _outcome(self, record: RequestRecord) -> str:
        if record.error is None:
            return record.outcome
        kind = record.error if record.error in self._errors or len(self._errors) < ERROR_KINDS else "other"
        self._errors |= {kind}
        return kind

    def _count_switch(self, subnet: str) -> None:
        if self._last is not None and subnet != self._last:
            up = self._accuracies[subnet] > self._accuracies[self._last]
            self.switches["up" if up else "down"] += 1
        self._last = subnet
