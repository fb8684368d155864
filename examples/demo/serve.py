"""Serve a stream of labelled requests under a load that comes and goes, and count the outcomes."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from examples.demo.commands import Utterance
from examples.demo.load import Burners, Schedule
from gearshift.runtime import Engine

DEADLINE_FACTOR = 2.0
"""Deadline / median time of the largest subnet on the unloaded machine, where the largest keeps it with room to
spare."""

UTILISATION = 0.5
"""Share of the time that the largest subnet would be busy with the stream on the unloaded machine."""

BURNERS_PER_CPU = 1
"""Busy processes per CPU while the load is on: every CPU then has other work for each slice of its time."""

LOAD = Schedule(off_s=3.0, on_s=5.0)
LEAST_DEADLINE_MS = 0.001
"""Deadline in ms of a request whose own one passed while it waited: the engine then takes the fastest subnet."""


@dataclass(frozen=True)
class Plan:
    """Plan of a stream, derived from the unloaded medians before anything is served."""

    largest_ms: float
    """Median time in ms from text to answer of the largest subnet, unloaded."""
    smallest_ms: float
    deadline_ms: float
    rate: float
    """Requests a second, evenly spaced."""
    burners: int
    """Number of busy processes while the load is on."""
    seconds: float
    load: Schedule


@dataclass(frozen=True)
class Served:
    """A request and its outcome."""

    arrived_s: float
    """Arrival in seconds after the start of the stream."""
    latency_ms: float
    """Time from arrival to answer in ms, waiting included."""
    subnet: str
    met: bool
    right: bool
    loaded: bool
    slow_down: float


@dataclass(frozen=True)
class Summary:
    """Outcome of a served stream; shares are from 0 to 1, of all requests unless stated otherwise."""

    requests: int
    deadlines_met: float
    deadlines_met_under_load: float | None
    """Share of deadlines met among requests that arrived while the load was on; None if none did."""
    accuracy: float
    """Share of right answers, late ones included."""
    goodput_accuracy: float
    """Share of answers that are right and in time."""
    p50_ms: float
    p95_ms: float
    switches: int
    """Number of changes of the subnet between two consecutive requests."""


def make_plan(engine: Engine, requests: Sequence[Utterance], *, seconds: float, cpus: int) -> Plan:
    """Derive deadline, rate and load from the unloaded medians of the largest and the smallest subnet.

    deadline = DEADLINE_FACTOR x largest; rate = UTILISATION / largest; burners = BURNERS_PER_CPU x CPUs.
    """
    largest, smallest = (_median_ms(engine, name, requests) for name in ends(engine))
    return Plan(
        largest_ms=largest,
        smallest_ms=smallest,
        deadline_ms=DEADLINE_FACTOR * largest,
        rate=UTILISATION / largest * 1e3,
        burners=BURNERS_PER_CPU * cpus,
        seconds=seconds,
        load=LOAD,
    )


def ends(engine: Engine) -> tuple[str, str]:
    """Return the largest and the smallest subnet of the graph."""
    ordered = sorted(engine.bundle.pool(engine.precision).values(), key=lambda entry: entry.macs)
    return ordered[-1].name, ordered[0].name


def _median_ms(engine: Engine, subnet: str, requests: Sequence[Utterance], *, runs: int = 200) -> float:
    engine.pin(subnet)
    times: list[float] = [engine.run(requests[index % len(requests)].text).latency_ms for index in range(runs)]
    engine.pin(None)
    return statistics.median(times[runs // 10 :])  # the first ones warm up


def serve(
    engine: Engine, requests: Sequence[Utterance], plan: Plan, *, pin: str | None, live: Callable[[Served], None]
) -> list[Served]:
    """Serve the stream once, with one subnet pinned or with the engine choosing.

    Requests arrive on a clock of their own, whether or not the previous one is answered: a waiting request has less of
    its deadline left. Deadlines count from arrival.
    """
    engine.pin(pin)
    served = []
    with Burners(plan.burners) as burners:
        start = time.perf_counter()
        for arrived_s, request in _arrivals(requests, plan):
            while (ahead := arrived_s - (time.perf_counter() - start)) > 0:
                burners.switch(on=plan.load.on_at(time.perf_counter() - start))
                time.sleep(min(ahead, 0.02))
            burners.switch(on=plan.load.on_at(time.perf_counter() - start))
            waited_ms = (time.perf_counter() - start - arrived_s) * 1e3
            answer = engine.run(request.text, deadline_ms=max(plan.deadline_ms - waited_ms, LEAST_DEADLINE_MS))
            latency_ms = (time.perf_counter() - start - arrived_s) * 1e3
            one = Served(
                arrived_s=arrived_s,
                latency_ms=latency_ms,
                subnet=answer.subnet,
                met=latency_ms <= plan.deadline_ms,
                right=answer.label == request.intent,
                loaded=plan.load.on_at(arrived_s),
                slow_down=engine.slow_down,
            )
            served.append(one)
            live(one)
    engine.pin(None)
    return served


def _arrivals(requests: Sequence[Utterance], plan: Plan) -> Iterator[tuple[float, Utterance]]:
    for index in range(int(plan.seconds * plan.rate)):
        yield index / plan.rate, requests[index % len(requests)]


def summary(served: Sequence[Served]) -> Summary:
    """Summarise a stream of at least one request."""
    latencies = sorted(one.latency_ms for one in served)
    return Summary(
        requests=len(served),
        deadlines_met=sum(one.met for one in served) / len(served),
        deadlines_met_under_load=_share([one.met for one in served if one.loaded]),
        accuracy=sum(one.right for one in served) / len(served),
        goodput_accuracy=sum(one.right and one.met for one in served) / len(served),
        p50_ms=latencies[len(latencies) // 2],
        p95_ms=latencies[int(len(latencies) * 0.95)],
        switches=sum(a.subnet != b.subnet for a, b in itertools.pairwise(served)),
    )


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
