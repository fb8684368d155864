"""Synthetic traces of a machine: arrivals, lengths and deadlines of requests, and the load by other programs.

A trace holds everything random, so that every policy faces the same events. Rates are given as the utilisation that the
largest subnet alone would cause, and deadlines as multiples of its median at 64 tokens, so that one trace fits every
device.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.device_profiles.latency_table import predict
from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import InputError
from gearshift.runtime.sensors.snapshot import UNKNOWN, Reading, Snapshot
from gearshift.runtime.serving import decision_log

NOISE = 0.06
"""Standard deviation of the log time of one run. Below: the share of runs that take much longer without a cause, and
the range of the factor by which they do."""
SPIKES = 0.002
SPIKE_RANGE = (1.5, 3.0)
SENSE_EVERY_S = 0.25
MIXED = {16: 0.5, 32: 0.25, 64: 0.15, 128: 0.1}
FIXED = {64: 1.0}


class Pace:
    """Recorded pace of a machine: the work that it got done in each of equal bins of time, as a share of full speed.

    A run takes the time in which the machine does its work: a long one is interrupted more often than a short one, and
    neighbours in time are slow together. Beyond the record the machine works at full speed.
    """

    def __init__(self, shares: Sequence[float], bin_ms: float) -> None:
        self._bin_ms = bin_ms
        self._done = [0.0, *itertools.accumulate(share * bin_ms for share in shares)]

    def took_ms(self, now: float, cost_ms: float) -> float:
        """Return the ms that work of `cost_ms` at full speed takes from `now` (in s) on."""
        done, bin_ms = self._done, self._bin_ms
        start = now * 1e3 / bin_ms
        place = int(start)
        if place >= len(done) - 1:
            return cost_ms
        aim = done[place] + (start - place) * (done[place + 1] - done[place]) + cost_ms
        if aim > done[-1]:
            return (len(done) - 1 - start) * bin_ms + aim - done[-1]
        end = bisect_left(done, aim, place + 1)
        return (end - (done[end] - aim) / (done[end] - done[end - 1]) - start) * bin_ms


@dataclass(frozen=True)
class Trace:
    """Requests in the order of arrival, and the state of the machine; times in s, deadlines in ms."""

    name: str
    duration_s: float
    arrivals: list[float]
    lengths: list[int]
    deadlines_ms: list[float]
    noises: list[float]
    """Observed / expected time of each request on any subnet, apart from slow-down and first calls."""
    edges: tuple[float, ...] = (0.0,)
    levels: tuple[float, ...] = (1.0,)
    """True slow-down: levels[i] from edges[i] on."""
    cap_edges: tuple[float, ...] = (0.0,)
    caps: tuple[int, ...] = (0,)
    """First rung that may be used, from cap_edges[i] on."""
    senses: tuple[tuple[float, Snapshot], ...] = ()
    """(moment, snapshot) of every reading of the sensors."""
    noise: float = NOISE
    """Standard deviation of the log time of one run."""
    pace: Pace | None = None
    """Recorded pace of the machine, which times of runs follow; `levels` are its means then."""

    def took_ms(self, now: float, cost_ms: float) -> float:
        """Return the ms that a run of `cost_ms` on the free machine takes from `now` on."""
        return cost_ms * self.level(now) if self.pace is None else self.pace.took_ms(now, cost_ms)

    def level(self, now: float) -> float:
        """Return the true slow-down at `now`."""
        return self.levels[max(0, bisect_right(self.edges, now) - 1)]

    def cap(self, now: float) -> int:
        """Return the first rung that may be used at `now`."""
        return self.caps[max(0, bisect_right(self.cap_edges, now) - 1)]


LONGEST_S = 30 * 86_400
"""Longest trace in seconds, a month: every request is simulated."""


@dataclass(frozen=True)
class Scale:
    """Scale of a trace: times of a device's largest subnet, seed and duration. Raises InputError if out of range."""

    table: LatencyTable
    largest: str
    seed: int
    duration_s: float = 120.0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed: expected a whole number of at least 0, got {self.seed}")
        if not 0 < self.duration_s <= LONGEST_S:
            raise InputError(f"seconds: expected a number above 0, up to {LONGEST_S}, got {self.duration_s}")

    def cost_ms(self, lengths: dict[int, float]) -> float:
        """Return the mean ms of the largest subnet over lengths with these shares."""
        return sum(share * predict(self.table, self.largest, length) for length, share in lengths.items())


