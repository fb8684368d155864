"""The timeline of a served stream: load, subnet and latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # a file, no window

from matplotlib import pyplot as plt

from examples.demo.serve import Plan, Served


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
