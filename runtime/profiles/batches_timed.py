"""Times of calls of several texts on this device: a few subnets, lengths and numbers of texts, in a second or so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from gearshift.device_profiles.batch_times import BatchTimes
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.timing import interleave

TEXTS = (2, 4, 8, 16)

MOST_TOKENS = 256
"""Largest number of tokens of a timed call: beyond it a call takes long, and gains little."""

LONGEST_MS = 100.0
"""Largest time in ms of so many calls of one text for which a call of all of them is timed; one of two always is."""

ROUNDS, FEWEST_ROUNDS = 5, 2
BUDGET_S = 1.0
"""Number of rounds, of which FEWEST_ROUNDS are made even where they take more than these seconds."""


def measure_batches(
    bundle: Bundle, session: ElasticSession, lengths: Sequence[int], *, budget_s: float = BUDGET_S
) -> BatchTimes | None:
    """Measure the largest and the smallest subnet at these lengths; None if all are too long for two in a call, the
    clock is too coarse for them, or the bundle is of images, each of which runs in a call of its own.

    The shortest time of each call counts, and with one thread its time on the CPU: of few calls, one that waited
    would move the median.
    A DAN reads texts one by one: its shares are 1.
    """
    if bundle.manifest.images is not None:
        return None
    pool = sorted(bundle.pool(session.precision).values(), key=lambda entry: entry.macs)
    ends = {entry.name: entry.choice for entry in (pool[-1], pool[0])}
    lengths = [length for length in lengths if TEXTS[0] * length <= MOST_TOKENS]
    if not lengths:
        return None
    clock = time.thread_time_ns if session.threads == 1 else time.perf_counter_ns
    rows: dict[tuple[str, int], tuple[int, ...]] = {}
    for name, choice in ends.items():
        for length in lengths:
            inputs = random_inputs(bundle, length)
            session.run_heads(inputs, choice)
            began_ns = clock()
            session.run_heads(inputs, choice)
            alone_ms = (clock() - began_ns) / 1e6
            fitting = [n for n in TEXTS[1:] if n * length <= MOST_TOKENS and n * alone_ms <= LONGEST_MS]
            rows[name, length] = (TEXTS[0], *fitting)
    calls = {
        (name, length, n): partial(session.run_heads, random_inputs(bundle, length, batch=n), ends[name])
        for (name, length), texts in rows.items()
        for n in (1, *texts)
    }
    began = time.perf_counter()
    raw = interleave(
        calls,
        rounds=ROUNDS,
        warm_up=0,  # the first round is one
        enough=lambda done: done >= FEWEST_ROUNDS and time.perf_counter() - began > budget_s,
        clock=clock,
    )
    ms = {call: min(times) for call, times in raw.items()}
    if not all(ms.values()):
        return None
    shares = {
        name: tuple(
            tuple(ms[name, length, n] / (n * ms[name, length, 1]) for n in rows[name, length]) for length in lengths
        )
        for name in ends
    }
    if bundle.dan is not None:
        shares[bundle.dan.name] = tuple((1.0,) for _ in lengths)
    return BatchTimes(TEXTS, tuple(lengths), shares)
