"""Cost of answering with another subnet than the last: nothing is loaded, so it should be zero.

    python -m benchmarks.graph.switch [--shape minilm-l6] [--lengths 16,64] [--rounds 2000]

One session of the elastic graph with DynaBERT's twelve uniform subnets, all of them run before. Each round draws two
subnets, runs one, then times two calls of the other: the first comes after another subnet, the second after the same.
Excess is the time over that subnet's median when it follows itself, in CPU time of the thread, so that no other process
on the core counts. One core, one thread, batch 1.
For comparison, in wall time: loading a dedicated graph (from the page cache, packed at load) and getting its first
answer.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tqdm import tqdm

from benchmarks.graph.elastic import POOLS, runner
from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, Inputs, random_weights, write_graph
from benchmarks.report import save
from gearshift.export.graph.segments import Array
from gearshift.runtime.profiles.timing import WARM_UP, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_grid

LOADS = 5
"""Number of times that each dedicated graph is loaded."""


@dataclass(frozen=True)
class Row:
    """A granularity, precision and length; times in ms."""

    granularity: str
    precision: str
    tokens: int
    calls: int
    """Number of timed calls after another subnet, and of those after the same."""
    same_p50: float
    same_p99: float
    """Excess of calls after the same subnet: the machine's own noise."""
    other_p50: float
    other_p99: float
    """Excess of calls after another subnet."""
    first_answer: float
    """Median time of a call after another subnet, mean over the subnets."""
    load_and_answer: float
    """Median time to load the dedicated graph of a subnet and get its first answer, mean over the subnets."""


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.switch", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--lengths", default="16,64", help="tokens")
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    cores = pin()
    shape, lengths = SHAPES[options.shape], [int(text) for text in options.lengths.split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for precision in ("fp32", "int8"):
            rows += measure(shape, precision, lengths, options.rounds, Path(scratch))
    facts = {
        "command": f"python -m benchmarks.graph.switch --shape {options.shape} --lengths {options.lengths} "
        f"--rounds {options.rounds}",
        "cores": cores,
        "threads": 1,
        "batch": 1,
        "loads": LOADS,
        "rows": [asdict(row) for row in rows],
    }
    save(f"switch-{options.shape}", facts, table(rows, options.shape))


def measure(shape: EncoderShape, precision: str, lengths: list[int], rounds: int, folder: Path) -> list[Row]:
    """Measure a row per granularity and length."""
    weights, grid = random_weights(shape), uniform_grid(shape, **POOLS["uniform"])
    dedicated = {
        name: write_graph(folder / f"{name}.onnx", weights, cut_space(shape, [subnet], shape.layers), precision)
        for name, subnet in grid.items()
    }
    loading = {tokens: load_and_answer(shape, dedicated, tokens) for tokens in lengths}
    rows = []
    for granularity, layers in (("layer", 1), ("pool", shape.layers)):
        space = cut_space(shape, list(grid.values()), layers)
        session = our_session(write_graph(folder / "elastic.onnx", weights, space, precision))
        for tokens in lengths:
            inputs = Inputs.of_length(shape, tokens).arrays
            calls = {name: runner(session, inputs, space.choice(subnet)) for name, subnet in grid.items()}
            same, other = alternate(calls, rounds, f"{precision}, {granularity}, {tokens} tokens")
            usual = {name: statistics.median(times) for name, times in same.items()}
            quiet, switched = (
                [time - usual[name] for name, times in found.items() for time in times] for found in (same, other)
            )
            first = statistics.mean(statistics.median(times) for times in other.values())
            rows.append(
                Row(
                    granularity,
                    precision,
                    tokens,
                    rounds,
                    same_p50=float(np.percentile(quiet, 50)),
                    same_p99=float(np.percentile(quiet, 99)),
                    other_p50=float(np.percentile(switched, 50)),
                    other_p99=float(np.percentile(switched, 99)),
                    first_answer=first,
                    load_and_answer=loading[tokens],
                )
            )
    return rows


def alternate(
    calls: Mapping[str, Callable[[], object]], rounds: int, what: str
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Measure the CPU milliseconds of calls of each subnet after itself, and after another."""
    for call in calls.values():  # from here on all of them are resident
        for _ in range(WARM_UP):
            call()
    source = random.Random(0)
    same: dict[str, list[float]] = {name: [] for name in calls}
    other: dict[str, list[float]] = {name: [] for name in calls}
    for _ in tqdm(range(rounds), desc=what, disable=None):
        before, name = source.sample(list(calls), 2)
        calls[before]()
        other[name].append(timed(calls[name], time.thread_time_ns))
        same[name].append(timed(calls[name], time.thread_time_ns))
    return same, other


def timed(call: Callable[[], object], clock: Callable[[], int] = time.perf_counter_ns) -> float:
    """Measure the milliseconds of one call, by a clock of nanoseconds."""
    began = clock()
    call()
    return (clock() - began) / 1e6


def load_and_answer(shape: EncoderShape, paths: Mapping[str, Path], tokens: int) -> float:
    """Measure the milliseconds until a dedicated graph is loaded and has answered: medians of LOADS, their mean."""
    inputs: dict[str, Array] = Inputs.of_length(shape, tokens).arrays

    def once(path: Path) -> Callable[[], object]:
        def load_and_run() -> ort.InferenceSession:
            session = our_session(path)
            runner(session, inputs, (0,))()
            return session

        return load_and_run

    return statistics.mean(statistics.median(timed(once(path)) for _ in range(LOADS)) for path in paths.values())


def table(rows: list[Row], shape: str) -> list[str]:
    """Format a row each, in ms, as Markdown."""
    lines = [
        f"### {shape}: a call after another subnet against one after the same, CPU ms",
        "",
        "| precision, stage, tokens | same: excess p50 / p99 | other: excess p50 / p99 | switch costs p50 / p99 "
        "| first answer after a switch | load a dedicated graph and answer |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"{row.precision}, {row.granularity}, {row.tokens}",
            f"{row.same_p50:.3f} / {row.same_p99:.3f}",
            f"{row.other_p50:.3f} / {row.other_p99:.3f}",
            f"{row.other_p50 - row.same_p50:.3f} / {row.other_p99 - row.same_p99:.3f}",
            f"{row.first_answer:.1f}",
            f"{row.load_and_answer:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
