"""Accuracy of summed latencies as predictions for whole subnets: `runtime.tables.layer_latency` on random subnets.

    python -m benchmarks.device.latency_sums [--shape minilm-l6] [--precision fp32,int8] [--random 200] [--fitted 24]

One graph with a stage per layer holds every mix of the layers' options (random weights). The sums are fitted to
DynaBERT's uniform subnets and random ones, `--fitted` together, as on a device that has measured its pool; the errors
are those of `--random` others, at 16, 64 and 128 tokens.
All run in turns, pinned to one core, batch 1, one thread; figures are medians.
For comparison there is the fit to all of them, whose remaining error is noise or not a sum of layers at all; and the
noise itself: medians of odd rounds against medians of even ones.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from benchmarks.graph.elastic import runner
from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, Inputs, random_weights, write_graph
from benchmarks.report import RESULTS, markdown, save
from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.profiles.timing import interleave, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.runtime.tables.layer_latency import LayerLatency, fit_layer_latency
from gearshift.trainer.search.search import search_space

LENGTHS = (16, 64, 128)
WIDTHS = (1.0, 0.75, 0.5, 0.25)


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device.latency_sums", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--random", type=int, default=200)
    parser.add_argument("--fitted", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    cores = pin(1)
    shape = SHAPES[options.shape]
    space = search_space(shape, WIDTHS, 1)
    fitted, others = draw(space, options.fitted, options.random)
    rows, drawn = [], []
    for precision in options.precision.split(","):
        times = measure(shape, space, {**fitted, **others}, precision, options.rounds)
        row, predicted = judge(shape, fitted, others, times, precision)
        rows.append(row)
        drawn.append((precision, predicted))
    facts = {
        "command": f"python -m benchmarks.device.latency_sums --shape {options.shape} --random {options.random} "
        f"--fitted {options.fitted} --rounds {options.rounds}",
        "cores": cores,
        "threads": 1,
        "batch": 1,
        "rounds": options.rounds,
        "rows": rows,
    }
    header = ("precision", "error: median", "p95", "16 / 64 / 128 tokens, median", "fit of all: median", "p95", "noise")
    lines = [
        f"### {options.shape}: summed against measured latency, {options.random} random subnets x 3 lengths",
        "",
        f"Fitted to {options.fitted} other measured subnets.",
        "",
        *markdown(
            header,
            [
                (
                    row["precision"],
                    _percent(row["median"]),
                    _percent(row["p95"]),
                    " / ".join(_percent(value) for value in row["by_length"]),
                    _percent(row["all_median"]),
                    _percent(row["all_p95"]),
                    _percent(row["noise"]),
                )
                for row in rows
            ],
        ),
    ]
    save(f"latency-sums-{options.shape}", facts, lines)
    plot(drawn, RESULTS / f"latency-sums-{options.shape}.png")


def draw(space: Space, fitted: int, others: int) -> tuple[dict[str, Subnet], dict[str, Subnet]]:
    """Return the uniform subnets completed by random ones, and other random ones; none twice."""
    source = random.Random(0)
    found = {**uniform_grid(space.shape)}
    while len(found) < fitted + others:
        layers = tuple(source.choice(stage.options).layers[0] for stage in space.stages)
        if any(heads for heads, _ in layers) and Subnet(layers) not in found.values():
            found[f"random{len(found)}"] = Subnet(layers)
    names = list(found)
    return {name: found[name] for name in names[:fitted]}, {name: found[name] for name in names[fitted:]}


Measured = dict[str, tuple[tuple[float, ...], ...]]
"""Name -> for each length the milliseconds of every round."""


def measure(shape: EncoderShape, space: Space, subnets: dict[str, Subnet], precision: str, rounds: int) -> Measured:
    """Measure every subnet at every length, in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        session = our_session(write_graph(Path(scratch) / "elastic.onnx", random_weights(shape), space, precision))
        inputs = {tokens: Inputs.of_length(shape, tokens).arrays for tokens in LENGTHS}
        calls: dict[tuple[str, int], Callable[[], object]] = {
            (name, tokens): runner(session, inputs[tokens], space.choice(subnet))
            for name, subnet in subnets.items()
            for tokens in LENGTHS
        }
        raw = interleave(calls, rounds=rounds, warm_up=1)
    return {name: tuple(tuple(raw[name, tokens]) for tokens in LENGTHS) for name in subnets}


def relative_errors(
    fitted: LayerLatency, subnets: Mapping[str, Subnet], table: LatencyTable, names: Collection[str]
) -> list[float]:
    """Return |predicted / measured - 1| of these subnets at every length of the table."""
    return [
        abs(fitted.predict(subnets[name], length) / measured - 1)
        for name in names
        for length, measured in zip(table.lengths, table.median_ms[name], strict=True)
    ]


def judge(
    shape: EncoderShape, fitted: dict[str, Subnet], others: dict[str, Subnet], times: Measured, precision: str
) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Return the errors, and (measured, predicted) of every subnet and length."""
    every = {**fitted, **others}
    table = table_of(times, precision)
    fit = partial(fit_layer_latency, shape, every, table)
    few, whole = fit(only=fitted), fit(only=every)
    errors = relative_errors(few, every, table, others)
    best = relative_errors(whole, every, table, others)
    odd, even = (np.array([[np.median(runs[part::2]) for runs in times[n]] for n in others]) for part in (0, 1))
    row = {
        "precision": precision,
        "median": float(np.median(errors)),
        "p95": float(np.percentile(errors, 95)),
        "by_length": [float(np.median(errors[place :: len(LENGTHS)])) for place in range(len(LENGTHS))],
        "all_median": float(np.median(best)),
        "all_p95": float(np.percentile(best, 95)),
        "noise": float(np.median(np.abs(odd / even - 1))),
    }
    return row, pairs(few, others, table)


def pairs(fit: LayerLatency, subnets: dict[str, Subnet], table: LatencyTable) -> list[tuple[float, float]]:
    """Return (measured, predicted) milliseconds."""
    return [
        (measured, fit.predict(subnet, length))
        for name, subnet in subnets.items()
        for length, measured in zip(table.lengths, table.median_ms[name], strict=True)
    ]


def table_of(times: Measured, precision: str) -> LatencyTable:
    """Return the medians as a device's latency table."""
    medians = {name: tuple(float(np.median(runs)) for runs in columns) for name, columns in times.items()}
    runs = min(len(column) for columns in times.values() for column in columns)
    return LatencyTable(
        "00" * 32, precision, "CPUExecutionProvider", 1, LENGTHS, medians, medians, runs, "in turns", "2026-01-31"
    )


def plot(drawn: Sequence[tuple[str, Sequence[tuple[float, float]]]], path: Path) -> None:
    """Plot predicted against measured, one panel a precision; the lengths take turns."""
    figure, grid = plt.subplots(1, len(drawn), figsize=(5.5 * len(drawn), 5), layout="constrained", squeeze=False)
    for axes, (precision, points) in zip(grid[0], drawn, strict=True):
        measured, predicted = (np.array(values) for values in zip(*points, strict=True))
        for place, tokens in enumerate(LENGTHS):
            part = slice(place, None, len(LENGTHS))
            axes.scatter(measured[part], predicted[part], s=8, label=f"{tokens} tokens")
        ends = [measured.min(), measured.max()]
        axes.plot(ends, ends, color="tab:grey", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="measured ms", ylabel="summed ms", title=precision)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
