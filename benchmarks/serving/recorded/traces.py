"""Traces from logs of real machines and services, and in the shapes of published studies.

They were fixed before any policy ran on them; no setting is tuned on them. A recording begins at a random place and
goes round. What they hold, and its sources: README.md beside this file.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.recorded.record import BIN_MS, SCALE
from gearshift.device_profiles.latency_table import predict
from gearshift.errors import InputError
from gearshift.runtime.sensors.snapshot import UNKNOWN, Reading, Snapshot
from gearshift.runtime.simulate.traces import FIXED, MIXED, Pace, Scale, Trace

FOLDER = Path(__file__).parent
LEVEL_S = 0.5
"""Seconds over which the slow-down of a recorded machine is a mean, for oracles and for states."""

TOKENS_A_TOKEN = 1 / 32
"""Tokens of a text here for one of a recorded prompt, whose median is 1,000 to 1,500."""

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """Recorded work of a machine: the share of full speed in each bin, when hogs came and went, and its sensors."""

    shares: Shares
    switches: tuple[float, ...]
    senses: NDArray[np.float64]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.shares) * BIN_MS / 1e3

    def busy(self) -> tuple[tuple[float, float], ...]:
        """Return the (start, end) in seconds of the spells in which hogs ran."""
        ends = [*self.switches, self.duration_s]
        return tuple((ends[place], ends[place + 1]) for place in range(0, len(ends) - 1, 2))


@functools.cache
def recording(state: str) -> Recording:
    """Read the recording of a state of the other work."""
    with np.load(FOLDER / "work" / f"{state}.npz") as found:
        return Recording(found["work"] / SCALE, tuple(found["switches"].tolist()), found["senses"].astype(float))


@dataclass(frozen=True)
class Part:
    """Part of a recording, in seconds."""

    state: str
    start_s: float
    end_s: float


def _round(state: str, scale: Scale, rng: np.random.Generator) -> list[Part]:
    """Return a recording from a random place on, and round again until the trace is full."""
    length = recording(state).duration_s
    start, parts, left = float(rng.uniform(0, length)), list[Part](), scale.duration_s
    while left > 0:
        end = min(length, start + left)
        parts.append(Part(state, start, end))
        left, start = left - (end - start), 0.0
    return parts


def _machine(trace: Trace, parts: Sequence[Part]) -> Trace:
    """Let the machine of a trace work as in these parts of recordings, one after another."""
    shares, senses, begins = list[Shares](), list[tuple[float, Snapshot]](), 0.0
    for part in parts:
        its = recording(part.state)
        first, last = (round(edge * 1e3 / BIN_MS) for edge in (part.start_s, part.end_s))
        shares.append(its.shares[first:last])
        for at, others, pressure in its.senses:
            if part.start_s <= at < part.end_s:
                now = begins + at - part.start_s
                senses.append((now, Snapshot(_reading(others), _reading(pressure), UNKNOWN, now)))
        begins += part.end_s - part.start_s
    work = np.concatenate(shares)
    size = round(LEVEL_S * 1e3 / BIN_MS)
    means = [float(work[at : at + size].mean()) for at in range(0, len(work), size)]
    return replace(
        trace,
        edges=tuple(LEVEL_S * number for number in range(len(means))),
        levels=tuple(1 / max(mean, 0.02) for mean in means),
        senses=tuple(senses),
        pace=Pace(work.tolist(), BIN_MS),
    )


def _reading(value: float) -> Reading:
    return UNKNOWN if math.isnan(value) else Reading(value, 0.0)


def _requests(
    name: str,
    scale: Scale,
    rng: np.random.Generator,
    arrivals: Sequence[float],
    lengths: Sequence[int],
    multiples: Sequence[float],
    unit_ms: float | None = None,
) -> Trace:
    """Make the requests; deadlines are multiples of `unit_ms`, by default the largest subnet's time for 64 tokens."""
    unit = predict(scale.table, scale.largest, 64) if unit_ms is None else unit_ms
    deadlines = [float(one) * unit for one in rng.choice(list(multiples), len(arrivals))]
    return Trace(name, scale.duration_s, list(arrivals), list(lengths), deadlines, [1.0] * len(arrivals))


