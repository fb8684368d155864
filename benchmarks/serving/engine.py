"""The engine against other policies for choosing a subnet, on this machine, while other work comes and goes.

    python -m benchmarks.serving.engine BUNDLE --rows FILE [--seconds 300] [--slice 30] [--every-size] [--seed 0]

Labelled rows are sent as requests: Poisson arrivals that would keep the largest subnet busy for half of the time on the
free machine, each with a deadline of twice the largest subnet's median from text to answer.
Processor hogs and memory hogs, one per CPU, are switched on and off at random times of 1 to 30 seconds.
The stream is cut into slices; every policy serves a slice, in random order, before any serves the next one, so that all
meet the same machine. A policy keeps its state from slice to slice.
Ours is `Engine.submit`; the others pin the subnet of another engine over the same bundle, one request after another, so
that neither learns from the other's turns. They know the time of a request besides the graph.
Under all policies a request whose deadline passed while it waited is dropped.
"""

from __future__ import annotations

import argparse
import collections
import functools
import itertools
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from tqdm import tqdm

from benchmarks.device.contention import STATES, Hogs, Spell, random_spells, state_at
from benchmarks.report import RESULTS, save
from benchmarks.serving.live_policies import Rival, ladder_of, rivals
from benchmarks.serving.policies import OURS
from gearshift.cpus import available_cpus
from gearshift.runtime import AnswerFuture, Classification, DeadlinePassedError, Engine
from gearshift.runtime.sensors.sensors import Sensors

matplotlib.use("Agg")  # a file, no window


UTILISATION = 0.5
DEADLINE_FACTOR = 2.0
SENSE_EVERY_S = 0.5
DROPPED = ""
"""Name in place of the subnet, for a request whose deadline passed while it waited."""


@dataclass(frozen=True)
class Request:
    """A labelled text and its arrival, in seconds after the start of the stream."""

    arrives_s: float
    text: str
    label: str
    tokens: int


@dataclass(frozen=True)
class Served:
    """A request and its outcome."""

    arrives_s: float
    latency_ms: float
    """Time from arrival to answer in ms, waiting included; infinite if it was dropped."""
    subnet: str
    met: bool
    right: bool
    state: str


