"""Metrics of an engine: as a dict, and as the text that Prometheus reads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gearshift.errors import InputError
from gearshift.number_checks import is_whole
from gearshift.runtime.sensors.memory import resident_bytes
from gearshift.runtime.serving.in_flight import Place
from gearshift.runtime.serving.record import RequestRecord
from gearshift.runtime.serving.tally import Histogram, Tally

if TYPE_CHECKING:
    from gearshift.runtime.serving.metrics_server import MetricsServer

MOST_NOTED = 64
"""Number of records that may wait to be counted: right after a graph, whose weights fill the CPU's caches, counting
takes ten times as long."""


def check_port(port: object) -> None:
    """Raise InputError for anything but a port number; 0 means any free port."""
    if not is_whole(port, 0, 65535):
        raise InputError(f"metrics_port: expected a whole number from 0 to 65535, got {port!r}")


class Metrics:
    """Counters and histograms of an engine. Safe to use from several threads; the pool's size bounds the memory.

    Each request is noted when it begins, in one step, and counted some time after its place is free, by what its record
    says then. Counts, and the records that are still to be counted, are replaced together in one step. So each request
    counts exactly once, wherever an exception of a signal handler comes.

    `accuracies`: accuracy of every subnet of the pool, by name; a switch to a more accurate subnet counts as `up`.
    """

    def __init__(self, accuracies: Mapping[str, float]) -> None:
        self._lock = threading.RLock()  # a signal handler may ask while its thread counts
        self._state: tuple[Tally, list[tuple[RequestRecord, Place | None]]] = (Tally(accuracies), [])
        self._server: MetricsServer | None = None

    def serve(self, port: int) -> int:
        """Serve `text` at http://127.0.0.1:port/metrics until `close`; return the port. Port 0 takes any free one.

        Raises InputError for a port that is taken, and for a second call.
        """
        from gearshift.runtime.serving.metrics_server import MetricsServer  # loads http.server, which few devices need

        check_port(port)
        if self._server is not None:
            raise InputError(f"metrics_port: this engine already serves its metrics on port {self._server.port}")
        self._server = MetricsServer(port, self.text)
        self._server.start()
        return self._server.port

    def stop(self) -> None:
        """Tell the server to end, if there is one, without waiting for it."""
        if self._server is not None:
            self._server.stop()

    def close(self, timeout: float | None = None) -> bool:
        """End the server, if there is one; return whether that took at most `timeout` seconds."""
        return self._server is None or self._server.close(timeout)

    def begin(self, record: RequestRecord, place: Place | None) -> None:
        """Take in a request; it counts as soon as its place is free, and at once if it has none."""
        with self._lock:
            self._state[1].append((record, place))

    def count(self) -> None:
        """Count the requests that have ended, if they are many: none of them waits for it."""
        if len(self._state[1]) >= MOST_NOTED:
            self._count()

    def note(self, record: RequestRecord) -> None:
        """Take in a request that has ended."""
        self.begin(record, None)
        self.count()

    def _count(self) -> None:
        with self._lock:
            while True:
                state = self._state
                tally, counted, going = _settled(*state)
                # No call from here on, and so no signal handler: it may have noted requests, or counted them itself.
                if self._state is state:
                    self._state = tally, going + state[1][counted:]
                    return

    @property
    def _tally(self) -> Tally:
        """Counts of this moment. Takes no lock, which a fork of a busy process would find locked for ever."""
        return _settled(*self._state)[0]

    def stats(self) -> dict[str, Any]:
        """Return the counts of `Engine.stats`."""
        return self._tally.stats()

    def text(self) -> str:
        """Return all metrics in Prometheus's text format, exposition format 0.0.4."""
        tally = self._tally
        lines = [
            *_family("requests_total", "counter", "Requests by subnet and how they ended; a list is one."),
            *(
                _sample("gearshift_requests_total", {"subnet": subnet, "outcome": outcome}, count)
                for (subnet, outcome), count in sorted(tally.requests.items())
            ),
            *_family("switches_total", "counter", "Changes of the subnet between two requests."),
            *(_sample("gearshift_switches_total", {"direction": d}, n) for d, n in tally.switches.items()),
            *_family("latency_seconds", "histogram", "From a request's arrival to its answer."),
            *samples("gearshift_latency_seconds", tally.latency),
            *_family("queue_seconds", "histogram", "From a request's arrival to the start of its work."),
            *samples("gearshift_queue_seconds", tally.queue),
            *_family("predicted_ratio", "histogram", "Time of the graph / the time it was to stay under."),
            *samples("gearshift_predicted_ratio", tally.ratio),
            *_family("slow_down", "gauge", "Observed / expected time of the graph; 1 is the unloaded device."),
            _sample("gearshift_slow_down", {}, tally.slow_down),
            *_family("largest_rung", "gauge", "First rung of the ladder that caps allow; 0 is no cap."),
            _sample("gearshift_largest_rung", {}, tally.caps.largest),
            *_family("capped", "gauge", "1 for each reason that caps the subnet now."),
            *(_sample("gearshift_capped", {"reason": reason}, 1) for reason in tally.caps.reasons),
        ]
        resident = resident_bytes()
        if resident is not None:
            lines += _family("resident_bytes", "gauge", "Memory of this process that is in RAM.")
            lines.append(_sample("gearshift_resident_bytes", {}, resident))
        return "\n".join(lines) + "\n"


def _settled(
    tally: Tally, noted: list[tuple[RequestRecord, Place | None]]
) -> tuple[Tally, int, list[tuple[RequestRecord, Place | None]]]:
    """Return the counts with all that have ended, the number of records looked at, and those of them still going."""
    looked_at = noted.copy()
    going = [one for one in looked_at if one[1] is not None and one[1].locked()]
    still = {id(record) for record, _ in going}
    return tally.plus(record for record, _ in looked_at if id(record) not in still), len(looked_at), going


def samples(name: str, histogram: Histogram) -> Iterable[str]:
    """Yield the lines of exposition format 0.0.4, in which buckets are cumulative."""
    for bound, total in histogram.cumulated():
        yield _sample(f"{name}_bucket", {"le": bound}, total)
    yield _sample(f"{name}_sum", {}, histogram.sum)
    yield _sample(f"{name}_count", {}, total)


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP gearshift_{name} {text}", f"# TYPE gearshift_{name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
