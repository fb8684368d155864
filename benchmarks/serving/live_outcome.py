"""Outcome of streams that really ran under several policies: shares right and in time, with intervals, by state."""

from __future__ import annotations

import collections
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.serving.live_stream import DROPPED, Served

DRAWS, SEED = 2_000, 0
STATIC = "static "
"""Beginning of the name of a policy that uses one subnet throughout."""

Interval = tuple[float, float, float]
"""A value, and the ends of its 95 % interval."""


@dataclass(frozen=True)
class Row:
    """Outcome of a stream under one policy; shares are of all requests."""

    policy: str
    requests: int
    met: float
    score: float
    """Mean score of the answers, late or not; a dropped request counts 0."""
    goodput: dict[str, Interval]
    """State of the other work, or `""` for all -> mean score of the answers to the requests that arrived in it, late
    and dropped ones counting 0."""
    met_in: dict[str, float]
    """State -> share of deadlines met."""
    dropped: float
    p50_ms: float
    """Median latency in ms of answered requests; `p99_ms` likewise."""
    p99_ms: float
    switches_per_minute: float
    ahead: dict[str, Interval]
    """State, or `""` for all -> the engine's goodput less this one's."""


def row(policy: str, served: Sequence[Served], ours: Sequence[Served], seconds: float) -> Row:
    """Summarise the outcome of a stream, beside that of the engine."""
    answered = [one for one in served if one.subnet != DROPPED]
    latencies = [one.latency_ms for one in answered]
    states = ("", *dict.fromkeys(one.state for one in served))
    in_state = {state: [one.met for one in served if one.state == state] for state in states[1:]}
    return Row(
        policy=policy,
        requests=len(served),
        met=statistics.mean(one.met for one in served),
        score=statistics.mean(one.score for one in served),
        goodput={state: goodput(served, state) for state in states},
        met_in={state: statistics.mean(met) for state, met in in_state.items()},
        dropped=1 - len(answered) / len(served),
        p50_ms=float(np.percentile(latencies, 50)),
        p99_ms=float(np.percentile(latencies, 99)),
        switches_per_minute=60 * sum(a.subnet != b.subnet for a, b in itertools.pairwise(answered)) / seconds,
        ahead={state: ahead(ours, served, state) for state in states},
    )


def goodput(served: Sequence[Served], state: str = "") -> Interval:
    """Return the mean score, late answers counting 0, of the requests that arrived in a state, or of all."""
    return _difference(_sums(served, state), None)


def ahead(ours: Sequence[Served], theirs: Sequence[Served], state: str = "") -> Interval:
    """Return the difference of two policies' goodput over the requests that arrived in a state, or all."""
    return _difference(_sums(ours, state), _sums(theirs, state))


def best_fixed(rows: Sequence[Row]) -> dict[str, Row]:
    """Return by state, and for all under `""`, the policy of one subnet that did best in it, in hindsight; empty
    without any."""
    fixed = [one for one in rows if one.policy.startswith(STATIC)]
    return {state: max(fixed, key=lambda one: one.goodput[state][0]) for state in (fixed[0].goodput if fixed else ())}


def _sums(served: Sequence[Served], state: str) -> Mapping[float, tuple[float, int]]:
    """Return by slice what the requests of a state gave, and their number."""
    gains: dict[float, list[float]] = collections.defaultdict(list)
    for one in served:
        if not state or one.state == state:
            gains[one.slice_s].append(one.gain)
    return {start: (sum(those), len(those)) for start, those in gains.items()}


def _difference(ours: Mapping[float, tuple[float, int]], theirs: Mapping[float, tuple[float, int]] | None) -> Interval:
    """Return what one gave a request more than the other, or in all, with its interval.

    Slices are drawn again, the same for both (the paired bootstrap; Efron 1979), since requests of one slice meet the
    same machine and are no draws of their own.
    """
    table = np.array(
        [(gained - (theirs[start][0] if theirs else 0.0), count) for start, (gained, count) in sorted(ours.items())]
    )
    drawn = table[np.random.default_rng(SEED).integers(len(table), size=(DRAWS, len(table)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], (2.5, 97.5))
    gained, count = table.sum(axis=0)
    return float(gained / count), float(low), float(high)
