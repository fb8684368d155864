"""Plots of a served stream over time: load, subnet and latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # a file, no window

import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from examples.demo.overload import Asked, Phase
from examples.demo.serve import Plan, Served

BIN_S = 0.5


def plot_timeline(path: Path, served: Sequence[Served], plan: Plan, subnets: Sequence[str]) -> None:
    """Write a PNG; `subnets` are the names from smallest to largest."""
    times = [one.arrived_s for one in served]
    figure, (load, subnet, latency) = plt.subplots(
        3, 1, sharex=True, figsize=(11, 8), height_ratios=[1, 2, 2], layout="constrained"
    )
    for axes in (load, subnet, latency):
        for start, end in _loaded_spans(plan):
            axes.axvspan(start, end, color="tab:orange", alpha=0.15, linewidth=0)
        axes.grid(alpha=0.3)
    load.plot(times, [one.slow_down for one in served], color="tab:red", linewidth=1)
    load.set_ylabel("slow-down")
    load.set_title(f"gearshift under load: {plan.burners} busy processes in the shaded times")
    used = [name for name in subnets if any(one.subnet == name for one in served)]
    subnet.scatter(times, [used.index(one.subnet) for one in served], s=6, color="tab:blue")
    subnet.set_yticks(range(len(used)), used)
    subnet.set_ylabel("subnet")
    for met, colour, label in ((True, "tab:green", "in time"), (False, "tab:red", "late")):
        chosen = [one for one in served if one.met == met]
        latency.scatter(
            [one.arrived_s for one in chosen], [one.latency_ms for one in chosen], s=6, color=colour, label=label
        )
    latency.axhline(plan.deadline_ms, color="black", linestyle="--", linewidth=1, label="deadline")
    latency.set_yscale("log")
    for axis_formatter in (latency.yaxis.set_major_formatter, latency.yaxis.set_minor_formatter):
        axis_formatter("{x:g}")  # 6, not 6 x 10^0
    latency.set_ylabel("latency, ms")
    latency.set_xlabel("seconds")
    latency.legend(loc="upper right", ncols=3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _loaded_spans(plan: Plan) -> list[tuple[float, float]]:
    period = plan.load.off_s + plan.load.on_s
    starts = [plan.load.off_s + period * index for index in range(int(plan.seconds // period) + 1)]
    return [(start, min(start + plan.load.on_s, plan.seconds)) for start in starts if start < plan.seconds]


def plot_surge(path: Path, streams: Mapping[str, Sequence[Asked]], phases: Sequence[Phase]) -> None:
    """Write a PNG by half second: requests, deadlines met, and the share of each subnet in the answers of the last
    stream."""
    figure, (rate, met, used) = plt.subplots(
        3, 1, sharex=True, figsize=(11, 8), height_ratios=[1, 2, 2], layout="constrained"
    )
    edges = np.arange(0, sum(phase.seconds for phase in phases) + BIN_S, BIN_S)
    middles = (edges[:-1] + edges[1:]) / 2
    for name, asked in streams.items():
        met.plot(middles, _shares(asked, [one.met for one in asked], edges), label=name)
    rate.plot(middles, np.histogram([one.arrives_s for one in asked], edges)[0] / BIN_S, color="tab:red")
    names = list(dict.fromkeys(one.subnet for one in asked if one.subnet))
    shares = [_shares(asked, [one.subnet == subnet for one in asked], edges) for subnet in names]
    used.stackplot(middles, shares, labels=names)
    for axes, label in ((met, "deadlines met, %"), (used, f"answered by, %, {name}")):
        axes.set_ylabel(label)
        axes.set_ylim(0, 102)
        axes.legend(loc="lower right", ncols=4)
    for axes in (rate, met, used):
        end = phases[0].seconds + phases[1].seconds
        axes.axvspan(phases[0].seconds, end, color="tab:orange", alpha=0.15, linewidth=0)
        axes.grid(alpha=0.3)
    rate.set_ylabel("requests / s")
    rate.set_title("gearshift when more comes than the smallest subnet can serve (shaded)")
    used.set_xlabel("seconds")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _shares(asked: Sequence[Asked], flags: Sequence[bool], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the percentage of requests with a flag between each two edges."""
    times = [one.arrives_s for one in asked]
    counts = np.histogram(times, edges)[0]
    shares: NDArray[np.float64] = np.histogram(times, edges, weights=np.array(flags, float))[0] / np.maximum(counts, 1)
    return 100 * shares
