"""Time the subnets of a bundle on this machine."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import InputError
from gearshift.runtime.batches import one
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.executors import executors
from gearshift.runtime.inference.self_test import read_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import Call, Encoded, TextEncoder
from gearshift.runtime.profiles.timing import Times, interleave

RUNS = 5
"""Timed runs of each subnet at each length: enough for a median that one disturbance does not move."""


FEWEST_RUNS = 3


BUDGET_S = 2.0
"""Once this time is used, no further round begins after the first FEWEST_RUNS: a start-up has to be short."""


METHOD = (
    "wall clock of one call, batch 1, random token ids, for a DAN words of its self-test; one warm-up call per "
    "subnet and length, then rounds "
    "in which every subnet and length runs once, in a new random order"
)


Inputs = dict[str, NDArray[np.int64]]


def default_lengths(max_length: int) -> tuple[int, ...]:
    """Token counts to measure: 8, 32, 128 and so on, and the longest that the bundle takes.

    Time grows a little faster than linearly, so that lines between points a factor of 4 apart are at most
    a few per cent too high, on the safe side.
    """
    lengths = []
    length = 8
    while length * 2 <= max_length:  # no point close below the longest
        lengths.append(length)
        length *= 4
    return (*lengths, max_length)


def measure_table(
    session: ElasticSession,
    bundle: Bundle,
    *,
    lengths: Sequence[int] | None = None,
    runs: int = RUNS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LatencyTable:
    """Median and 95th percentile in ms of every gear at every length, each run `runs` times.

    Without `lengths` they are `default_lengths`. The rounds stop early, after FEWEST_RUNS at least, once
    BUDGET_S is used. `progress` is called with the rounds done and the rounds planned.
    """
    lengths = _checked_lengths(lengths, bundle)
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < 1:
        raise InputError(f"runs: expected a whole number of at least 1, got {runs!r}")
    gears = executors(bundle, session)
    texts = {length: random_text(bundle, length, seed) for length in lengths}
    calls = {(name, n): partial(run, texts[n], None) for name, run in gears.items() for n in lengths}
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
        median_ms={name: tuple(times[name, length].median_ms for length in lengths) for name in gears},
        p95_ms={name: tuple(times[name, length].p95_ms for length in lengths) for name in gears},
        runs=min(cell.runs for cell in times.values()),
        method=METHOD,
        date=datetime.date.today().isoformat(),
    )


def random_text(bundle: Bundle, length: int, seed: int = 0) -> Encoded:
    """One text of that many random tokens; where there is a DAN, with words of its self-test for it to read."""
    text = "" if bundle.dan is None else sample_text(bundle, TextEncoder(bundle), length)
    return Encoded((Call((0,), random_inputs(bundle, length, seed)),), (length,), (False,), ((text,),), (), one(length))


def random_inputs(bundle: Bundle, length: int, seed: int = 0, *, batch: int = 1) -> Inputs:
    """Texts of that many random tokens each, as arrays int64 (batch, tokens) by name of the graph's input."""
    ids = np.random.default_rng(seed).integers(0, bundle.manifest.space.shape.vocabulary, (batch, length))
    columns = {
        "input_ids": ids.astype(np.int64),
        "attention_mask": np.ones((batch, length), dtype=np.int64),
        "token_type_ids": np.zeros((batch, length), dtype=np.int64),
    }
    return {name: columns[name] for name in bundle.manifest.inputs}


def run_ms(session: ElasticSession, inputs: Inputs, choice: Sequence[int]) -> float:
    """Milliseconds of one call of the graph."""
    began = time.perf_counter_ns()
    session.run(inputs, choice)
    return (time.perf_counter_ns() - began) / 1e6


def _checked_lengths(lengths: Sequence[int] | None, bundle: Bundle) -> tuple[int, ...]:
    longest = bundle.manifest.max_length
    chosen = default_lengths(longest) if lengths is None else tuple(sorted(set(lengths)))
    if not chosen or not all(isinstance(n, int) and 1 <= n <= longest for n in chosen):
        raise InputError(f"lengths: expected numbers of tokens from 1 to {longest}, got {list(lengths or ())}")
    return chosen


def sample_text(bundle: Bundle, encoder: TextEncoder, length: int) -> str:
    """Text of `length` tokens out of the self-test of a bundle's DAN: some of its n-grams are known, as is usual."""
    assert bundle.dan is not None
    texts, _ = read_self_test(bundle.path, bundle.dan)
    words = " ".join(texts.ravel().tolist()).split()
    encoded = encoder.encode([" ".join(words * (1 + length // len(words)))])
    ends = [end for _, end in encoded.encodings[0].offsets[: max(2, length - 1)]]
    return encoded.parts[0][0][: max(ends)]
