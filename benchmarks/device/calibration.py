"""Duration of `gearshift bench`, accuracy of its predictions, and validity of its figures elsewhere.

    python -m benchmarks.device.calibration bundles            makes the bundles in build/bench, once
    python -m benchmarks.device.calibration PART ...           one of PARTS, or several, in this order

    time        the default profile of MiniLM-L6: 6 stages of 5 options, 3 lengths, 1 and 2 threads, fp32 and int8
    error       100 random subnets x lengths left out of the fit, measured in turns with the fit's own calls
    twice       the same profile several times, each against the previous one
    hog         beside processes that burn CPU, in turns with an idle machine
    transfer    costs of operators, from the probe alone and thus of no bundle, against measured calls of five bundles
    profile     the costs of operators of this machine, into device_profiles/
    roofline    the floor by published constants of this CPU's kind, against measured calls

Weights are random: the time of a product does not depend on its numbers. Results go to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.graph.bundles import five_options, random_bundle
from benchmarks.graph.subjects import SHAPES
from benchmarks.report import save
from gearshift.device_profiles.roofline import boards
from gearshift.runtime.bench.operators.fit import fit_operator_costs
from gearshift.runtime.bench.operators.probe import time_probe
from gearshift.runtime.bench.operators.trace import Traced, trace
from gearshift.runtime.bench.plan import Plan
from gearshift.runtime.bench.profiling import calibrate
from gearshift.runtime.bench.result import Calibration, Measured
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.store import save_measured
from gearshift.runtime.profiles.timing import interleave, pinned
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.uniform import uniform_grid

FOLDER = Path(__file__).parents[2] / "build" / "bench"
PROFILES = Path(__file__).parents[2] / "device_profiles"
LENGTHS = (16, 64, 128)
SMALL = EncoderShape(4, 512, 8, 2048, 30522, 512, 2)
HOG = "while True: pass"

SUBJECTS: dict[str, Any] = {
    "minilm-l6": ("MiniLM-L6, a stage per layer, four segments", SHAPES["minilm-l6"], five_options, 1),
    "minilm-l6-halves": ("MiniLM-L6, one stage, two segments", SHAPES["minilm-l6"], None, 6),
    "minilm-l12-thirds": (
        "MiniLM-L12, a stage per layer, three segments",
        dataclasses.replace(SHAPES["minilm-l6"], layers=12),
        None,
        1,
    ),
    "bert-small": ("BERT-small (4 layers, hidden 512), four segments", SMALL, uniform_grid, 1),
    "bert-base": ("BERT-base, a stage per layer, two segments", SHAPES["bert-base"], None, 1),
}
"""Name -> description, shape, function that makes the pool, layers of a stage."""

FAMILIES = {
    "MiniLM, all": ("minilm-l6", "minilm-l6-halves", "minilm-l12-thirds"),
    "other hidden sizes": ("bert-small", "bert-base"),
}

WIDTHS = {"minilm-l6-halves": (1.0, 0.5), "minilm-l12-thirds": (1.0, 2 / 3, 1 / 3), "bert-base": (1.0, 0.5)}


def make_bundles() -> None:
    """Write the bundles that are measured."""
    for name, (what, shape, pool, layers) in SUBJECTS.items():
        subnets = uniform_grid(shape, WIDTHS[name]) if pool is None else pool(shape)
        random_bundle(FOLDER / f"{name}.gearshift", shape, subnets, layers_per_stage=layers)
        print(f"{name}: {what}, {len(subnets)} subnets")


def subject(name: str = "minilm-l6") -> Bundle:
    """Open one of the bundles; end the program if they were not made."""
    if not (FOLDER / f"{name}.gearshift").is_dir():
        sys.exit("first: python -m benchmarks.device.calibration bundles")
    return open_bundle(FOLDER / f"{name}.gearshift")


def condition(measured: Measured) -> str:
    """Return the label of a row: precision and threads."""
    return f"{measured.conditions.precision}, {measured.conditions.threads} threads"


def facts(part: str, **rest: object) -> dict[str, object]:
    """Return the facts that every result states about itself."""
    return {"command": f"python -m benchmarks.device.calibration {part}", "lengths": LENGTHS, "batch": 1, **rest}


def spread_of(errors: Sequence[float]) -> list[str]:
    """Return median and 95th percentile of absolute values, in per cent."""
    sizes = np.abs(np.array(errors))
    return [f"{100 * float(np.median(sizes)):.1f} %", f"{100 * float(np.percentile(sizes, 95)):.1f} %"]


def time_part() -> None:
    """Measure the default profile."""
    found = calibrate(subject(), Plan.of(subject(), lengths=LENGTHS, threads=(1, 2)))
    rows = [
        [condition(m), str(m.stages.calls), str(len(m.checked)), *spread_of([one.error for one in m.checked])]
        for m in found.measured
    ]
    lines = [
        f"### `gearshift bench` of MiniLM-L6, 6 stages x 5 options, 3 lengths, 2 thread counts: {found.seconds:.0f} s",
        "",
        *table(("", "calls of each length", "checked", "error, median", "p95"), rows),
        "",
        *(f"note: {line}" for line in found.warnings),
    ]
    save("calibration-time", facts("time", seconds=found.seconds, conditions=conditions(found)), lines)


def error_part() -> None:
    """Measure 100 unseen subnets x lengths for each precision and number of threads."""
    bundle = subject()
    rows, every, results = [], [], []
    for threads in (1, 2):
        plan = Plan.of(bundle, lengths=LENGTHS, threads=(threads,), budget_s=80.0, checked=100)
        found = calibrate(bundle, plan, operators=False)
        for m in found.measured:
            errors = [one.error for one in m.checked]
            every += errors
            calls = statistics.median(one.calls for one in m.checked)
            biggest = max(abs(error) for error in errors)
            rows.append([condition(m), str(len(errors)), f"{calls:g}", *spread_of(errors), f"{100 * biggest:.1f} %"])
            results += [{**vars(one), "error": one.error, **vars(m.conditions)} for one in m.checked]
        rows += [[f"{threads} threads", "refused", "", "", "", ""] for _ in found.refused]
    rows.append(["**all**", str(len(every)), "", *spread_of(every), f"{100 * max(map(abs, every)):.1f} %"])
    header = ("", "subnets x lengths", "calls of each", "error, median", "p95", "largest")
    lines = [
        "### Predicted against measured: random subnets out of 15,624, at 16, 40, 64, 96 and 128 tokens, none fitted",
        "",
        *table(header, rows),
    ]
    save("calibration-error", facts("error", checked=results), lines)


def twice_part(repeats: int = 5) -> None:
    """Measure the same profile again and again."""
    bundle = subject()
    plan = Plan.of(bundle, lengths=LENGTHS, threads=(1, 2), budget_s=45.0)
    found = [calibrate(bundle, plan, operators=False) for _ in range(repeats)]
    rows, changes = [], {}
    for number, (before, after) in enumerate(itertools.pairwise(found), start=1):
        for m in before.measured:
            again = after.find(m.conditions.precision, m.conditions.threads)
            if again is not None:
                ratios = [new / old - 1 for old, new in pairs(m, again, bundle)]
                changes[f"{number} {condition(m)}"] = ratios
                bias = f"{100 * statistics.median(ratios):+.1f} %"
                rows.append([f"run {number} and {number + 1}: {condition(m)}", *spread_of(ratios), bias])
    header = ("", "change of a subnet's median: median", "p95", "with its sign")
    lines = ["### The same calibration twice: 24 subnets x 3 lengths", "", *table(header, rows)]
    save("calibration-twice", facts("twice", changes=changes), lines)


def hog_part() -> None:
    """Measure in turns: idle, beside one hog, idle, beside one for each CPU."""
    bundle = subject()
    plan = Plan.of(bundle, lengths=LENGTHS, threads=(1, 2), budget_s=30.0)
    rows, results = [], []
    for hogs in (1, 2):
        idle = calibrate(bundle, plan, operators=False)
        with burning(hogs):
            beside = calibrate(bundle, plan, operators=False)
        said = [line for line in beside.warnings if "others used" in line]
        for m in idle.measured:
            under = beside.find(m.conditions.precision, m.conditions.threads)
            if under is None:
                refusal = next(line for line in beside.refused if line.startswith(f"{m.conditions.threads} thread"))
                rows.append([f"{hogs} hogs: {condition(m)}", "yes", "refused", "", refusal.split(";")[0]])
                continue
            ratios = [new / old - 1 for old, new in pairs(m, under, bundle)]
            results.append({"hogs": hogs, **vars(m.conditions), "changes": ratios, "disturbed": under.disturbed})
            detected = "yes" if under.contention.busy and said else "no"
            note = f"{under.disturbed:.0%} of calls waited, others used {under.contention.others_cpus or 0:.1f} CPUs"
            rows.append([f"{hogs} hogs: {condition(m)}", detected, *spread_of(ratios), note])
    header = ("", "detected and said", "against idle: median", "p95", "what was seen")
    lines = ["### Beside processes that burn CPU, on 2 CPUs: 24 subnets x 3 lengths", "", *table(header, rows)]
    save("calibration-hog", facts("hog", results=results), lines)


def transfer_part() -> None:
    """Compare the probe's costs with measured calls of bundles."""
    rows: list[list[str]] = []
    results: list[dict[str, Any]] = []
    with pinned(1):
        for precision in ("fp32", "int8"):
            probed: list[tuple[list[Traced], float]] = []
            measured = {}
            for name in SUBJECTS:  # the probe in turns with the bundles: a shared machine has faster and slower minutes
                probed += time_probe(precision, threads=1, seconds=1.0)
                measured[name] = measured_and(subject(name), precision, list)
            costs = fit_operator_costs(probed, precision=precision, provider="", threads=1)
            for name, (cells, milliseconds, work) in measured.items():
                errors = [costs.predict_ms(one) / ms - 1 for one, ms in zip(work, milliseconds, strict=True)]
                signed = [
                    statistics.median(e for e, (_, n) in zip(errors, cells, strict=True) if n == length)
                    for length in LENGTHS
                ]
                by_length = [f"{100 * error:+.1f} %" for error in signed]
                what = f"{SUBJECTS[name][0]}: {precision}"
                rows.append([what, str(len(errors)), *spread_of(errors), *by_length])
                results.append({"bundle": name, "precision": precision, "errors": errors})
    for family, names in FAMILIES.items():
        for precision in ("fp32", "int8"):
            of = [e for r in results if r["bundle"] in names and r["precision"] == precision for e in r["errors"]]
            rows.append([f"**{family}: {precision}**", str(len(of)), *spread_of(of), "", "", ""])
    header = ("", "subnets x lengths", "error, median", "p95", *(f"with its sign, {n} tokens" for n in LENGTHS))
    lines = [
        "### Costs of operators, measured without any bundle, against measured calls; one thread",
        "",
        *table(header, rows),
    ]
    save("calibration-transfer", facts("transfer", results=results), lines)


