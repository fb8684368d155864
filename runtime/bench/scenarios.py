"""Loads as MLPerf Inference defines them, in minutes instead of hours: figures that can be compared.

As in MLPerf's LoadGen (Reddi et al. 2020, "MLPerf Inference Benchmark"): in `single-stream` the next query follows the
last answer, and the 90th percentile of latency counts; in `server` queries arrive as a Poisson process, and the highest
rate counts at which 99 % of them meet the bound; in `offline` all samples are there at once, and samples a second
count. Its least durations and numbers of queries are not kept: these are no MLPerf results.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from gearshift.errors import InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.timing import WARM_UP

SCENARIOS = ("single-stream", "server", "offline")


PERCENTILES = (50, 90, 95, 97, 99, 99.9)


SERVER_PERCENTILE = 99


SEARCH_STEPS = 6
"""Halvings of the range of rates in which a server's is looked for."""


FEWEST_QUERIES = 64
"""Below, a 99th percentile would be the slowest query alone."""


OFFLINE_BATCH = 8


@dataclass(frozen=True)
class ScenarioResult:
    """What one scenario gave."""

    scenario: str
    subnet: str
    precision: str
    threads: int
    tokens: int
    queries: int
    seconds: float
    latency_ms: dict[str, float]
    """Percentile -> milliseconds from a query's arrival to its answer."""
    metric: str
    value: float
    valid: bool
    """Whether the scenario's own condition held."""
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """What is run: one subnet of a session, on texts of one length."""

    bundle: Bundle
    session: ElasticSession
    subnet: str
    tokens: int

    def call(self, batch: int = 1) -> Callable[[], object]:
        """One call on so many texts."""
        choice = self.bundle.entry(self.subnet, self.session.precision).choice
        return partial(self.session.run, random_inputs(self.bundle, self.tokens, batch=batch), choice)

    def result(self, scenario: str, latencies: Sequence[float], seconds: float, **rest: Any) -> ScenarioResult:
        """The result with these latencies in ms."""
        return ScenarioResult(
            scenario=scenario,
            subnet=self.subnet,
            precision=self.session.precision,
            threads=self.session.threads,
            tokens=self.tokens,
            queries=len(latencies),
            seconds=seconds,
            latency_ms={f"p{p:g}": float(np.percentile(latencies, p)) for p in PERCENTILES},
            **rest,
        )


def run_scenario(
    name: str,
    case: Case,
    *,
    seconds: float,
    bound_ms: float | None = None,
    batch: int = OFFLINE_BATCH,
    seed: int = 0,
    progress: Callable[[float, float], None] = lambda done, planned: None,
) -> ScenarioResult:
    """One of SCENARIOS for about so long; `bound_ms` is the server's latency bound, `batch` that of offline.

    Raises InputError for another name, and for a server without a bound.
    """
    if name not in SCENARIOS:
        raise InputError(f"scenario: expected one of {', '.join(SCENARIOS)}, got {name!r}")
    if name == "server" and bound_ms is None:
        raise InputError("scenario server: expected a latency bound; give one with --deadline-ms")
    call = case.call(batch if name == "offline" else 1)
    for _ in range(WARM_UP):
        call()
    if name == "single-stream":
        return _single_stream(case, call, seconds, progress)
    if name == "offline":
        return _offline(case, call, batch, seconds, progress)
    assert bound_ms is not None
    return _server(case, call, seconds, bound_ms, random.Random(seed), progress)


def _single_stream(
    case: Case, call: Callable[[], object], seconds: float, progress: Callable[[float, float], None]
) -> ScenarioResult:
    latencies: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(latencies) < FEWEST_QUERIES:
        start = time.perf_counter()
        call()
        latencies.append((time.perf_counter() - start) * 1e3)
        progress(time.perf_counter() - began, seconds)
    took = time.perf_counter() - began
    return case.result(
        "single-stream",
        latencies,
        took,
        metric="p90 latency, ms",
        value=float(np.percentile(latencies, 90)),
        valid=True,
    )


def _offline(
    case: Case, call: Callable[[], object], batch: int, seconds: float, progress: Callable[[float, float], None]
) -> ScenarioResult:
    ends: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or not ends:
        call()
        ends += [(time.perf_counter() - began) * 1e3] * batch
        progress(time.perf_counter() - began, seconds)
    took = time.perf_counter() - began
    facts = {"batch": batch}
    return case.result("offline", ends, took, metric="samples/s", value=len(ends) / took, valid=True, facts=facts)


def _server(
    case: Case,
    call: Callable[[], object],
    seconds: float,
    bound_ms: float,
    draw: random.Random,
    progress: Callable[[float, float], None],
) -> ScenarioResult:
    """Halve the range of rates below what calls in a row reach; the last rate that was in time is the result."""
    began = time.perf_counter()
    service = _queue(call, 0.0, max(FEWEST_QUERIES, 1), draw)
    service_ms = float(np.median(service))
    low, high = 0.0, 1e3 / service_ms
    best: tuple[float, list[float]] | None = None
    tried: list[dict[str, Any]] = []
    for step in range(SEARCH_STEPS):
        rate = (low + high) / 2
        left = (seconds - (time.perf_counter() - began)) / (SEARCH_STEPS - step)
        latencies = _queue(call, rate, max(FEWEST_QUERIES, int(rate * left)), draw)
        tail = float(np.percentile(latencies, SERVER_PERCENTILE))
        tried.append({"rate": rate, "p99_ms": tail, "queries": len(latencies), "met": tail <= bound_ms})
        if tail <= bound_ms:
            low, best = rate, (rate, latencies)
        else:
            high = rate
        progress(time.perf_counter() - began, seconds)
    rate, latencies = best or (0.0, latencies)
    return case.result(
        "server",
        latencies,
        time.perf_counter() - began,
        metric=f"queries/s with p{SERVER_PERCENTILE} within {bound_ms:g} ms",
        value=rate,
        valid=best is not None,
        facts={"bound_ms": bound_ms, "tried": tried},
    )


def _queue(call: Callable[[], object], rate: float, queries: int, draw: random.Random) -> list[float]:
    """Milliseconds from arrival to answer of queries at a Poisson rate, answered in order; at 0, one after another."""
    latencies = []
    arrival = time.perf_counter()
    for _ in range(queries):
        arrival = time.perf_counter() if rate == 0 else arrival + draw.expovariate(rate)
        wait = arrival - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        call()
        latencies.append((time.perf_counter() - arrival) * 1e3)
    return latencies