def _lengths(rng: np.random.Generator, count: int, shares: dict[int, float]) -> list[int]:
    return [int(one) for one in rng.choice(list(shares), count, p=list(shares.values()))]


def _poisson(scale: Scale, rng: np.random.Generator, utilisation: float, shares: dict[int, float]) -> list[float]:
    count = rng.poisson(utilisation * 1e3 / scale.cost_ms(shares) * scale.duration_s)
    return [float(one) for one in np.sort(rng.uniform(0, scale.duration_s, count))]


Maker = Callable[[Scale, np.random.Generator], Trace]


def _steady_stream(name: str, state: str, utilisation: float, multiples: Sequence[float]) -> Maker:
    """Poisson arrivals at this utilisation of the largest subnet, on a recorded machine."""

    def make(scale: Scale, rng: np.random.Generator) -> Trace:
        arrivals = _poisson(scale, rng, utilisation, MIXED)
        trace = _requests(name, scale, rng, arrivals, _lengths(rng, len(arrivals), MIXED), multiples)
        return _machine(trace, _round(state, scale, rng))

    return make


def _service(name: str, service: str, state: str, utilisation: float, multiples: Sequence[float]) -> Maker:
    """Recorded arrivals and lengths, shrunk in time to this utilisation (as by Khare et al. 2025), on a recorded
    machine."""

    def make(scale: Scale, rng: np.random.Generator) -> Trace:
        with np.load(FOLDER / "arrivals" / f"azure-{service}.npz") as found:
            times, tokens = found["ms"].astype(float), found["tokens"].astype(float)
        lengths = np.clip(8 * np.rint(tokens * TOKENS_A_TOKEN / 8), 8, 128).astype(int)
        cost = float(np.mean([predict(scale.table, scale.largest, int(one)) for one in lengths]))
        count = min(len(times) - 1, round(utilisation * 1e3 / cost * scale.duration_s))
        first = int(rng.integers(0, len(times) - count))
        part = times[first : first + count] - times[first]
        arrivals = part * (0.999 * scale.duration_s / part[-1])
        trace = _requests(name, scale, rng, arrivals.tolist(), lengths[first : first + count].tolist(), multiples)
        return _machine(trace, _round(state, scale, rng))

    return make


