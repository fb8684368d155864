"""The engine with a DAN as its lowest rung and without, under more requests than the smallest subnet can serve.

    python -m benchmarks.dan.overload NAME --bundle BUNDLE --data DATA [--rounds 3] [--overload 1.5] [--seconds 5,10,5]

Test rows are sent as requests, Poisson arrivals: at first so many that the largest subnet would be busy for half of the
time, then `--overload` times the capacity of the smallest subnet when all come at once, then as before.
Each has a deadline of twice the largest subnet's median from text to answer. Both engines are called through `submit`,
in turns, and keep their state from turn to turn. A dropped or refused request is late.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from benchmarks.report import RESULTS, markdown, save
from examples.demo.overload import Asked, Phase, arrivals, capacity, serve
from gearshift.cpus import available_cpus
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.startup import Loaded, default_threads, start
from gearshift.trainer.dan.train import text_of
from gearshift.trainer.data.splits import read_data

matplotlib.use("Agg")  # a file, no window


UTILISATION = 0.5
DEADLINE_FACTOR = 2.0
SENT_LATE = 0.25
"""Share of the deadline beyond which a request counts as sent late: the sender shares the interpreter of the engine."""

TRIED = 200
"""Number of requests behind the median that sets the deadline."""
PHASES = ("before", "overload", "after")
WITH, WITHOUT = "with the DAN", "without"


def main() -> None:
    """Serve, print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overload", type=float, default=1.5)
    parser.add_argument("--seconds", default="5,10,5", help="of the three phases")
    options = parser.parse_args()
    seconds = dict(zip(PHASES, map(float, options.seconds.split(",")), strict=True))
    rows = [(str(text_of(row)), str(row.label)) for row in read_data(options.data).splits["test"]]
    random.Random(0).shuffle(rows)
    with contextlib.ExitStack() as stack:
        engines = _engines(open_bundle(options.bundle), stack)
        pool = sorted(engines[WITHOUT].pool.values(), key=lambda entry: entry.macs)
        largest_ms = median_ms(engines[WITHOUT], pool[-1].name, rows)
        served_most = capacity(engines[WITHOUT], pool[0].name, [text for text, _ in rows])
        rates = {"before": UTILISATION / largest_ms * 1e3, "overload": options.overload * served_most}
        rates["after"] = rates["before"]
        deadline_ms = DEADLINE_FACTOR * largest_ms
        phases = [Phase(name, lasts, rates[name]) for name, lasts in seconds.items()]
        served: dict[str, list[Asked]] = {name: [] for name in engines}
        for turn in range(options.rounds):
            for name in engines if turn % 2 else reversed(engines):
                asked = list(arrivals(rows, phases, seed=turn))
                serve(engines[name], asked, deadline_ms)
                served[name] += asked
        facts = {
            "precision": engines[WITH].precision,
            "smallest": pool[0].name,
            "capacity": served_most,
            "largest_ms": largest_ms,
            "deadline_ms": deadline_ms,
            "rates": rates,
            "overload": options.overload,
            "rounds": options.rounds,
            "seconds": seconds,
            "cores": len(available_cpus()),
            "ladder": list(engines[WITH].ladder),
            "accuracies": {name: entry.accuracy for name, entry in engines[WITH].pool.items()},
        }
    results = {name: {phase: _row(ones, phase, deadline_ms) for phase in PHASES} for name, ones in served.items()}
    facts["results"] = results
    save(f"dan-overload-{options.name}", facts, _lines(options.name, facts, results))
    _plot(RESULTS / f"dan-overload-{options.name}.png", served, facts)


def _engines(bundle: Bundle, stack: contextlib.ExitStack) -> dict[str, Engine]:
    """Make two engines over one session's files and one latency table."""
    assert bundle.dan is not None, f"{bundle.path} has no DAN"
    graph = tuple(entry for entry in bundle.manifest.pool if entry.executor != DAN_EXECUTOR)
    without = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, pool=graph))
    loaded = start(bundle, precision="auto", threads=default_threads(), profile=None, providers=CPU)
    session = loaded.opened.session
    stack.callback(session.close)
    both = {WITH: bundle, WITHOUT: without}
    return {name: stack.enter_context(Engine(Loaded.of(which, session, loaded.table))) for name, which in both.items()}


