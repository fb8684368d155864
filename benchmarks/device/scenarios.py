"""Loads as MLPerf Inference defines them, in minutes instead of hours: one subnet under one load.

    python -m benchmarks.device.scenarios BUNDLE --scenario server --bound-ms 50 [--seconds 60] [--subnet ID]

Scenarios follow MLPerf's LoadGen (Reddi et al. 2020, "MLPerf Inference Benchmark").
`single-stream`: the next query follows the last answer; the result is the 90th percentile of latency.
`server`: queries arrive as a Poisson process; the result is the highest rate at which 99 % of them meet the bound.
`offline`: all samples are there at once; the result is samples a second.
MLPerf's least durations and numbers of queries are not kept: these are no MLPerf results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import markdown
from gearshift.drawing.numbers import milliseconds
from gearshift.errors import InputError, UnknownSubnetError
from gearshift.runtime.bench.plan import threads_text
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.timing import WARM_UP, pinned
from gearshift.runtime.startup import default_threads

SCENARIOS = ("single-stream", "server", "offline")
PERCENTILES = (50, 90, 95, 97, 99, 99.9)
SERVER_PERCENTILE = 99
SEARCH_STEPS = 6
"""Number of halvings of the range of rates in the search for a server's rate."""

FEWEST_QUERIES = 64
"""Least number of queries: with fewer, a 99th percentile would be the slowest query alone."""

OFFLINE_BATCH = 8


@dataclass(frozen=True)
class ScenarioResult:
    """Result of one scenario."""

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
        """Return plain values by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """A subnet of a session, on texts of one length."""

    bundle: Bundle
    session: ElasticSession
    subnet: str
    tokens: int

    def call(self, batch: int = 1) -> Callable[[], object]:
        """Return a function that makes one call on `batch` texts."""
        choice = self.bundle.entry(self.subnet, self.session.precision).choice
        return partial(self.session.run, random_inputs(self.bundle, self.tokens, batch=batch), choice)

    def result(self, scenario: str, latencies: Sequence[float], seconds: float, **rest: Any) -> ScenarioResult:
        """Return the result with these latencies in ms."""
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
) -> ScenarioResult:
    """Run one of SCENARIOS for about `seconds`; `bound_ms` is the server's latency bound, `batch` that of offline.

    Raises InputError for another name, and for a server without a bound.
    """
    if name not in SCENARIOS:
        raise InputError(f"scenario: expected one of {', '.join(SCENARIOS)}, got {name!r}")
    if name == "server" and bound_ms is None:
        raise InputError("scenario server: expected a latency bound; give one with --bound-ms")
    call = case.call(batch if name == "offline" else 1)
    for _ in range(WARM_UP):
        call()
    if name == "single-stream":
        return _single_stream(case, call, seconds)
    if name == "offline":
        return _offline(case, call, batch, seconds)
    assert bound_ms is not None
    return _server(case, call, seconds, bound_ms, random.Random(seed))


def _single_stream(case: Case, call: Callable[[], object], seconds: float) -> ScenarioResult:
    latencies: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(latencies) < FEWEST_QUERIES:
        start = time.perf_counter()
        call()
        latencies.append((time.perf_counter() - start) * 1e3)
    took = time.perf_counter() - began
    return case.result(
        "single-stream",
        latencies,
        took,
        metric="p90 latency, ms",
        value=float(np.percentile(latencies, 90)),
        valid=True,
    )


def _offline(case: Case, call: Callable[[], object], batch: int, seconds: float) -> ScenarioResult:
    ends: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or not ends:
        call()
        ends += [(time.perf_counter() - began) * 1e3] * batch
    took = time.perf_counter() - began
    facts = {"batch": batch}
    return case.result("offline", ends, took, metric="samples/s", value=len(ends) / took, valid=True, facts=facts)


def _server(
    case: Case, call: Callable[[], object], seconds: float, bound_ms: float, draw: random.Random
) -> ScenarioResult:
    """Find by halving the highest rate in time, below the rate that calls in a row reach."""
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
    """Time queries at a Poisson rate, from arrival to answer in ms; at 0, one after another."""
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


def add_case(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for bundle, subnet, length and conditions."""
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--subnet", help="(default: the largest)")
    parser.add_argument("--precision", help="(default: the last of the bundle)")
    parser.add_argument("--threads", type=int, default=default_threads(), help="(default: %(default)s)")
    parser.add_argument(
        "--tokens", type=int, default=64, help="length of a text (default: %(default)s, or the bundle's limit)"
    )


@contextlib.contextmanager
def open_case(options: argparse.Namespace) -> Iterator[Case]:
    """Open the requested case, on as many CPUs as threads; raises UnknownSubnetError."""
    bundle = open_bundle(options.bundle)
    precision = options.precision or bundle.precisions[-1]
    pool = bundle.pool(precision)
    subnet = options.subnet or max(pool.values(), key=lambda entry: entry.macs).name
    if subnet not in pool:
        raise UnknownSubnetError(f"unknown subnet {subnet!r}; the graph of this bundle has {', '.join(pool)}")
    tokens = min(options.tokens, bundle.manifest.max_length)
    threads = options.threads
    with pinned(threads), contextlib.closing(ElasticSession(bundle, precision, threads=threads)) as session:
        yield Case(bundle, session, subnet, tokens)


def lines_of(result: ScenarioResult) -> list[str]:
    """Tabulate the result of a scenario."""
    header = (result.metric, "valid", "queries", *result.latency_ms)
    row = (
        f"{result.value:.4g}",
        "yes" if result.valid else "no",
        str(result.queries),
        *map(milliseconds, result.latency_ms.values()),
    )
    return [
        f"{result.scenario}: {result.subnet}, {result.precision}, {result.tokens} tokens, "
        f"{threads_text(result.threads)}",
        "",
        *markdown(header, [row]),
        "",
        f"As MLPerf's, for {result.seconds:.0f} s: no MLPerf result; percentiles of latency in ms.",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one scenario and print its result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device.scenarios", description=__doc__.split("\n", 1)[0]
    )
    add_case(parser)
    parser.add_argument("--scenario", choices=SCENARIOS, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--bound-ms", type=float, help="latency bound of a server")
    parser.add_argument("--batch", type=int, default=OFFLINE_BATCH, help="samples of a call, offline")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with open_case(options) as case:
        result = run_scenario(
            options.scenario, case, seconds=options.seconds, bound_ms=options.bound_ms, batch=options.batch
        )
    print(json.dumps(result.to_dict()) if options.json else "\n".join(lines_of(result)))


if __name__ == "__main__":
    main()
