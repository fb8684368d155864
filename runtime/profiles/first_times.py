"""Quick latency table: times the executors of a bundle on this machine while an engine loads."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from functools import partial

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import InputError
from gearshift.number_checks import is_whole
from gearshift.runtime.inference.opened import Inputs, Opened, checked_lengths
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.batches_timed import measure_batches
from gearshift.runtime.profiles.timing import Times, interleave

RUNS = 5
"""Number of timed runs of each subnet at each length: enough for a median that one disturbance does not move."""

FEWEST_RUNS = 3
BUDGET_S = 2.0
"""Seconds after which no further round begins, once FEWEST_RUNS are done: a start-up has to be short."""

METHOD = (
    "wall clock of one call, batch 1, random token ids, for a DAN words of its self-test; one warm-up call per "
    "subnet and length, then rounds "
    "in which every subnet and length runs once, in a new random order"
)


def default_lengths(max_length: int) -> tuple[int, ...]:
    """Return the lengths in tokens to measure: 8, 32, 128 and so on, and the longest that the bundle accepts.

    Time grows a little faster than linearly, so that straight lines between lengths a factor of 4 apart are at most a
    few per cent too high, on the safe side.
    """
    lengths = []
    length = 8
    while length * 2 <= max_length:  # no length close below the longest
        lengths.append(length)
        length *= 4
    return (*lengths, max_length)


def measure_table(
    opened: Opened,
    *,
    lengths: Sequence[int] | None = None,
    runs: int = RUNS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LatencyTable:
    """Measure median and 95th percentile in ms of every subnet at every length, each run `runs` times.

    `lengths`: in tokens; by default `default_lengths`. The rounds stop early, but not before FEWEST_RUNS, once BUDGET_S
    is used. `progress`: called with the rounds done and the rounds planned.
    """
    bundle, session, executors = opened.bundle, opened.session, opened.executors
    lengths = checked_lengths(default_lengths(bundle.manifest.max_length) if lengths is None else lengths, bundle)
    if not is_whole(runs, 1):
        raise InputError(f"runs: expected a whole number of at least 1, got {runs!r}")
    texts = {length: opened.random_text(length, seed) for length in lengths}
    calls = {(name, n): partial(run, texts[n], None) for name, run in executors.items() for n in lengths}
    began = time.perf_counter()
    raw = interleave(
        calls,
        rounds=runs,
        warm_up=1,
        seed=seed,
        enough=lambda done: done >= FEWEST_RUNS and time.perf_counter() - began > BUDGET_S,
        progress=progress,
    )
    times = {cell: Times.of(values) for cell, values in raw.items()}
    return LatencyTable(
        bundle_hash=bundle.hash,
        precision=session.precision,
        provider=session.provider,
        threads=session.threads,
        lengths=lengths,
        median_ms={name: tuple(times[name, length].median_ms for length in lengths) for name in executors},
        p95_ms={name: tuple(times[name, length].p95_ms for length in lengths) for name in executors},
        runs=min(cell.runs for cell in times.values()),
        method=METHOD,
        date=datetime.date.today().isoformat(),
        batches=measure_batches(bundle, session, lengths),
    )


def run_ms(session: ElasticSession, inputs: Inputs, choice: Sequence[int]) -> float:
    """Measure the milliseconds of one call of the graph."""
    began = time.perf_counter_ns()
    session.run_heads(inputs, choice)
    return (time.perf_counter_ns() - began) / 1e6