def _poisson(scale: Scale, rng: np.random.Generator, rate: Callable[[float], float], most: float) -> list[float]:
    """Draw arrivals of a rate (per s) that varies in time and stays below `most`: thinning (Lewis and Shedler 1979)."""
    count = rng.poisson(most * scale.duration_s)
    times = np.sort(rng.uniform(0, scale.duration_s, count))
    kept = rng.uniform(0, most, count)
    return [float(time) for time, height in zip(times, kept, strict=True) if height < rate(float(time))]


def _gamma(scale: Scale, rng: np.random.Generator, rate: float, cv2: float) -> list[float]:
    """Draw arrivals whose gaps have this squared coefficient of variation."""
    count = int(rate * scale.duration_s)
    times = np.cumsum(rng.gamma(1 / cv2, cv2 / rate, count))
    return [float(time) for time in times if time < scale.duration_s]


def _noises(rng: np.random.Generator, count: int) -> list[float]:
    noises: NDArray[np.float64] = np.exp(rng.normal(0, NOISE, count))
    spikes = rng.uniform(size=count) < SPIKES
    noises[spikes] *= rng.uniform(*SPIKE_RANGE, int(spikes.sum()))
    return [float(value) for value in noises]


def _trace(
    name: str,
    scale: Scale,
    rng: np.random.Generator,
    arrivals: list[float],
    *,
    lengths: dict[int, float] = MIXED,
    multiples: Sequence[float] = (1.5,),
    steps: Sequence[tuple[float, float]] = ((0.0, 1.0),),
    shown: float = 1.0,
) -> Trace:
    """Make a trace over arrivals; `steps`: (from s, slow-down); `shown`: share of the load that the sensors see."""
    count = len(arrivals)
    edges, levels = tuple(step[0] for step in steps), tuple(step[1] for step in steps)
    unit = predict(scale.table, scale.largest, 64)
    trace = Trace(
        name,
        scale.duration_s,
        arrivals,
        [int(one) for one in rng.choice(list(lengths), count, p=list(lengths.values()))],
        [float(one) * unit for one in rng.choice(list(multiples), count)],
        _noises(rng, count),
        edges,
        levels,
    )
    return replace(trace, senses=_senses(trace, rng, shown))


def _senses(trace: Trace, rng: np.random.Generator, shown: float) -> tuple[tuple[float, Snapshot], ...]:
    """Make readings of the share of the CPU that others took in the last interval: 1 - 1 / slow-down, and noise."""
    found = []
    pressure = 0.0
    for tick in range(1, int(trace.duration_s / SENSE_EVERY_S)):
        now = tick * SENSE_EVERY_S
        share = shown * float(np.mean([1 - 1 / trace.level(now - part * SENSE_EVERY_S) for part in (0.1, 0.5, 0.9)]))
        pressure += SENSE_EVERY_S / 10 * (share - pressure)
        seen = min(1.0, max(0.0, share + float(rng.normal(0, 0.02))))
        found.append((now, Snapshot(Reading(seen, 0.0), Reading(pressure, 0.0), UNKNOWN, now)))
    return tuple(found)


def _toggled(rng: np.random.Generator, duration_s: float, shortest: float, longest: float) -> list[tuple[float, float]]:
    steps, now, busy = [(0.0, 1.0)], 0.0, False
    while True:
        now += float(rng.uniform(shortest, longest))
        if now >= duration_s:
            return steps
        busy = not busy
        steps.append((now, float(rng.choice([1.5, 2.0, 3.0])) if busy else 1.0))


