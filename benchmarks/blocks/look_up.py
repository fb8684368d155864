"""Time to find the best subnets under a new constraint: one, and several.

    python -m benchmarks.blocks.look_up [TABLES ...] [--profile FILE --operations BUNDLE]

TABLES are `tables.json` files of `gearshift search` (limits on parameters, bytes and multiply-accumulates at once) or
of `gearshift nas-search` (a limit on parameters; with a device one on its latency too).
Besides, 200 random spaces of 12 stages x 5 options under one to four limits, whose stages are nearly alike, as the
layers of an encoder are, or are not. One thread; CPU times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import markdown, save
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.profiles.timing import pin
from gearshift.runtime.space.blocks import Block, BlockShape
from gearshift.runtime.tables.from_profile import latency_at
from gearshift.runtime.tables.knapsack import Problem, best_choices
from gearshift.runtime.tables.latency import LatencyPredictor
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.tables import Tables
from gearshift.runtime.tables.tables_file import load_tables

COUNTS = (1, 5, 20, 100)
LIMITS = 100
SPACES = 200
EMBEDDING = 128
"""Width of the word table of mixed nets."""


def main() -> None:
    """Measure, print the table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocks.look_up", description=__doc__.split("\n", 1)[0])
    parser.add_argument("tables", nargs="*", type=Path, metavar="TABLES")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="device profile with the times of --operations")
    parser.add_argument("--operations", type=Path, metavar="BUNDLE", help="bundle of `gearshift nas-operations`")
    options = parser.parse_args()
    pin(1)
    device = None
    if options.profile is not None:
        device = latency_at(options.profile, open_bundle(options.operations), "fp32")
    spaces: dict[str, Callable[[int], list[float]]] = {"12 stages x 5 options": look_up_large}
    for path in options.tables:
        spaces |= of_file(path, device)
    found = {name: {count: times_of(timed(count)) for count in COUNTS} for name, timed in spaces.items()}
    lines = [
        "### Milliseconds of a look-up: median, 95th percentile and largest",
        "",
        *markdown(
            ("", *("the best" if count == 1 else f"the best {count}" for count in COUNTS)),
            [
                (name, *(f"{t['median']:.1f}, {t['p95']:.1f}, {t['largest']:.1f}" for t in times.values()))
                for name, times in found.items()
            ],
        ),
    ]
    flags = "" if device is None else " --profile FILE --operations BUNDLE"
    save("look-up", {"command": f"python -m benchmarks.blocks.look_up TABLES ...{flags}", "cpu_ms": found}, lines)


def of_file(path: Path, device: LatencyPredictor[Block] | None) -> dict[str, Callable[[int], list[float]]]:
    """Return description of a file's content -> function that times look-ups in it."""
    tables = load_tables(path)
    if tables.space.shape.kind == BlockShape.kind:
        sizes = " + ".join(str(len(stage)) for stage in tables.rows)
        name = f"{path.parent.name}: blocks of mixed operations, {sizes}"
        timed = {name: lambda count: look_up_mixed(tables, count)}
        if device is not None:
            timed[f"{name}, a limit on latency"] = lambda count: look_up_mixed(tables, count, device)
        return timed
    sizes = " x ".join(str(len(stage)) for stage in tables.rows)
    return {f"{path.parent.name}: options of stages, {sizes}": lambda count: look_up(tables, count)}


def look_up(tables: Tables, count: int = 1) -> list[float]:
    """Measure the milliseconds of look-ups under limits on parameters, bytes and MACs at once."""
    full = tables.estimate((0,) * len(tables.rows))
    took = []
    for share in np.linspace(0.3, 1, LIMITS):
        weights = tables.fixed.parameters + share * (full.parameters - tables.fixed.parameters)
        limits = Limits(parameters=weights, bytes=4.1 * weights, macs=share * full.macs)
        took.append(_took(partial(tables.best, limits, count=count)))
    return took


def look_up_mixed(
    tables: Tables[Block, BlockShape], count: int, device: LatencyPredictor[Block] | None = None
) -> list[float]:
    """Measure the milliseconds of look-ups under a limit on parameters, or on the latency on a device."""
    shape = tables.space.shape.alone(EMBEDDING)
    sizes = [[row.parameters for row in stage] for stage in tables.rows]
    choices = [tuple(int(choose(stage)) for stage in sizes) for choose in (np.argmin, np.argmax)]
    ends = [tables.estimate(choice, latency=device, shape=shape) for choice in choices]
    least, most = (one.parameters if one.latency_ms is None else one.latency_ms for one in ends)
    limits = [
        Limits(parameters=float(limit)) if device is None else Limits(latency_ms=float(limit))
        for limit in np.geomspace(1.1 * least, most, LIMITS)
    ]
    return [_took(partial(tables.best, limit, device, shape=shape, count=count)) for limit in limits]


def look_up_large(count: int = 1) -> list[float]:
    """Measure the milliseconds of look-ups in 12 stages x 5 options under one to four limits, stages alike and
    unlike."""
    return [_took(partial(best_choices, _random(seed), count)) for seed in range(SPACES)]


def _random(seed: int) -> Problem:
    source = np.random.default_rng(seed)
    costs = 1 + seed % 4
    losses = [source.exponential(size=5) for _ in range(12)]
    prices = [source.random((5, costs)) for _ in range(12)]
    if seed % 8 < 4:  # nearly equal stages, as the layers of one encoder are
        losses = [losses[0] * np.exp(0.02 * source.standard_normal(5)) for _ in range(12)]
        prices = [prices[0]] * 12
    least, most = (np.sum([getattr(price, edge)(axis=0) for price in prices], axis=0) for edge in ("min", "max"))
    return Problem(tuple(losses), tuple(prices), least + (most - least) * source.uniform(0.25, 0.75, costs))


def _took(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def times_of(values: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and largest."""
    return {
        "median": float(np.median(values)),
        "p95": float(np.percentile(values, 95)),
        "largest": max(values),
    }


if __name__ == "__main__":
    main()
