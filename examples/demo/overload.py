"""Overload: more requests than the smallest subnet can serve, the case for the DAN below it."""

from __future__ import annotations

import functools
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from gearshift.runtime import Engine, GearshiftError

LEAST_DEADLINE_MS = 0.001
BURST = 200
"""Number of simultaneous requests by which the capacity of a subnet is measured."""

EXCESS = 1.3


@dataclass(frozen=True)
class Phase:
    """A part of the stream."""

    name: str
    seconds: float
    rate: float
    """Mean number of requests a second."""


@dataclass
class Asked:
    """A labelled request, its arrival in seconds after the start, and its outcome."""

    arrives_s: float
    text: str
    label: str
    phase: str
    sent_late_ms: float = 0.0
    """Time in ms from its arrival to its sending: the sender shares cores and interpreter with the engine."""
    latency_ms: float = float("inf")
    """Time from arrival to answer in ms, waiting included; infinite if the request was dropped or refused."""
    subnet: str = ""
    met: bool = False
    right: bool = False


def capacity(engine: Engine, subnet: str, texts: Sequence[str]) -> float:
    """Measure the requests a second that a subnet answers if they all come at once."""
    engine.pin(subnet)
    began = time.perf_counter()
    for future in [engine.submit(text) for text in itertools.islice(itertools.cycle(texts), BURST)]:
        future.result()
    engine.pin(None)
    return BURST / (time.perf_counter() - began)


def make_surge(engine: Engine, smallest: str, texts: Sequence[str], rate: float) -> tuple[Phase, ...]:
    """Return a quiet stream, then EXCESS times the capacity of the smallest subnet, then a quiet stream again."""
    most = EXCESS * capacity(engine, smallest, texts)
    return Phase("before", 3.0, rate), Phase("overload", 8.0, most), Phase("after", 6.0, rate)


def arrivals(rows: Sequence[tuple[str, str]], phases: Sequence[Phase], *, seed: int) -> Iterator[Asked]:
    """Give Poisson arrivals of texts with labels, phase after phase."""
    draw, now, end = random.Random(seed), 0.0, 0.0
    cycled = itertools.cycle(rows)
    for phase in phases:
        now, end = end, end + phase.seconds
        while (now := now + draw.expovariate(phase.rate)) < end:
            yield Asked(now, *next(cycled), phase.name)


def serve(
    engine: Engine, asked: Sequence[Asked], deadline_ms: float, live: Callable[[Asked], None] = lambda one: None
) -> None:
    """Send every request at its time, independent of earlier ones, and wait for the answers.

    `live` is called with each request as it is sent.
    """
    left = threading.Semaphore(0)
    start = time.perf_counter()
    for one in asked:
        due = start + one.arrives_s
        while (ahead := due - time.perf_counter()) > 0:
            time.sleep(ahead)
        live(one)
        one.sent_late_ms = (time.perf_counter() - due) * 1e3
        left_ms = deadline_ms - one.sent_late_ms
        try:
            future = engine.submit(one.text, deadline_ms=max(left_ms, LEAST_DEADLINE_MS))
        except GearshiftError:  # the queue is full
            left.release()
            continue
        future.add_done_callback(functools.partial(_note, one, due, deadline_ms, left))
    for _ in asked:
        left.acquire()


def _note(one: Asked, due: float, deadline_ms: float, left: threading.Semaphore, done: Future[Any]) -> None:
    if done.exception() is None:
        answer = done.result()
        one.latency_ms = (time.perf_counter() - due) * 1e3
        one.subnet, one.met = answer.subnet, one.latency_ms <= deadline_ms
        one.right = answer.label == one.label
    left.release()


def surge_lines(streams: Mapping[str, Sequence[Asked]], phases: Sequence[Phase]) -> list[str]:
    """Tabulate the outcome of each stream, phase by phase, as shares of all requests of the phase."""
    lines = [f"{'':15}  phase      requests a second  deadlines met  in time and right  by the DAN"]
    for name, asked in streams.items():
        for phase in phases:
            ones = [one for one in asked if one.phase == phase.name]
            flags = ((one.met, one.met and one.right, one.subnet == "dan") for one in ones)
            met, right, by_dan = (100 * sum(column) / len(ones) for column in zip(*flags, strict=True))
            lines.append(
                f"{name:15}  {phase.name:9}  {phase.rate:17.0f}  {met:11.1f} %  {right:15.1f} %  {by_dan:8.1f} %"
            )
    return lines
