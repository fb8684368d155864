"""Counters and histograms of an engine: as a dict, and as the text that Prometheus reads."""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gearshift.errors import InputError
from gearshift.number_checks import is_whole
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.sensors.memory import resident_bytes
from gearshift.runtime.serving.record import IN_TIME, LATE, RequestRecord

if TYPE_CHECKING:
    from gearshift.runtime.serving.metrics_server import MetricsServer

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds of the buckets of times: from a small subnet on a fast core to longer than anyone waits."""

RATIOS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
"""Upper bounds of the buckets of observed / predicted time: the share up to 1 is the tail's coverage."""

ERROR_KINDS = 32
"""Number of kinds of errors with a count of their own, so that memory stays bounded; further ones are `other`."""

NO_SUBNET = "none"

MOST_NOTED = 64
"""Number of records that may wait to be counted: right after a graph, whose weights fill the CPU's caches, counting
takes ten times as long."""


def check_port(port: object) -> None:
    """Raise InputError for anything but a port number; 0 means any free port."""
    if not is_whole(port, 0, 65535):
        raise InputError(f"metrics_port: expected a whole number from 0 to 65535, got {port!r}")


class Histogram:
    """Histogram of values: counts by upper bound, total count and sum. Not safe for several threads by itself."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; it belongs to the first bucket whose bound it does not exceed."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, name: str) -> Iterable[str]:
        """Yield the lines of exposition format 0.0.4, in which buckets are cumulative."""
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            yield _sample(f"{name}_bucket", {"le": str(bound)}, total)
        yield _sample(f"{name}_sum", {}, self._sum)
        yield _sample(f"{name}_count", {}, total)


class Metrics:
    """Counters and histograms of an engine. Safe to use from several threads; the pool's size bounds the memory.

    `accuracies`: accuracy of every subnet of the pool, by name; a switch to a more accurate subnet counts as `up`.
    """

    def __init__(self, accuracies: Mapping[str, float]) -> None:
        self._accuracies = dict(accuracies)
        self._lock = threading.Lock()
        self._noted: deque[RequestRecord] = deque()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._errors: set[str] = set()
        self._switches = Counter(up=0, down=0)
        self._last: str | None = None
        self._slow_down = 1.0
        self._caps: Caps = NO_CAPS
        self._server: MetricsServer | None = None
        self._latency, self._queue, self._ratio = Histogram(SECONDS), Histogram(SECONDS), Histogram(RATIOS)

    def serve(self, port: int) -> int:
        """Serve `text` at http://127.0.0.1:port/metrics until `close`; return the port. Port 0 takes any free one.

        Raises InputError for a port that is taken, and for a second call.
        """
        from gearshift.runtime.serving.metrics_server import MetricsServer  # loads http.server, which few devices need

        check_port(port)
        if self._server is not None:
            raise InputError(f"metrics_port: this engine already serves its metrics on port {self._server.port}")
        self._server = MetricsServer(port, self.text)
        return self._server.port

    def close(self) -> None:
        """End the server, if there is one."""
        if self._server is not None:
            self._server.close()

    def note(self, record: RequestRecord) -> None:
        """Take in one request; it is counted later, with others, so that the request itself does not wait for it."""
        self._noted.append(record)
        if len(self._noted) >= MOST_NOTED:
            with self._lock:
                self._count_all()

    def _count_all(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._count(self._noted.popleft())

    def _count(self, record: RequestRecord) -> None:
        self._caps = record.caps
        self._requests[record.subnet or NO_SUBNET, self._outcome(record)] += 1
        self._queue.observe(record.waited_ms / 1e3)
        if record.error is not None:
            return
        if record.subnet is not None:
            self._count_switch(record.subnet)
        if record.slow_down is not None:
            self._slow_down = record.slow_down
        if record.latency_ms is not None:
            self._latency.observe(record.latency_ms / 1e3)
        if record.run_ms is not None and record.predicted_ms:
            self._ratio.observe(record.run_ms / record.predicted_ms)

    def stats(self) -> dict[str, Any]:
        """Return the counts of `Engine.stats`."""
        with self._lock:
            self._count_all()
            subnets = dict.fromkeys(self._accuracies, 0)
            counts = {"requests": 0, "failed": 0, "met": 0, "missed": 0}
            for (subnet, outcome), count in self._requests.items():
                if outcome in self._errors:
                    counts["failed"] += count
                    continue
                counts["requests"] += count
                counts["met"] += count * (outcome == IN_TIME)
                counts["missed"] += count * (outcome == LATE)
                subnets[subnet] += count
            return {**counts, "switches": self._switches.total(), "subnets": subnets}

    def text(self) -> str:
        """Return all metrics in Prometheus's text format, exposition format 0.0.4."""
        with self._lock:
            self._count_all()
            lines = [
                *_family("requests_total", "counter", "Requests by subnet and how they ended; a list is one."),
                *(
                    _sample("gearshift_requests_total", {"subnet": subnet, "outcome": outcome}, count)
                    for (subnet, outcome), count in sorted(self._requests.items())
                ),
                *_family("switches_total", "counter", "Changes of the subnet between two requests."),
                *(_sample("gearshift_switches_total", {"direction": d}, n) for d, n in self._switches.items()),
                *_family("latency_seconds", "histogram", "From a request's arrival to its answer."),
                *self._latency.samples("gearshift_latency_seconds"),
                *_family("queue_seconds", "histogram", "From a request's arrival to the start of its work."),
                *self._queue.samples("gearshift_queue_seconds"),
                *_family("predicted_ratio", "histogram", "Time of the graph / the time it was to stay under."),
                *self._ratio.samples("gearshift_predicted_ratio"),
                *_family("slow_down", "gauge", "Observed / expected time of the graph; 1 is the unloaded device."),
                _sample("gearshift_slow_down", {}, self._slow_down),
                *_family("largest_rung", "gauge", "First rung of the ladder that caps allow; 0 is no cap."),
                _sample("gearshift_largest_rung", {}, self._caps.largest),
                *_family("capped", "gauge", "1 for each reason that caps the subnet now."),
                *(_sample("gearshift_capped", {"reason": reason}, 1) for reason in self._caps.reasons),
            ]
        resident = resident_bytes()
        if resident is not None:
            lines += _family("resident_bytes", "gauge", "Memory of this process that is in RAM.")
            lines.append(_sample("gearshift_resident_bytes", {}, resident))
        return "\n".join(lines) + "\n"

    def _outcome(self, record: RequestRecord) -> str:
        if record.error is None:
            return record.outcome
        kind = record.error if record.error in self._errors or len(self._errors) < ERROR_KINDS else "other"
        self._errors.add(kind)
        return kind

    def _count_switch(self, subnet: str) -> None:
        if self._last is not None and subnet != self._last:
            up = self._accuracies[subnet] > self._accuracies[self._last]
            self._switches["up" if up else "down"] += 1
        self._last = subnet


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP gearshift_{name} {text}", f"# TYPE gearshift_{name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