def profile_part() -> None:
    """Write the committed profile of this machine: only the part that applies to any bundle, without latency tables."""
    found = calibrate(subject(), Plan.of(subject(), lengths=LENGTHS, threads=(1, 2)))
    model = "-".join(re.findall(r"[a-z0-9]+", found.device.cpu_model.lower()))
    path = PROFILES / f"{model}-{found.device.cores}-cpus-{found.device.key}.json"
    path.unlink(missing_ok=True)
    save_measured(path, operators=found.operators)
    for costs in found.operators:
        error = f"{costs.error_median:.1%}" if costs.error_median is not None else "unknown"
        print(f"{path.name}: {costs.precision}, {costs.threads} threads, error on MiniLM-L6 {error}")


def roofline_part() -> None:
    """Measure how many times its floor a call takes, and how wide the estimate of this machine is."""
    board = boards()["amd-epyc-zen5-vcpu"]
    rows, results = [], []
    with pinned(1):
        for precision in ("fp32", "int8"):
            cells, milliseconds, floors = measured_and(
                subject(), precision, partial(board.roofline_ms, precision=precision)
            )
            ranges = [board.estimate_ms_of(floor, precision) for floor in floors]
            for length in (*LENGTHS, None):
                chosen = [place for place, (_, n) in enumerate(cells) if length in (n, None)]
                times = [milliseconds[place] / floors[place][0] for place in chosen]
                inside = [ranges[p][0] <= milliseconds[p] <= ranges[p][1] for p in chosen]
                middles = [(ranges[p][0] * ranges[p][1]) ** 0.5 / milliseconds[p] for p in chosen]
                rows.append(
                    [
                        f"{precision}, {f'{length} tokens' if length else '**all**'}",
                        f"{statistics.median(times):.2f}",
                        f"{float(np.percentile(times, 95)):.2f}",
                        f"{100 * sum(inside) / len(inside):.0f} %",
                        f"{statistics.median(middles):.2f}",
                    ]
                )
            results.append({"precision": precision, "milliseconds": milliseconds, "floors": floors})
    header = ("", "measured / floor, median", "p95", "measured within the range", "middle of the range / measured")
    lines = [
        f"### Roofline estimate of this machine (null: {', '.join(board.unknown)}) against measured calls; one thread",
        "",
        *table(header, rows),
    ]
    save("roofline", facts("roofline", results=results), lines)


