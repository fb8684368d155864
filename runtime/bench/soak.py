"""Runs one subnet for a long time, and watches what that does to the device: temperature, clock, drift."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gearshift.runtime.sensors.sensors import Sensors

POINTS = 120
"""Parts of the time that a point of the curve stands for, at most."""


SHORTEST_POINT_S = 1.0


SETTLED_POINTS = 5
"""Points at each end that are compared."""


@dataclass(frozen=True)
class SoakPoint:
    """A part of the time; None where a sensor is missing."""

    seconds: float
    """Since the start, at its end."""
    median_ms: float
    p95_ms: float
    calls: int
    temperature_c: float | None
    frequency: float | None
    """Share of the highest clock."""
    throttled: bool | None
    others_cpu: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Soak:
    """The whole time."""

    points: tuple[SoakPoint, ...]

    @property
    def drift(self) -> float:
        """How much slower the last points were than the first, as a share."""
        first, last = self.points[:SETTLED_POINTS], self.points[-SETTLED_POINTS:]
        return statistics.median(p.median_ms for p in last) / statistics.median(p.median_ms for p in first) - 1

    @property
    def throttled(self) -> bool | None:
        """Whether the device said at some time that it held its clock down; None where it never says."""
        known = [point.throttled for point in self.points if point.throttled is not None]
        return any(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {
            "drift": self.drift,
            "throttled": self.throttled,
            "points": [point.to_dict() for point in self.points],
        }


def soak(
    call: Callable[[], object],
    seconds: float,
    *,
    sensors: Sensors | None = None,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[float, float], None] = lambda done, planned: None,
) -> Soak:
    """Call again and again for so long; an interruption (Ctrl-C) after the first point ends it early."""
    sensors = sensors or Sensors()
    sensors.read()
    length = max(seconds / POINTS, min(SHORTEST_POINT_S, seconds))
    began, points = clock(), list[SoakPoint]()
    try:
        while clock() - began < seconds:
            points.append(_point(call, began, length, sensors, clock))
            progress(clock() - began, seconds)
    except KeyboardInterrupt:
        if not points:
            raise
    return Soak(tuple(points))


def _point(
    call: Callable[[], object], began: float, length: float, sensors: Sensors, clock: Callable[[], float]
) -> SoakPoint:
    times: list[float] = []
    end = clock() + length
    while not times or clock() < end:
        start = clock()
        call()
        times.append((clock() - start) * 1e3)
    now = sensors.read()
    throttled = now.throttled.value
    return SoakPoint(
        seconds=clock() - began,
        median_ms=statistics.median(times),
        p95_ms=float(np.percentile(times, 95)),
        calls=len(times),
        temperature_c=now.temperature_c.value,
        frequency=now.frequency.value,
        throttled=None if throttled is None else bool(throttled),
        others_cpu=now.others_cpu.value,
    )