def median_ms(engine: Engine, subnet: str, rows: Sequence[tuple[str, str]]) -> float:
    """Measure the median ms from text to answer, one request after another."""
    engine.pin(subnet)
    times: list[float] = [
        engine.submit(text).result().latency_ms for text, _ in itertools.islice(itertools.cycle(rows), TRIED)
    ]
    engine.pin(None)
    return statistics.median(times[TRIED // 10 :])


def _row(served: Sequence[Asked], phase: str, deadline_ms: float) -> dict[str, float]:
    """Return the outcome of the requests of a phase, as shares of all of them."""
    ones = [one for one in served if one.phase == phase]
    latencies = [one.latency_ms for one in ones if one.subnet]
    return {
        "requests": len(ones),
        "met": statistics.mean(one.met for one in ones),
        "sent_late": statistics.mean(not one.met and one.sent_late_ms >= SENT_LATE * deadline_ms for one in ones),
        "goodput": statistics.mean(one.met and one.right for one in ones),
        "right": statistics.mean(one.right for one in ones),
        "dan": statistics.mean(one.subnet == "dan" for one in ones),
        "answered": len(latencies) / len(ones),
        "p50_ms": statistics.median(latencies) if latencies else float("nan"),
        "p95_ms": float(np.percentile(latencies, 95)) if latencies else float("nan"),
    }


def _lines(name: str, facts: dict[str, Any], results: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    rows = [
        [
            policy,
            phase,
            f"{row['requests']}",
            f"{100 * row['met']:.1f}",
            f"{100 * row['sent_late']:.1f}",
            f"{100 * row['goodput']:.1f}",
            f"{100 * row['right']:.1f}",
            f"{100 * row['dan']:.1f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p95_ms']:.1f}",
        ]
        for policy, phases in results.items()
        for phase, row in phases.items()
    ]
    names = ("met", "sent late", "right and in time", "right", "by the DAN")
    header = ["engine", "phase", "requests", *names, "p50 ms", "p95 ms"]
    rates: dict[str, float] = facts["rates"]
    return [
        f"### Overload of {name}: the engine with a DAN as its lowest rung, and without",
        "",
        f"{facts['precision']}; a deadline of {facts['deadline_ms']:.1f} ms; {rates['before']:.0f} requests a second, "
        f"in the overload {rates['overload']:.0f}, {facts['overload']:g} times what {facts['smallest']} serves "
        f"one by one ({facts['capacity']:.0f}). {facts['rounds']} rounds of "
        f"{' + '.join(f'{lasts:g}' for lasts in facts['seconds'].values())} s in turns, {facts['cores']} core(s) for "
        "engine and sender. Shares in per cent of all requests of a phase: deadlines met, missed ones that were sent "
        f"when {100 * SENT_LATE:g} % of the deadline were over, right answers in time, right ones at all, those by the "
        "DAN; "
        "one that was dropped or refused is late and not right.",
        "",
        *markdown(header, rows),
    ]


def _plot(path: Path, served: dict[str, list[Asked]], facts: dict[str, Any]) -> None:
    """Plot the shares of deadlines met and of right answers in time, by half second, mean over the rounds."""
    figure, axes = plt.subplots(2, 1, sharex=True, figsize=(9, 6), layout="constrained")
    seconds: dict[str, float] = facts["seconds"]
    edges = np.arange(0, sum(seconds.values()) + 0.5, 0.5)
    for place, (policy, ones) in enumerate(served.items()):
        times = np.array([one.arrives_s for one in ones])
        counts = np.histogram(times, edges)[0]
        for row, flags in zip(axes, ([one.met for one in ones], [one.met and one.right for one in ones]), strict=True):
            shares = 100 * np.histogram(times, edges, weights=np.array(flags, float))[0] / np.maximum(counts, 1)
            row.plot((edges[:-1] + edges[1:]) / 2, shares, f"C{place}", label=policy)
    begin = seconds["before"]
    for row, title in zip(axes, ("deadlines met, %", "right and in time, %"), strict=True):
        row.axvspan(begin, begin + seconds["overload"], color="tab:orange", alpha=0.15, linewidth=0)
        row.set_ylabel(title)
        row.set_ylim(0, 102)
        row.grid(alpha=0.3)
    axes[0].legend()
    axes[1].set_xlabel(f"seconds; shaded: {facts['overload']:g} times what the smallest subnet serves")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
