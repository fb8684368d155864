"""The queue with texts that run together where that keeps more deadlines, against texts one by one.

    python -m benchmarks.serving.together NAME --bundle BUNDLE --data DATA [--rates .5,.75,1,1.5] [--rounds 3]

Test rows are sent through `submit`, Poisson arrivals, at multiples of the rate at which the smallest subnet answers
them one by one when all come at once. Each has a deadline of `--deadline` times the largest subnet's median from text
to answer. Both engines have the same session and the same latency table, one without the times of calls of several
texts, so that it joins none. They serve the same arrivals, in turns, `--rounds` times, and keep their state. Engine and
sender share the cores of the process. A dropped request is late.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.dan.overload import median_ms
from benchmarks.report import markdown, save
from examples.demo.overload import Asked, Phase, arrivals, capacity, serve
from gearshift.cpus import available_cpus
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.startup import Loaded, start
from gearshift.trainer.data.splits import read_data

JOINED, ALONE = "together", "one by one"


def main() -> None:
    """Serve, print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rates", default=".5,.75,1,1.5", help="multiples of what the smallest subnet answers alone")
    parser.add_argument("--deadline", type=float, default=4.0, help="multiple of the largest subnet's median")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each rate and round, for each engine")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = [(str(row.text), str(row.label)) for row in read_data(options.data).splits["test"]]
    random.Random(0).shuffle(rows)
    with contextlib.ExitStack() as stack:
        engines = _engines(options, stack)
        alone = engines[ALONE]
        pool = sorted(alone.pool.values(), key=lambda entry: entry.macs)
        largest_ms = median_ms(alone, pool[-1].name, rows)
        most = statistics.median(capacity(alone, pool[0].name, [text for text, _ in rows]) for _ in range(3))
        deadline_ms = options.deadline * largest_ms
        rates = [float(text) for text in options.rates.split(",")]
        served = _serve(engines, rows, rates, most, deadline_ms, options)
        facts = {
            "command": f"python -m benchmarks.serving.together {options.name} --bundle {options.bundle.name} "
            f"--data {options.data.name} --rates {options.rates} --deadline {options.deadline:g} "
            f"--seconds {options.seconds:g} --rounds {options.rounds}",
            "precision": alone.precision,
            "cores": len(available_cpus()),
            "capacity": most,
            "largest_ms": largest_ms,
            "deadline_ms": deadline_ms,
            "ladder": list(alone.ladder),
            "table": engines[JOINED].table.to_dict(),
        }
    results = [
        {"rate": rate, "engine": name, **_row(ones)} for rate, both in served.items() for name, ones in both.items()
    ]
    save(f"together-{options.name}", facts | {"results": results}, _lines(options, facts, results))


def _engines(options: argparse.Namespace, stack: contextlib.ExitStack) -> dict[str, Engine]:
    """Make two engines over one session, without a DAN."""
    bundle = open_bundle(options.bundle)
    graph = tuple(entry for entry in bundle.manifest.pool if entry.executor != DAN_EXECUTOR)
    bundle = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, pool=graph))
    loaded = start(bundle, precision=options.precision, threads=1, profile=None, providers=CPU)
    session, table = loaded.opened.session, loaded.table
    stack.callback(session.close)
    tables = {JOINED: table, ALONE: dataclasses.replace(table, batches=None)}
    return {name: stack.enter_context(Engine(Loaded.of(bundle, session, one))) for name, one in tables.items()}


def _serve(
    engines: Mapping[str, Engine],
    rows: Sequence[tuple[str, str]],
    rates: Sequence[float],
    most: float,
    deadline_ms: float,
    options: argparse.Namespace,
) -> dict[float, dict[str, list[Asked]]]:
    """Serve every rate by both engines in turns; return the outcomes by rate and engine."""
    served: dict[float, dict[str, list[Asked]]] = {rate: {name: [] for name in engines} for rate in rates}
    for turn in range(options.rounds):
        for rate in rates:
            phase = Phase("all", options.seconds, rate * most)
            for name in engines if turn % 2 else reversed(list(engines)):
                asked = list(arrivals(rows, [phase], seed=turn))
                serve(engines[name], asked, deadline_ms)
                served[rate][name] += asked
    return served


def _row(ones: Sequence[Asked]) -> dict[str, float]:
    """Return the outcome of requests, as shares of all of them."""
    return {
        "requests": len(ones),
        "met": statistics.mean(one.met for one in ones),
        "goodput": statistics.mean(one.met and one.right for one in ones),
    }


def _lines(options: argparse.Namespace, facts: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [
        [
            f"{row['rate']:g}",
            row["engine"],
            f"{row['requests']}",
            f"{100 * row['met']:.1f}",
            f"{100 * row['goodput']:.1f}",
        ]
        for row in results
    ]
    return [
        f"### {options.name}: texts of the queue together where that keeps more deadlines, and one by one",
        "",
        f"{facts['precision']}, one thread, {facts['cores']} core(s) for engine and sender; a deadline of "
        f"{facts['deadline_ms']:.1f} ms. Rates are multiples of {facts['capacity']:.0f} requests a second, which the "
        f"smallest subnet answers one by one. {options.rounds} rounds of {options.seconds:g} s in turns; shares in per "
        "cent of all requests.",
        "",
        *markdown(["rate", "texts run", "requests", "in time", "right and in time"], cells),
    ]


if __name__ == "__main__":
    main()
