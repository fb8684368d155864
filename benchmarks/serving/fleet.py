"""Two engines of one process, one of which gets bursts: in a fleet, with and without a priority, and on their own.

    python -m benchmarks.serving.fleet NAME --bundle BUNDLE --other BUNDLE --data DATA [--seconds 4] [--rounds 3]

The texts of test rows are sent through `submit`. The steady engine gets Poisson arrivals that would keep its largest
subnet busy for `--utilisation` of the time; the other gets `--burst` requests at once, once a second on average. A
deadline is `--deadline` times the largest median of its engine, for a burst four times that. All arrangements serve the
same arrivals, in turns, `--rounds` times, each by engines of its own, which keep their state; they have the same
latency tables. Engines and sender share the cores of the process. An answer in time is worth the accuracy of its subnet
by the bundle, so that no labels are needed; a late or dropped one is worth nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.dan.overload import median_ms
from benchmarks.report import markdown, save
from gearshift.cpus import available_cpus
from gearshift.runtime import Engine, Fleet, GearshiftError
from gearshift.trainer.data.splits import read_data

STEADY, BURSTS = "steady", "bursts"
ALONE, SHARED, FIRST = "on their own", "fleet", "fleet, the steady one first"
ARRANGEMENTS = (ALONE, SHARED, FIRST)
LEAST_DEADLINE_MS = 0.001


@dataclass
class Asked:
    """A request to one of the two engines, and its outcome."""

    arrives_s: float
    stream: str
    text: str
    met: bool = False
    subnet: str = ""


def main() -> None:
    """Serve, print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--bundle", type=Path, required=True, help="bundle of the steady engine")
    parser.add_argument("--other", type=Path, required=True, help="bundle of the engine that gets bursts")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--utilisation", type=float, default=0.3)
    parser.add_argument("--burst", type=int, default=20)
    parser.add_argument("--deadline", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round, for each arrangement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = [(str(row.text), str(row.label)) for row in read_data(options.data).splits["test"]]
    with contextlib.ExitStack() as stack:
        both = _engines(options, stack)
        ms = {name: median_ms(engine, engine.ladder[0], rows) for name, engine in both[ALONE].items()}
        deadlines = {STEADY: options.deadline * ms[STEADY], BURSTS: 4 * options.deadline * ms[BURSTS]}
        served: dict[str, list[Asked]] = {name: [] for name in ARRANGEMENTS}
        for turn in range(options.rounds):
            for name in random.Random(turn).sample(ARRANGEMENTS, len(ARRANGEMENTS)):
                asked = arrivals([text for text, _ in rows], ms[STEADY], options, turn)
                serve(both[name], asked, deadlines)
                served[name] += asked
        accuracies = {
            stream: {name: entry.accuracy for name, entry in engine.pool.items()}
            for stream, engine in both[ALONE].items()
        }
        facts = {
            "command": f"python -m benchmarks.serving.fleet {options.name} --bundle {options.bundle.name} "
            f"--other {options.other.name} --data {options.data.name} --utilisation {options.utilisation:g} "
            f"--burst {options.burst} --deadline {options.deadline:g} --seconds {options.seconds:g} "
            f"--rounds {options.rounds} --precision {options.precision}",
            "cores": len(available_cpus()),
            "largest_ms": ms,
            "deadlines_ms": deadlines,
            "accuracies": accuracies,
        }
    results = [
        {"arrangement": name, "stream": stream, **_row(ones, stream, accuracies[stream])}
        for name, ones in served.items()
        for stream in (STEADY, BURSTS)
    ]
    save(f"fleet-{options.name}", facts | {"results": results}, _lines(options, facts, results))


def _engines(options: argparse.Namespace, stack: contextlib.ExitStack) -> dict[str, dict[str, Engine]]:
    """Load two engines for each arrangement, with the tables of the first two."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    paths = {STEADY: options.bundle, BURSTS: options.other}
    alike = {"precision": options.precision, "sensors": False}
    found: dict[str, dict[str, Engine]] = {ALONE: {}}
    for stream, path in paths.items():
        engine = stack.enter_context(Engine.load(path, threads=1, **alike))
        engine.save_profile(folder / f"{stream}.json")
        found[ALONE][stream] = engine
    for name in (SHARED, FIRST):
        fleet = stack.enter_context(Fleet(threads=1))
        priorities = {STEADY: int(name == FIRST), BURSTS: 0}
        found[name] = {
            stream: fleet.load(path, priority=priorities[stream], profile=folder / f"{stream}.json", **alike)
            for stream, path in paths.items()
        }
    return found


def arrivals(texts: Sequence[str], largest_ms: float, options: argparse.Namespace, seed: int) -> list[Asked]:
    """Draw the requests of one round, in order."""
    draw, found = random.Random(seed), list[Asked]()
    now = 0.0
    while (now := now + draw.expovariate(options.utilisation / largest_ms * 1e3)) < options.seconds:
        found.append(Asked(now, STEADY, draw.choice(texts)))
    now = 0.0
    while (now := now + draw.uniform(0.5, 1.5)) < options.seconds:
        found += [Asked(now, BURSTS, draw.choice(texts)) for _ in range(options.burst)]
    return sorted(found, key=lambda one: one.arrives_s)


def serve(engines: Mapping[str, Engine], asked: Sequence[Asked], deadlines_ms: Mapping[str, float]) -> None:
    """Send every request at its time, and wait for the answers."""
    left = threading.Semaphore(0)
    start = time.perf_counter()
    for one in asked:
        due = start + one.arrives_s
        while (ahead := due - time.perf_counter()) > 0:
            time.sleep(ahead)
        deadline_ms = deadlines_ms[one.stream]
        left_ms = deadline_ms - (time.perf_counter() - due) * 1e3
        try:
            future = engines[one.stream].submit(one.text, deadline_ms=max(left_ms, LEAST_DEADLINE_MS))
        except GearshiftError:  # the queue is full
            left.release()
            continue
        future.add_done_callback(functools.partial(_note, one, due + deadline_ms / 1e3, left))
    for _ in asked:
        left.acquire()


def _note(one: Asked, due_s: float, left: threading.Semaphore, done: Future[Any]) -> None:
    if done.exception() is None:
        one.subnet, one.met = done.result().subnet, time.perf_counter() <= due_s
    left.release()


def _row(served: Sequence[Asked], stream: str, accuracies: Mapping[str, float]) -> dict[str, float]:
    """Return the outcome of the requests of a stream, as shares of all of them."""
    ones = [one for one in served if one.stream == stream]
    worth = [accuracies[one.subnet] if one.met else 0.0 for one in ones]
    return {"requests": len(ones), "met": statistics.mean(one.met for one in ones), "worth": statistics.mean(worth)}


def _lines(options: argparse.Namespace, facts: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [
        [
            row["stream"],
            row["arrangement"],
            f"{row['requests']}",
            f"{100 * row['met']:.1f}",
            f"{100 * row['worth']:.1f}",
        ]
        for row in sorted(results, key=lambda row: row["stream"], reverse=True)
    ]
    deadlines: Mapping[str, float] = facts["deadlines_ms"]
    return [
        f"### {options.name}: two engines of one process, one gets bursts of {options.burst}",
        "",
        f"{options.precision}, one thread each, {facts['cores']} core(s) for engines and sender; deadlines of "
        f"{deadlines[STEADY]:.1f} ms and, for bursts, {deadlines[BURSTS]:.1f} ms. {options.rounds} rounds of "
        f"{options.seconds:g} s in turns. In time: per cent of all requests; worth: the same, each weighed by the "
        "accuracy of its subnet.",
        "",
        *markdown(["stream", "engines", "requests", "in time", "worth"], cells),
    ]


if __name__ == "__main__":
    main()