def steady(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace of evenly spaced requests at 30 % of the largest, of one length, with deadlines near its time."""
    pause = scale.cost_ms(FIXED) / 300
    arrivals = [number * pause for number in range(int(scale.duration_s / pause))]
    return _trace("steady", scale, rng, arrivals, lengths=FIXED, multiples=(1.2,))


def poisson(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace of Poisson arrivals at 60 % of the largest, with mixed lengths and deadlines."""
    rate = 600 / scale.cost_ms(MIXED)
    return _trace("poisson", scale, rng, _poisson(scale, rng, lambda _: rate, rate), multiples=(1.2, 2.0, 4.0))


def _bursts(cv2: int) -> Callable[[Scale, np.random.Generator], Trace]:
    def bursts(scale: Scale, rng: np.random.Generator) -> Trace:
        """Make a trace of gamma arrivals at 40 % of the largest."""
        arrivals = _gamma(scale, rng, 400 / scale.cost_ms(MIXED), cv2)
        return _trace(f"bursts-{cv2}", scale, rng, arrivals, multiples=(2.0, 4.0))

    return bursts


def ramp(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace whose rate climbs from 20 % to 150 % of the largest and falls again."""
    unit, half = 1000 / scale.cost_ms(MIXED), scale.duration_s / 2
    arrivals = _poisson(scale, rng, lambda now: unit * (0.2 + 1.3 * (1 - abs(now - half) / half)), 1.5 * unit)
    return _trace("ramp", scale, rng, arrivals, multiples=(4.0,))


def day(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace shaped as a day of Azure Functions in minutes: a slow swing, hourly timer calls, a few bursts."""
    unit, length = 1000 / scale.cost_ms(MIXED), scale.duration_s
    bursts = rng.uniform(0, length, 6)

    def rate(now: float) -> float:
        swing = 0.35 - 0.25 * math.cos(2 * math.pi * now / length)
        timer = 0.5 if (24 * now / length) % 1 < 0.06 else 0.0
        burst = 0.6 if any(0 <= now - begin < length / 100 for begin in bursts) else 0.0
        return unit * min(1.5, swing + timer + burst)

    return _trace("day", scale, rng, _poisson(scale, rng, rate, 1.5 * unit), multiples=(4.0,))


def contention(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace at 20 % of the largest; another program comes and goes after 1 to 30 s, slow-down 1.5, 2 or 3."""
    rate = 200 / scale.cost_ms(MIXED)
    steps = _toggled(rng, scale.duration_s, 1.0, 30.0)
    return _trace("contention", scale, rng, _poisson(scale, rng, lambda _: rate, rate), multiples=(2.0,), steps=steps)


def memory_contention(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace as `contention`, by a program that takes memory bandwidth, of which the sensors see a fifth."""
    rate = 200 / scale.cost_ms(MIXED)
    steps = _toggled(rng, scale.duration_s, 1.0, 30.0)
    arrivals = _poisson(scale, rng, lambda _: rate, rate)
    return _trace("memory-contention", scale, rng, arrivals, multiples=(2.0,), steps=steps, shown=0.2)


def square(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace whose slow-down swings every second around the point at which the largest just fits."""
    rate = 200 / scale.cost_ms(FIXED)
    steps = [(float(second), 1.25 if second % 2 else 1.6) for second in range(int(scale.duration_s))]
    return _trace("square", scale, rng, _poisson(scale, rng, lambda _: rate, rate), lengths=FIXED, steps=steps)


def idle_burst(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace of 10 s of silence, then 20 requests one after another; the load changes in between."""
    unit = predict(scale.table, scale.largest, 64) / 1e3
    starts = [10.0 * number for number in range(1, int(scale.duration_s / 10))]
    arrivals = [start + 2.5 * unit * number for start in starts for number in range(20)]
    steps = [(0.0, 1.0)] + [(start - 5, float(rng.choice([1.0, 1.0, 1.6, 2.5]))) for start in starts]
    return _trace("idle-burst", scale, rng, arrivals, multiples=(2.0,), steps=steps)


def core_loss(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace that loses one of four cores each 12 s, and regains them."""
    rate = 150 / scale.cost_ms(MIXED)
    cycle = (1.0, 4 / 3, 2.0, 4.0, 2.0, 4 / 3)
    steps = [(12.0 * number, cycle[number % 6]) for number in range(math.ceil(scale.duration_s / 12))]
    return _trace("core-loss", scale, rng, _poisson(scale, rng, lambda _: rate, rate), multiples=(2.0,), steps=steps)


def memory_squeeze(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace whose caps forbid one more rung each tenth of it, up to 4, then fewer; pages cost 10 % meanwhile."""
    rate, tenth = 300 / scale.cost_ms(MIXED), scale.duration_s / 10
    caps = (0, 1, 2, 3, 4, 4, 3, 2, 1, 0)
    steps = [(tenth * number, 1.1 if cap else 1.0) for number, cap in enumerate(caps)]
    trace = _trace("memory-squeeze", scale, rng, _poisson(scale, rng, lambda _: rate, rate), steps=steps)
    return replace(trace, cap_edges=tuple(tenth * number for number in range(10)), caps=caps)


def thermal_soak(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace whose clock falls to 45 % over two thirds of it in small steps, and recovers; no sensor shows it."""
    rate, length = 250 / scale.cost_ms(MIXED), scale.duration_s
    steps = []
    for tick in range(int(length * 2)):
        now = tick / 2
        hot = min(1.0, now / (length * 2 / 3)) if now < length * 5 / 6 else 0.3
        steps.append((now, 1 / (1 - 0.55 * hot)))
    arrivals = _poisson(scale, rng, lambda _: rate, rate)
    return _trace("thermal-soak", scale, rng, arrivals, multiples=(2.0,), steps=steps, shown=0.0)


def sensor_loss(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace as `contention` whose sensors, from a third on, give no value, NaN, or an old value."""
    trace = contention(scale, rng)
    broken = (UNKNOWN, Reading(math.nan, 0.0), Reading(0.9, 60.0))
    third = scale.duration_s / 3
    senses = [
        (now, snapshot if now < third else replace(snapshot, others_cpu=broken[number % 3], cpu_pressure=UNKNOWN))
        for number, (now, snapshot) in enumerate(trace.senses)
    ]
    return replace(trace, name="sensor-loss", senses=tuple(senses))


DEGREES = 3
PERSISTENCE = 0.97
CORRELATED_NOISE = 0.12
"""Degrees of freedom of heavy-tailed noise; for correlated noise, the correlation of the log times of neighbouring
requests, and the standard deviation of all."""


def heavy_tails(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace as `contention` with heavy-tailed noise: the log times follow Student's t with 3 degrees of freedom,
    so that one request in 300 takes half as long again, and some take several times as long."""
    trace = replace(contention(scale, rng), name="heavy-tails")
    noises = np.exp(NOISE * rng.standard_t(DEGREES, len(trace.arrivals)))
    return replace(trace, noises=[float(one) for one in noises])


def correlated(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace as `contention` whose noise is correlated from request to request, an autoregressive process."""
    trace = replace(contention(scale, rng), name="correlated", noise=CORRELATED_NOISE)
    steps = rng.normal(0, CORRELATED_NOISE * math.sqrt(1 - PERSISTENCE**2), len(trace.arrivals))
    logs = itertools.accumulate(steps, lambda before, step: PERSISTENCE * before + step)
    return replace(trace, noises=[math.exp(one) for one in logs])


TRACES: dict[str, Callable[[Scale, np.random.Generator], Trace]] = {
    "steady": steady,
    "poisson": poisson,
    **{f"bursts-{cv2}": _bursts(cv2) for cv2 in (2, 4, 8)},
    "ramp": ramp,
    "day": day,
    "contention": contention,
    "memory-contention": memory_contention,
    "square": square,
    "idle-burst": idle_burst,
    "core-loss": core_loss,
    "memory-squeeze": memory_squeeze,
    "thermal-soak": thermal_soak,
    "sensor-loss": sensor_loss,
    "heavy-tails": heavy_tails,
    "correlated": correlated,
}


def make_trace(name: str, scale: Scale) -> Trace:
    """Make the trace of this name; the same arguments give the same trace. Raise InputError if it has no request."""
    if name not in TRACES:
        raise InputError(f"unknown trace {name!r}; expected a decision log or one of {', '.join(TRACES)}")
    trace = TRACES[name](scale, np.random.default_rng([scale.seed, list(TRACES).index(name)]))
    if not trace.arrivals:
        raise InputError(f"trace {name}: no request comes within {scale.duration_s:g} seconds; make it longer")
    return trace


def read_log(path: Path) -> Trace:
    """Make a trace of the requests of a decision log that had deadlines and were answered, single texts only.

    Observed / expected time becomes the noise of each request. Raises DataError, which names the line, and InputError
    if there is no such request.
    """
    rows = []
    for run in decision_log.read_log(path):
        for record in run.records:
            if record.deadline_ms is None or len(record.tokens) != 1 or record.latency_ms is None or not record.ratio:
                continue
            arrival = record.time - record.latency_ms / 1e3
            rows.append((arrival, record.tokens[0], record.deadline_ms, record.ratio))
    if not rows:
        raise InputError(f"{path}: expected requests with deadlines, found none")
    rows.sort()
    arrivals = [row[0] - rows[0][0] for row in rows]
    columns = [list(column) for column in zip(*(row[1:] for row in rows), strict=True)]
    return Trace(path.name, arrivals[-1] + 1.0, arrivals, *columns)  # type: ignore[arg-type]
