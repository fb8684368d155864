"""The engine against other policies for choosing a subnet, on this machine, while other work comes and goes.

    python -m benchmarks.serving.engine BUNDLE --data DATA [--seconds 300] [--slice 30] [--repeats 3] [--every-subnet]

The test rows of DATA, which `gearshift train` read, are sent as requests: Poisson arrivals that would keep the largest
subnet busy for half of the time on the free machine, each with a deadline of twice the largest subnet's median from
text to answer. So a free machine can serve most of them on the largest subnet: of runs that take equally long, .82 are
over within that time (M/D/1: a wait of at most one run has probability .5 exp(.5)), and what other work takes away is
left to the policies.
The other work is what a shared device has, each state for 1 to `--longest` seconds at a time, in random order, each
equally often: nothing; a processor hog per CPU; a memory hog per CPU; both; four processor hogs per CPU, as a build in
the background leaves; a second model (the bundle's largest subnet, a loop per CPU); and half and a quarter of one CPU's
time by a control group, as a hot processor's clock or the limit of a small container leaves. All run on the CPUs that
this process may use: under `taskset -c 0` on that one alone.
The stream is cut into slices; every policy serves a slice, in random order, before any serves the next one, so that all
meet the same machine. A policy keeps its state from slice to slice. Each repeat draws arrivals and states anew.
Ours is `Engine.submit`; the others pin the subnet of another engine over the same bundle, one request after another, so
that neither learns from the other's turns. They know the time of a request besides the graph, and those that wait.
Under all policies a request whose deadline passed while it waited is dropped.
An answer scores from 0 to 1 (`live_rows`): right or wrong, or the F1 of this answer.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import itertools
import random
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.device.contention import STATES, Model, Spell, random_spells
from benchmarks.report import RESULTS, save
from benchmarks.serving.days import OURS
from benchmarks.serving.live_outcome import STATIC, row
from benchmarks.serving.live_policies import Rival, ladder_of, rivals, smallest
from benchmarks.serving.live_report import plot, table
from benchmarks.serving.live_rows import MEANINGS, Labelled, read_rows
from benchmarks.serving.live_stream import OtherWork, Request, Served, Stage, arrivals, serve, serve_submitted
from gearshift.cpus import available_cpus
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import open_bundle

UTILISATION = 0.5
DEADLINE_FACTOR = 2.0
MOST_ROWS = 2_000
"""Largest number of rows that requests are drawn from."""

TIMED = 300
"""Number of requests behind a median, of which the first tenth is left out."""


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.engine", description=__doc__.split("\n", 1)[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="data set that the bundle was trained on")
    parser.add_argument("--seconds", type=float, default=300, help="length of the stream, for each policy and repeat")
    parser.add_argument("--slice", type=float, default=30, help="seconds that a policy serves at a stretch")
    parser.add_argument("--longest", type=float, default=30, help="longest seconds that a state lasts")
    parser.add_argument("--repeats", type=int, default=1, help="streams, each with arrivals and states of its own")
    parser.add_argument("--precision", default="auto", help="fp32, int8, or the faster one")
    parser.add_argument("--target", type=float, help="share of deadlines that the engine is told to keep")
    parser.add_argument("--policies", default="", help="policies beside the engine's and the fixed ones, or `none`")
    parser.add_argument(
        "--every-subnet", action="store_true", help="pin every subnet of the ladder, not only the ends and the middle"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    labelled = read_rows(options.data, open_bundle(options.bundle), most=MOST_ROWS)
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine.load(options.bundle, target=options.target, precision=options.precision) as engine,
    ):
        profile = Path(folder) / "profile.json"
        engine.save_profile(profile)  # all policies use the same latency table
        pinned = Engine.load(
            options.bundle, sensors=False, precision=engine.precision, threads=engine.threads, profile=profile
        )
        with pinned:
            second = Model(options.bundle, profile, engine.precision)
            facts, served, spells = _streams(engine, pinned, labelled, second, options)
            facts["task"] = engine.bundle.manifest.task
        facts |= {"precision": engine.precision, "threads": engine.threads, "bundle": options.bundle.name}
    seconds = options.seconds * options.repeats
    results = [row(name, ones, served[OURS], seconds) for name, ones in served.items()]
    results.sort(key=lambda one: -one.goodput[""][0])
    name = f"engine-{options.bundle.name.removesuffix('.gearshift')}"
    facts |= {"command": _command(options), "requests": len(served[OURS]), "seconds": seconds}
    facts |= {"spells": [asdict(spell) for spell in spells], "rows": [asdict(one) for one in results]}
    lines = table(results, facts["deadline_ms"], seconds, MEANINGS[facts["task"]])
    save(name, facts, lines, folder=options.results)
    plot(options.results / f"{name}.png", served, spells, facts["deadline_ms"], seconds)


def _command(options: argparse.Namespace) -> str:
    """Return the command without the places of this machine."""
    names = ("seconds", "slice", "longest", "repeats", "precision")
    given = " ".join(f"--{name} {getattr(options, name)}" for name in names)
    more = (f" --policies {options.policies}" if options.policies else "") + (
        " --every-subnet" if options.every_subnet else ""
    )
    return f"python -m benchmarks.serving.engine {options.bundle.name} --data {options.data.name} {given}{more}"


def _streams(
    engine: Engine, pinned: Engine, labelled: Sequence[Labelled], second: Model, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, list[Served]], tuple[Spell, ...]]:
    """Serve every repeat under every policy, one after another in time; return facts, the requests by policy, and the
    states."""
    largest_ms = median_ms(engine, max(engine.pool.values(), key=lambda entry: entry.macs).name, labelled)
    deadline_ms = DEADLINE_FACTOR * largest_ms
    around_ms = median_around_ms(pinned, labelled)
    rows = with_tokens(pinned, labelled)
    chosen: dict[str, Engine | Rival] = {OURS: engine, **_rivals(pinned, around_ms, options)}
    served: dict[str, list[Served]] = collections.defaultdict(list)
    all_spells: list[Spell] = []
    with OtherWork(second) as work:
        work.load()
        for repeat in range(options.repeats):
            requests = arrivals(rows, options.seconds, UTILISATION / largest_ms * 1e3, repeat)
            spells = random_spells(options.seconds, seed=repeat, longest_s=options.longest, states=work.states)
            began_s = repeat * options.seconds
            for name, ones in serve_all(chosen, requests, spells, deadline_ms, work, options, seed=repeat).items():
                served[name] += [
                    dataclasses.replace(one, arrives_s=one.arrives_s + began_s, slice_s=one.slice_s + began_s)
                    for one in ones
                ]
            all_spells += [Spell(spell.start_s + began_s, spell.state) for spell in spells]
    ladder = ladder_of(engine)
    facts = {"deadline_ms": deadline_ms, "largest_ms": largest_ms, "around_ms": around_ms, "ladder": ladder.names}
    facts |= {"reported": ladder.reported, "test_rows": len(labelled), "cpus": sorted(available_cpus())}
    return facts, served, tuple(all_spells)


def _rivals(pinned: Engine, around_ms: float, options: argparse.Namespace) -> dict[str, Rival]:
    found = rivals(pinned, around_ms, every_subnet=options.every_subnet)
    wanted = options.policies.split(",") if options.policies else list(found)
    return {name: one for name, one in found.items() if name.startswith(STATIC) or name in wanted}


def median_ms(engine: Engine, subnet: str, rows: Sequence[Labelled]) -> float:
    """Measure the median ms from text to answer on the free machine."""
    engine.pin(subnet)
    times: list[float] = [engine.run(row.text).latency_ms for row in itertools.islice(itertools.cycle(rows), TIMED)]
    engine.pin(None)
    return statistics.median(times[TIMED // 10 :])


def median_around_ms(engine: Engine, rows: Sequence[Labelled]) -> float:
    """Measure the ms of a request besides the graph, mostly tokenizing, on the free machine."""
    ladder, name = ladder_of(engine), smallest(engine)
    rung = ladder.names.index(name)
    engine.pin(name)
    answers = [engine.run(row.text) for row in itertools.islice(itertools.cycle(rows), TIMED)]
    engine.pin(None)
    around: float = statistics.median(one.latency_ms - ladder.costs(one.tokens)[rung] for one in answers[TIMED // 10 :])
    return max(around, 0.0)


def with_tokens(engine: Engine, rows: Sequence[Labelled]) -> list[tuple[Labelled, int]]:
    """Return each row with its number of tokens."""
    engine.pin(smallest(engine))
    found = [(row, engine.run(row.text).tokens) for row in rows]
    engine.pin(None)
    return found


def serve_all(
    chosen: Mapping[str, Engine | Rival],
    requests: Sequence[Request],
    spells: tuple[Spell, ...],
    deadline_ms: float,
    work: OtherWork,
    options: argparse.Namespace,
    *,
    seed: int,
) -> dict[str, list[Served]]:
    """Serve every request under every policy, slice by slice."""
    served: dict[str, list[Served]] = collections.defaultdict(list)
    shuffle = random.Random(seed).shuffle
    starts = np.arange(0, options.seconds, options.slice)
    turns = [(start, name) for start in starts for name in _shuffled(list(chosen), shuffle)]
    for start, name in tqdm(turns, unit="slice", disable=None):
        part = [one for one in requests if start <= one.arrives_s < start + options.slice]
        one, stage = chosen[name], Stage(float(start), spells, deadline_ms, work)
        served[name] += serve_submitted(one, part, stage) if isinstance(one, Engine) else serve(one, part, stage)
        work.set(STATES[0])
    return served


def _shuffled(names: list[str], shuffle: Callable[[list[str]], None]) -> list[str]:
    shuffle(names)
    return names


if __name__ == "__main__":
    main()