def edge(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace beside both hogs with deadlines that only the fastest subnets of a free machine keep."""
    fastest = min(predict(scale.table, name, 64) for name in scale.table.median_ms)
    arrivals = _poisson(scale, rng, 0.15, FIXED)
    trace = _requests("edge", scale, rng, arrivals, [64] * len(arrivals), (1.5, 3.0), fastest)
    return _machine(trace, _round("both", scale, rng))


def idle_hogs(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace of 10 s of silence, then 20 requests one after another, beside both hogs."""
    unit = predict(scale.table, scale.largest, 64) / 1e3
    starts = [10.0 * number for number in range(1, math.ceil(scale.duration_s / 10))]
    arrivals = [start + 2.5 * unit * number for start in starts for number in range(20)]
    trace = _requests("idle-hogs", scale, rng, arrivals, _lengths(rng, len(arrivals), MIXED), (2.0,))
    return _machine(trace, _round("both", scale, rng))


def phases(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace in the phases of ALERT (Wan et al. 2020): nothing else, work for the processor, work for the memory,
    each for a random time; requests come as from a camera, the next one when it is due."""
    pause = scale.cost_ms(MIXED) / 400
    arrivals = [pause * number for number in range(int(scale.duration_s / pause))]
    trace = _requests("phases", scale, rng, arrivals, _lengths(rng, len(arrivals), MIXED), (1.5,))
    parts, now = list[Part](), 0.0
    while now < scale.duration_s:
        state = str(rng.choice(["free", "processor", "memory"]))
        spells = recording(state).busy() or ((0.0, recording(state).duration_s),)
        start, end = spells[int(rng.integers(len(spells)))]
        took = min(end - start, float(rng.uniform(3, 12)), scale.duration_s - now)
        parts.append(Part(state, start, start + took))
        now += took
    return _machine(trace, parts)


def job(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace in the shape of Dynamic-OFA's (Lou et al. 2021): frames at a fixed pace with one deadline; a job for
    the processor starts after 2.5 s, and stays for half of the time."""
    pause = scale.cost_ms(FIXED) / 500
    arrivals = [pause * number for number in range(int(scale.duration_s / pause))]
    trace = _requests("job", scale, rng, arrivals, [64] * len(arrivals), (1.8,))
    busy = recording("processor").busy()
    parts, now = [Part("free", 0.0, 2.5)], 2.5
    while now < scale.duration_s / 2:
        start, end = busy[int(rng.integers(len(busy)))]
        parts.append(Part("processor", start, end))
        now += end - start
    free = recording("free").duration_s
    while now < scale.duration_s:
        parts.append(Part("free", 0.0, min(free, scale.duration_s - now)))
        now += parts[-1].end_s
    return _machine(trace, parts)


def superserve_bursts(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace in the shape of SuperServe's (Khare et al. 2025): an even base beside gamma arrivals whose gaps
    have a squared coefficient of variation of 8, one deadline."""
    unit = 1e3 / scale.cost_ms(MIXED)
    base = np.arange(0, scale.duration_s, 1 / (0.2 * unit))
    rate, cv2 = 0.3 * unit, 8.0
    more = np.cumsum(rng.gamma(1 / cv2, cv2 / rate, int(rate * scale.duration_s)))
    arrivals = np.sort(np.concatenate([base, more[more < scale.duration_s]])).tolist()
    trace = _requests("superserve-bursts", scale, rng, arrivals, _lengths(rng, len(arrivals), MIXED), (3.0,))
    return _machine(trace, _round("free", scale, rng))


def superserve_ramp(scale: Scale, rng: np.random.Generator) -> Trace:
    """Make a trace in the shape of SuperServe's: from 30 % to 120 % of the largest in a twentieth of the time, and it
    stays there."""
    unit, begin, climb = 1e3 / scale.cost_ms(MIXED), 0.4 * scale.duration_s, scale.duration_s / 20
    times = np.sort(rng.uniform(0, scale.duration_s, rng.poisson(1.2 * unit * scale.duration_s)))
    rates = 0.3 + 0.9 * np.clip((times - begin) / climb, 0, 1)
    arrivals = times[rng.uniform(0, 1.2, len(times)) < rates].tolist()
    trace = _requests("superserve-ramp", scale, rng, arrivals, _lengths(rng, len(arrivals), MIXED), (3.0,))
    return _machine(trace, _round("free", scale, rng))


RECORDED: dict[str, Maker] = {
    "free-machine": _steady_stream("free-machine", "free", 0.6, (1.2, 2.0, 4.0)),
    "processor-hogs": _steady_stream("processor-hogs", "processor", 0.2, (2.0,)),
    "memory-hogs": _steady_stream("memory-hogs", "memory", 0.2, (2.0,)),
    "both-hogs": _steady_stream("both-hogs", "both", 0.2, (2.0,)),
    "busy-processor-hogs": _steady_stream("busy-processor-hogs", "processor", 0.5, (2.0, 4.0)),
    "short-memory-hogs": _steady_stream("short-memory-hogs", "memory", 0.3, (1.2,)),
    "code": _service("code", "code", "free", 0.5, (2.0, 4.0)),
    "chat": _service("chat", "conv", "free", 0.5, (2.0, 4.0)),
    "code-processor-hogs": _service("code-processor-hogs", "code", "processor", 0.3, (3.0,)),
    "chat-memory-hogs": _service("chat-memory-hogs", "conv", "memory", 0.3, (3.0,)),
    "chat-both-hogs": _service("chat-both-hogs", "conv", "both", 0.3, (3.0,)),
    "edge": edge,
    "idle-hogs": idle_hogs,
    "phases": phases,
    "job": job,
    "superserve-bursts": superserve_bursts,
    "superserve-ramp": superserve_ramp,
}
"""Name -> maker; as many as the simulator's own."""


def recorded_trace(name: str, scale: Scale) -> Trace:
    """Make the trace of this name; the same arguments give the same trace."""
    if name not in RECORDED:
        raise InputError(f"unknown recorded trace {name!r}; expected one of {', '.join(RECORDED)}")
    return RECORDED[name](scale, np.random.default_rng([scale.seed, 1000 + list(RECORDED).index(name)]))