def measured_and(bundle: Bundle, precision: str, predict: Any) -> tuple[list[Any], list[float], list[Any]]:
    """Return cells of the pool, their measured medians, and the prediction of `predict` from their operators."""
    entries = list(bundle.pool(precision).values())[:12]
    cells = [(entry.choice, length) for entry in entries for length in LENGTHS]
    inputs = {length: random_inputs(bundle, length) for length in LENGTHS}
    with contextlib.closing(ElasticSession(bundle, precision, threads=1)) as session:
        calls = {cell: partial(session.run, inputs[cell[1]], cell[0]) for cell in cells}
        times = interleave(calls, rounds=9)
    traced = trace(bundle, precision, cells, warm_up=False)
    predicted = [predict([one.operator for one in call]) for (call,) in traced]
    return cells, [statistics.median(times[cell]) for cell in cells], predicted


def pairs(one: Measured, other: Measured, bundle: Bundle) -> Iterator[tuple[float, float]]:
    """Give the medians of the pool's subnets at each length, in both."""
    for entry in bundle.pool(one.conditions.precision).values():
        yield from zip(one.subnet_ms(entry), other.subnet_ms(entry), strict=True)


@contextlib.contextmanager
def burning(count: int) -> Iterator[None]:
    """Run `count` processes that do nothing but take CPU."""
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(count)]
    time.sleep(0.5)
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def conditions(found: Calibration) -> list[dict[str, Any]]:
    """Return the measured conditions, without single calls and subnets."""
    kept = ("precision", "threads", "disturbed", "contention", "drift", "load_ms", "first_call_ratio", "memory", "gaps")
    return [{name: m.to_dict(found.bundle)[name] for name in kept} for m in found.measured]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format a table as Markdown."""
    return [
        "| " + " | ".join(header) + " |",
        "|---" * len(header) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


PARTS = {
    "bundles": make_bundles,
    "time": time_part,
    "error": error_part,
    "twice": twice_part,
    "hog": hog_part,
    "transfer": transfer_part,
    "profile": profile_part,
    "roofline": roofline_part,
}


def main() -> None:
    """Run the requested parts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device.calibration", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("parts", nargs="+", choices=PARTS)
    for part in parser.parse_args().parts:
        PARTS[part]()


if __name__ == "__main__":
    main()