@dataclass(frozen=True)
class Row:
    """Outcome of a stream under one policy; shares are of all requests."""

    policy: str
    requests: int
    met: float
    right: float
    goodput: float
    """Share of answers that are right and in time."""
    goodput_of: dict[str, float]
    """State of the other work -> goodput of the requests that arrived in it."""
    dropped: float
    p50_ms: float
    """Median latency in ms of answered requests; `p99_ms` likewise."""
    p99_ms: float
    switches_per_minute: float


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.engine", description=__doc__.split("\n", 1)[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", type=Path, required=True, help="TSV with the columns sentence and label")
    parser.add_argument("--seconds", type=float, default=300, help="length of the stream, for each policy")
    parser.add_argument("--slice", type=float, default=30, help="seconds that a policy serves at a stretch")
    parser.add_argument("--precision", default="auto", help="fp32, int8, or the faster one")
    parser.add_argument("--target", type=float, default=0.99, help="target share of deadlines met of all policies")
    parser.add_argument(
        "--every-size", action="store_true", help="pin every subnet of the ladder, not only the ends and the middle"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    labelled = read_rows(options.rows)
    spells = random_spells(options.seconds, seed=options.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine.load(options.bundle, target=options.target, precision=options.precision) as engine,
    ):
        profile = Path(folder) / "profile.json"
        engine.save_profile(profile)  # all policies use the same latency table
        pinned = Engine.load(
            options.bundle, sensors=False, precision=engine.precision, threads=engine.threads, profile=profile
        )
        largest_ms = median_ms(engine, max(engine.pool.values(), key=lambda entry: entry.macs).name, labelled)
        deadline_ms = DEADLINE_FACTOR * largest_ms
        rows = [(text, label, engine.run(text).tokens) for text, label in labelled]
        requests = arrivals(rows, options.seconds, UTILISATION / largest_ms * 1e3, options.seed)
        with pinned:
            around_ms = median_around_ms(pinned, labelled)
            served = serve_all(
                {OURS: engine, **rivals(pinned, around_ms, every_size=options.every_size)},
                requests,
                spells,
                deadline_ms,
                options,
            )
        facts = {"precision": engine.precision, "threads": engine.threads, "bundle": options.bundle.name}
    results = [row(name, ones, options.seconds) for name, ones in served.items()]
    results.sort(key=lambda one: -one.goodput)
    name = f"engine-{options.bundle.name.removesuffix('.gearshift')}"
    command = (
        f"python -m benchmarks.serving.engine {options.bundle.name} --rows {options.rows.name} "
        f"--seconds {options.seconds:g} --precision {options.precision}{' --every-size' if options.every_size else ''}"
    )
    facts |= {
        "command": command,
        "deadline_ms": deadline_ms,
        "largest_ms": largest_ms,
        "around_ms": around_ms,
        "requests": len(requests),
        "seconds": options.seconds,
    }
    facts |= {"spells": [asdict(spell) for spell in spells], "rows": [asdict(one) for one in results]}
    save(name, facts, table(results, deadline_ms, options.seconds))
    plot(RESULTS / f"{name}.png", served, spells, deadline_ms, options.seconds)


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Return text and label of each row."""
    if not path.exists():
        sys.exit(f"{path}: expected labelled rows as TSV; name a file with the columns sentence and label")
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    names = header.split("\t")
    columns = names.index("sentence"), names.index("label")
    return [(cells[columns[0]], cells[columns[1]]) for cells in (line.split("\t") for line in lines)]


def median_ms(engine: Engine, subnet: str, rows: Sequence[tuple[str, str]]) -> float:
    """Measure the median ms from text to answer on the free machine."""
    engine.pin(subnet)
    times: list[float] = [engine.run(text).latency_ms for text, _ in itertools.islice(itertools.cycle(rows), 300)]
    engine.pin(None)
    return statistics.median(times[30:])


def median_around_ms(engine: Engine, rows: Sequence[tuple[str, str]]) -> float:
    """Measure the ms of a request besides the graph, mostly tokenizing, on the free machine."""
    ladder, name = ladder_of(engine), engine.ladder[-1]
    engine.pin(name)
    answers = [engine.run(text) for text, _ in itertools.islice(itertools.cycle(rows), 300)]
    engine.pin(None)
    around: float = statistics.median(one.latency_ms - ladder.costs(one.tokens)[-1] for one in answers[30:])
    return max(around, 0.0)


def arrivals(rows: Sequence[tuple[str, str, int]], seconds: float, rate: float, seed: int) -> list[Request]:
    """Return a Poisson stream of that many requests a second, of rows drawn at random."""
    draw = random.Random(seed)
    requests, at = [], draw.expovariate(rate)
    while at < seconds:
        requests.append(Request(at, *draw.choice(rows)))
        at += draw.expovariate(rate)
    return requests


def serve_all(
    chosen: Mapping[str, Engine | Rival],
    requests: Sequence[Request],
    spells: tuple[Spell, ...],
    deadline_ms: float,
    options: argparse.Namespace,
) -> dict[str, list[Served]]:
    """Serve every request under every policy, slice by slice."""
    served: dict[str, list[Served]] = collections.defaultdict(list)
    shuffle = random.Random(options.seed).shuffle
    starts = np.arange(0, options.seconds, options.slice)
    turns = [(start, name) for start in starts for name in _shuffled(list(chosen), shuffle)]
    with Hogs(len(available_cpus())) as hogs:
        for start, name in tqdm(turns, unit="slice", disable=None):
            part = [one for one in requests if start <= one.arrives_s < start + options.slice]
            one, stage = chosen[name], Stage(float(start), spells, deadline_ms, hogs)
            served[name] += serve_submitted(one, part, stage) if isinstance(one, Engine) else serve(one, part, stage)
            hogs.set(STATES[0])
    return served


def _shuffled(names: list[str], shuffle: Callable[[list[str]], None]) -> list[str]:
    shuffle(names)
    return names


class Stage:
    """A slice of the stream: its clock, and the other work that goes with it."""

    def __init__(self, start_s: float, spells: tuple[Spell, ...], deadline_ms: float, hogs: Hogs) -> None:
        self.deadline_ms = deadline_ms
        self._spells, self._hogs = spells, hogs
        self._began = time.perf_counter() - start_s

    def now(self) -> float:
        """Return the seconds since the start of the stream."""
        return time.perf_counter() - self._began

    def wait_for(self, request: Request) -> None:
        """Wait until a request arrives, and switch the other work meanwhile."""
        while (ahead := request.arrives_s - self.now()) > 0:
            self._hogs.set(state_at(self._spells, self.now()))
            time.sleep(min(ahead, 0.02))
        self._hogs.set(state_at(self._spells, self.now()))

    def left_ms(self, request: Request) -> float:
        """Return the ms left until the deadline of a request."""
        return self.deadline_ms - (self.now() - request.arrives_s) * 1e3

    def served(self, request: Request, answer: Classification | None, done_s: float) -> Served:
        """Return the outcome of a request; without an answer it was dropped."""
        state = state_at(self._spells, request.arrives_s)
        if answer is None:
            return Served(request.arrives_s, math.inf, DROPPED, met=False, right=False, state=state)
        latency_ms = (done_s - request.arrives_s) * 1e3
        met, right = latency_ms <= self.deadline_ms, answer.label == request.label
        return Served(request.arrives_s, latency_ms, answer.subnet, met, right, state)


def serve(policy: Rival, part: Sequence[Request], stage: Stage) -> list[Served]:
    """Serve a slice under a rival: a request waits while the previous one is answered."""
    served: list[Served] = []
    sensors, sensed_s, sensed = Sensors(), -math.inf, None
    for request in part:
        stage.wait_for(request)
        if stage.now() - sensed_s >= SENSE_EVERY_S:
            sensed, sensed_s = sensors.read(), stage.now()
        if (left_ms := stage.left_ms(request)) <= 0:
            served.append(stage.served(request, None, stage.now()))
            continue
        answer = policy.run(request.text, request.tokens, left_ms, stage.deadline_ms, sensed)
        served.append(stage.served(request, answer, stage.now()))
    return served


def serve_submitted(engine: Engine, part: Sequence[Request], stage: Stage) -> list[Served]:
    """Serve a slice under the engine: requests are submitted as they come."""
    answered: list[tuple[Request, AnswerFuture | None, list[float]]] = []
    for request in part:
        stage.wait_for(request)
        done: list[float] = []
        left_ms = stage.left_ms(request)
        future = engine.submit(request.text, deadline_ms=left_ms) if left_ms > 0 else None
        if future is not None:
            future.add_done_callback(functools.partial(_note, done, stage))
        answered.append((request, future, done))
    served = []
    for request, future, done in answered:
        try:
            answer = None if future is None else future.result()
        except DeadlinePassedError:
            answer = None
        served.append(stage.served(request, answer, done[0] if answer is not None else math.inf))
    return served


def _note(done: list[float], stage: Stage, _: object) -> None:
    done.append(stage.now())


def row(policy: str, served: Sequence[Served], seconds: float) -> Row:
    """Summarise the outcome of a stream."""
    answered = [one for one in served if one.subnet != DROPPED]
    latencies = [one.latency_ms for one in answered]
    in_state = {state: [one for one in served if one.state == state] for state in STATES}
    return Row(
        policy=policy,
        requests=len(served),
        met=statistics.mean(one.met for one in served),
        right=statistics.mean(one.right for one in served),
        goodput=statistics.mean(one.met and one.right for one in served),
        goodput_of={
            state: statistics.mean(one.met and one.right for one in ones) for state, ones in in_state.items() if ones
        },
        dropped=1 - len(answered) / len(served),
        p50_ms=float(np.percentile(latencies, 50)),
        p99_ms=float(np.percentile(latencies, 99)),
        switches_per_minute=60 * sum(a.subnet != b.subnet for a, b in itertools.pairwise(answered)) / seconds,
    )


def table(rows: Sequence[Row], deadline_ms: float, seconds: float) -> list[str]:
    """Format a row per policy, the best first, as Markdown."""
    states = [state for state in STATES if state in rows[0].goodput_of]
    lines = [
        f"### deadline {deadline_ms:.1f} ms, {rows[0].requests} requests in {seconds:g} s under each policy",
        "",
        f"| policy | right and in time | in time | right | dropped | {' | '.join(states)} | p50 ms | p99 ms "
        "| switches / min |",
        "|---" * (8 + len(states)) + "|",
    ]
    for one in rows:
        shares = [one.goodput, one.met, one.right, one.dropped, *(one.goodput_of[state] for state in states)]
        cells = [f"{100 * share:.1f} %" for share in shares]
        cells += [f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{one.switches_per_minute:.0f}"]
        lines.append(f"| {one.policy} | {' | '.join(cells)} |")
    return [*lines, "", "The columns by state of the other work give what was right and in time."]


def plot(
    path: Path, served: Mapping[str, Sequence[Served]], spells: tuple[Spell, ...], deadline_ms: float, seconds: float
) -> None:
    """Plot the share right and in time so far, by policy, over the states of the machine; and the latencies under the
    engine."""
    figure, (shares, latency) = plt.subplots(2, 1, sharex=True, figsize=(11, 8), layout="constrained")
    ends = [*(spell.start_s for spell in spells[1:]), seconds]
    colours = dict(zip(STATES, ("white", "tab:orange", "tab:blue", "tab:red"), strict=True))
    for axes in (shares, latency):
        for spell, end in zip(spells, ends, strict=True):
            axes.axvspan(spell.start_s, end, color=colours[spell.state], alpha=0.12, linewidth=0)
        axes.grid(alpha=0.3)
    others = itertools.cycle(colormaps["tab20"](range(20)))
    for name, ones in served.items():
        good = np.cumsum([one.met and one.right for one in ones]) / np.arange(1, len(ones) + 1)
        width, colour = (2.5, "black") if name == OURS else (1.0, next(others))
        line = ":" if name.startswith("static") else "-"
        shares.plot([one.arrives_s for one in ones], 100 * good, line, label=name, linewidth=width, color=colour)
    shares.set_ylabel("right and in time so far, %")
    shares.set_ylim(bottom=0)
    shares.legend(ncols=4, loc="lower left")
    shares.set_title("white: machine free, orange: processor hogs, blue: memory hogs, red: both")
    ours = served[OURS]
    for met, colour, label in ((True, "tab:green", "in time"), (False, "tab:red", "late")):
        points = [one for one in ours if one.met == met and one.subnet != DROPPED]
        latency.scatter([o.arrives_s for o in points], [o.latency_ms for o in points], s=4, color=colour, label=label)
    latency.axhline(deadline_ms, color="black", linestyle="--", linewidth=1, label="deadline")
    latency.set_yscale("log")
    latency.set_ylabel("latency under gearshift, ms")
    latency.set_xlabel("seconds")
    latency.legend(loc="upper right", ncols=3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
