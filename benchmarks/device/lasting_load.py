"""Lasting load by one subnet, and its effects on the device: temperature, clock, drift.

    python -m benchmarks.device.lasting_load BUNDLE [--minutes 30] [--subnet ID] [--tokens 128] [--plot load.svg]

An interruption (Ctrl-C) ends it early, and shows the measurements so far.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.device.scenarios import add_case, open_case
from benchmarks.report import markdown
from gearshift.drawing.numbers import milliseconds
from gearshift.drawing.svg import Chart, Series, svg_file
from gearshift.runtime.sensors.sensors import Sensors

POINTS = 120
"""Most points of the curve; each stands for an equal part of the time."""

SHORTEST_POINT_S = 1.0

SETTLED_POINTS = 5
"""Number of points at each end that are compared."""


@dataclass(frozen=True)
class SoakPoint:
    """A part of the time; None if a sensor is missing."""

    seconds: float
    """Time from the start to the end of this part, in seconds."""
    median_ms: float
    p95_ms: float
    calls: int
    temperature_c: float | None
    frequency: float | None
    """Clock as a share of the highest."""
    throttled: bool | None
    others_cpu: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Soak:
    """All points of a lasting load."""

    points: tuple[SoakPoint, ...]

    @property
    def drift(self) -> float:
        """Slow-down of the last points against the first, as a share."""
        first, last = self.points[:SETTLED_POINTS], self.points[-SETTLED_POINTS:]
        return statistics.median(p.median_ms for p in last) / statistics.median(p.median_ms for p in first) - 1

    @property
    def throttled(self) -> bool | None:
        """Whether the device ever reported a reduced clock; None if it has no such sensor."""
        known = [point.throttled for point in self.points if point.throttled is not None]
        return any(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
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
) -> Soak:
    """Call again and again for `seconds`; an interruption (Ctrl-C) after the first point ends it early."""
    sensors = sensors or Sensors()
    sensors.read()
    length = max(seconds / POINTS, min(SHORTEST_POINT_S, seconds))
    began, points = clock(), list[SoakPoint]()
    try:
        while clock() - began < seconds:
            points.append(_point(call, began, length, sensors, clock))
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


def lines_of(found: Soak) -> list[str]:
    """Tabulate the ends of the time, and the difference between them."""
    first, last = found.points[0], found.points[-1]
    heat = [point.temperature_c for point in found.points if point.temperature_c is not None]
    header = ("lasted", "first median ms", "last", "drift", "hottest", "throttled")
    row = (
        f"{last.seconds / 60:.1f} min",
        milliseconds(first.median_ms),
        milliseconds(last.median_ms),
        f"{found.drift:+.1%}",
        f"{max(heat):.0f} C" if heat else "no sensor",
        {None: "no sensor", True: "yes", False: "no"}[found.throttled],
    )
    return markdown(header, [row])


def charts(found: Soak) -> list[Chart]:
    """Draw latency over time, and temperature and clock if the device has sensors for them."""
    minutes = [(point.seconds / 60, point) for point in found.points]
    latency = Chart(
        "Under lasting load",
        "minutes",
        "ms",
        (
            Series("median", tuple((at, point.median_ms) for at, point in minutes), "line", colour=0),
            Series("p95", tuple((at, point.p95_ms) for at, point in minutes), "dashes", colour=1),
        ),
        from_zero=True,
    )
    drawn = [latency]
    for title, label, name, scale in (
        ("Temperature", "degrees C", "temperature_c", 1.0),
        ("Clock", "% of the highest", "frequency", 100.0),
    ):
        known = [(at, getattr(point, name)) for at, point in minutes]
        points = tuple((at, scale * value) for at, value in known if value is not None)
        if points:
            drawn.append(Chart(title, "minutes", label, (Series("", points, "line", colour=2),)))
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the load, print its ends, and plot it if requested."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device.lasting_load", description=__doc__.split("\n", 1)[0]
    )
    add_case(parser)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--plot", type=Path, help="pictures to write, .svg")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with open_case(options) as case:
        found = soak(case.call(), 60 * options.minutes)
    if options.plot is not None:
        options.plot.write_text(svg_file(charts(found)), encoding="utf-8")
    print(json.dumps(found.to_dict()) if options.json else "\n".join(lines_of(found)))


if __name__ == "__main__":
    main()
