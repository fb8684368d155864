"""The demo: from nothing to a model that switches subnets, in under ten minutes on two cores.

    python -m examples.demo [--output demo] [--seconds 20]

It fetches a pretrained encoder, makes spoken commands, trains a supernet on them and a DAN for the lowest rung, and
exports and verifies a bundle. Then it serves a stream of requests while other processes come and go, and a stream that
overloads the smallest subnet.
Run again, it continues with the files that exist; `--fresh` starts over.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from examples.demo import overload
from examples.demo.commands import Utterance, generate, write
from examples.demo.overload import Asked, Phase, arrivals, make_surge, surge_lines
from examples.demo.plot import plot_surge, plot_timeline
from examples.demo.serve import Plan, Served, Summary, ends, make_plan, serve, summary
from gearshift.__main__ import main as gearshift
from gearshift.cpus import available_cpus
from gearshift.device_profiles import read_fingerprint
from gearshift.runtime import Engine, open_bundle
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR
from gearshift.runtime.files.atomic import replace_file

TARGET = 0.98
"""Target share of deadlines met; every change of the load costs a few requests."""

TRAINING = ["--teacher-epochs", "1.2", "--depth-epochs", "1.7", "--freeze-embeddings"]
"""Settings that fit ten minutes on two cores: few epochs, and by the sandwich rule three of twelve subnets a step."""

DAN = ["--table-parameters", "5000000", "--epochs", "20", "--table-lr", "0.02"]


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), help="directory for all files")
    parser.add_argument("--seconds", type=float, default=20, help="length of each served stream")
    parser.add_argument("--fresh", action="store_true", help="start over instead of going on")
    options = parser.parse_args()
    if not options.seconds >= 1:
        parser.error(f"--seconds: expected 1 or more, got {options.seconds}")
    if options.fresh:
        for name in ("data", "run", "run.partial", "dan", "commands.gearshift", "without-dan.gearshift"):
            shutil.rmtree(options.output / name, ignore_errors=True)
    data, run, dan, bundle = (options.output / name for name in ("data", "run", "dan", "commands.gearshift"))
    began = time.monotonic()
    splits = generate()
    _step("1/7 spoken commands", f"{', '.join(f'{len(rows)} {split}' for split, rows in splits.items())}")
    write(data, splits)
    _step("2/7 train a supernet on all-MiniLM-L6-v2", "a teacher, then all subnets; about 5 minutes")
    if not (run / "supernet.json").exists():
        _call("train", "--data", str(data), "-o", str(run), *TRAINING)
    _step("3/7 distil it into a DAN", "n-gram embeddings: less accurate, at hardly any cost")
    if not (dan / "dan.json").exists():
        _call("train-dan", "--teacher", str(run), "--data", str(data), "-o", str(dan), *DAN)
    _step("4/7 export one bundle", "one elastic graph per precision, checked against torch for every subnet")
    if not (bundle / "manifest.json").exists():
        _call("export", str(run), "-o", str(bundle), "--data", str(data), "--dan", str(dan), "--licence", "Apache-2.0")
    _step("5/7 verify it", "every file, and the numbers of every subnet on this CPU")
    _call("verify", str(bundle))
    _step("6/7 serve", "the same stream three times, under the same load")
    plan = _serve(bundle, splits["test"], options.output, options.seconds)
    _step("7/7 overload", "more requests than the smallest subnet can serve, with the DAN below it and without")
    _overload(bundle, splits["test"], plan, options.output)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes in all", flush=True)
    return 0


def _step(title: str, text: str) -> None:
    print(f"\n== {title}: {text}", flush=True)


def _call(*arguments: str) -> None:
    """Run a command of the command line, as a user would type it."""
    print(f"$ gearshift {' '.join(arguments)}", flush=True)
    code = gearshift(arguments)
    if code:
        sys.exit(code)


def _serve(bundle: Path, requests: list[Utterance], output: Path, seconds: float) -> Plan:
    with Engine.load(bundle, target=TARGET) as engine:
        plan = make_plan(engine, requests, seconds=seconds, cpus=len(available_cpus()))
        largest, smallest = ends(engine)
        print(
            f"{engine.precision}, {engine.threads} thread; unloaded medians: {largest} {plan.largest_ms:.2f} ms, "
            f"{smallest} {plan.smallest_ms:.2f} ms\n"
            f"deadline {plan.deadline_ms:.2f} ms, {plan.rate:.0f} requests a second, "
            f"{plan.burners} busy processes {plan.load.off_s:g} s off, {plan.load.on_s:g} s on"
        )
        policies = {"elastic engine": None, "always largest": largest, "always smallest": smallest}
        runs: dict[str, list[Served]] = {}
        for name, pin in policies.items():
            runs[name] = serve(engine, requests, plan, pin=pin, live=_live_line(name))
            print()
        by_size = sorted(engine.pool.values(), key=lambda entry: entry.macs)
        precision = engine.precision
    plot_timeline(output / "timeline.png", runs["elastic engine"], plan, [entry.name for entry in by_size])
    results = {name: summary(served) for name, served in runs.items()}
    document = {
        "policies": {name: asdict(result) for name, result in results.items()},
        "plan": asdict(plan),
        "precision": precision,
        "device": read_fingerprint({}).to_dict(),
    }
    replace_file(output / "summary.json", (json.dumps(document, indent=1) + "\n").encode())
    _print_results(results, plan)
    print(f"\n{output / 'summary.json'} and {output / 'timeline.png'} written")
    return plan


def _overload(bundle: Path, requests: list[Utterance], plan: Plan, output: Path) -> None:
    """Serve the same surge with and without the DAN, and plot it."""
    without = bundle.with_name("without-dan.gearshift")
    subnets = open_bundle(bundle).manifest.pool
    graph = dict.fromkeys(entry.name for entry in subnets if entry.executor != DAN_EXECUTOR)
    if not (without / "manifest.json").exists():
        _call("trim", str(bundle), "-o", str(without), "--keep", ",".join(graph))
    rows = [(request.text, request.intent) for request in requests]
    streams: dict[str, list[Asked]] = {}
    phases: tuple[Phase, ...] = ()
    for name, path in (("without the DAN", without), ("with the DAN", bundle)):
        with Engine.load(path, target=TARGET) as engine:
            phases = phases or make_surge(engine, ends(engine)[1], [text for text, _ in rows], plan.rate)
            streams[name] = list(arrivals(rows, phases, seed=0))
            overload.serve(engine, streams[name], plan.deadline_ms)
    plot_surge(output / "overload.png", streams, phases)
    print("\n".join(["", *surge_lines(streams, phases)]))
    print(f"deadline {plan.deadline_ms:.2f} ms; {output / 'overload.png'} written")


def _live_line(name: str) -> Callable[[Served], None]:
    """Return a function that prints load, subnet, latency and deadlines met: in one line that is rewritten, or every
    two seconds when piped."""
    seen: list[bool] = []
    last = [-1.0]
    interval = 0.1 if sys.stdout.isatty() else 2.0

    def show(one: Served) -> None:
        seen.append(one.met)
        if one.arrived_s - last[0] < interval:
            return
        last[0] = one.arrived_s
        line = (
            f"{name:15}  {one.arrived_s:5.1f} s  load {'on ' if one.loaded else 'off'}  "
            f"slow-down {one.slow_down:4.1f}  {one.subnet}  {one.latency_ms:6.1f} ms  "
            f"{'in time' if one.met else 'late   '}  {100 * sum(seen) / len(seen):5.1f} % in time so far"
        )
        print(f"\r{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)

    return show


def _print_results(results: dict[str, Summary], plan: Plan) -> None:
    print(f"\n{'':15}  deadlines met  under load  accuracy  in time and right      p50      p95  switches")
    for name, row in results.items():
        loaded = row.deadlines_met_under_load
        print(
            f"{name:15}  {100 * row.deadlines_met:11.1f} %  {'-' if loaded is None else f'{100 * loaded:.1f} %':>10}  "
            f"{100 * row.accuracy:6.1f} %  {100 * row.goodput_accuracy:15.1f} %  "
            f"{row.p50_ms:5.1f} ms {row.p95_ms:5.1f} ms  {row.switches:8}"
        )
    print(f"deadline {plan.deadline_ms:.2f} ms; accuracy on all requests, late ones included")


if __name__ == "__main__":
    sys.exit(main())
