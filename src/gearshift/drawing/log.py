"""Plot of a decision log: latency, deadlines, subnet and load over time, and the distribution of latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gearshift.drawing.figure import check_format, plt, save_figure, show_milliseconds
from gearshift.errors import DataError
from gearshift.runtime.serving.decision_log import LoggedRun
from gearshift.runtime.serving.record import RequestRecord

BINS = 40
"""Number of equal parts of the time over which shares of deadlines are taken."""

PAUSE_S = 5.0
"""Longest time in seconds without a request that a line is drawn across."""


def plot_log(runs: Sequence[LoggedRun], path: Path) -> int:
    """Write the plot as PNG or SVG by the name's suffix; return the number of requests in it.

    Raises DataError for a log without an answered request, InputError for an unknown format, StorageError.
    """
    check_format(path)
    records = sorted((record for run in runs for record in run.records), key=lambda record: record.time)
    answered = [record for record in records if record.latency_ms is not None]
    if not answered:
        raise DataError("expected a decision log with answered requests, found none")
    figure = plt.figure(figsize=(11, 11), layout="constrained")
    grid = figure.add_gridspec(5, 1, height_ratios=[2, 1, 2, 1.2, 1.8])
    latency = figure.add_subplot(grid[0])
    met, subnet, load = (figure.add_subplot(grid[row], sharex=latency) for row in (1, 2, 3))
    start = records[0].time
    _draw_latency(latency, answered, start)
    _draw_met(met, records, start)
    _draw_subnets(subnet, answered, start, _by_accuracy(runs))
    _draw_load(load, answered, start)
    _draw_distribution(figure.add_subplot(grid[4]), answered)
    latency.set_title(f"{len(records)} requests", loc="left")
    load.set_xlabel("seconds")
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    for axes in (latency, met, subnet):
        axes.tick_params(labelbottom=False)
    save_figure(figure, path)
    return len(records)


def shares_in_time(records: Sequence[RequestRecord], start: float) -> tuple[list[float], list[float]]:
    """Return the middle in seconds of each part of the time, and the share of its deadlines that was met.

    A request without an answer counts as a missed deadline. Parts without a deadline are left out.
    """
    given = [record for record in records if record.deadline_ms is not None]
    width = max((given[-1].time - start) / BINS, 1e-9) if given else 1.0
    parts: dict[int, list[bool]] = {}
    for record in given:
        parts.setdefault(min(int((record.time - start) / width), BINS - 1), []).append(record.met is True)
    return [(part + 0.5) * width for part in parts], [sum(ends) / len(ends) for ends in parts.values()]


def _draw_latency(axes: Any, records: Sequence[RequestRecord], start: float) -> None:
    for outcomes, colour, label in (
        (("in_time", "no_deadline"), "tab:green", "in time, or no deadline"),
        (("late",), "tab:red", "late"),
    ):
        chosen = [record for record in records if record.outcome in outcomes]
        if chosen:
            axes.scatter(
                [record.time - start for record in chosen],
                [record.latency_ms for record in chosen],
                s=6,
                color=colour,
                label=label,
            )
    given = [record for record in records if record.deadline_ms is not None]
    if given:
        times, deadlines = _with_gaps([(record.time - start, float(record.deadline_ms or 0)) for record in given])
        axes.plot(times, deadlines, color="black", linestyle="--", linewidth=1, label="deadline")
    show_milliseconds(axes.yaxis, axes.set_yscale)
    axes.set_ylabel("latency, ms")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)  # above: late ones stay in sight


def _draw_met(axes: Any, records: Sequence[RequestRecord], start: float) -> None:
    times, shares = shares_in_time(records, start)
    axes.plot(times, [100 * share for share in shares], color="tab:green", marker=".", linewidth=1)
    axes.set_ylim(-5, 105)
    axes.set_ylabel("in time, %")


def _draw_subnets(axes: Any, records: Sequence[RequestRecord], start: float, order: Sequence[str]) -> None:
    used = [name for name in order if any(record.subnet == name for record in records)]
    chosen = [record for record in records if record.subnet in used]
    axes.scatter(
        [record.time - start for record in chosen], [used.index(record.subnet or "") for record in chosen], s=6
    )
    axes.set_yticks(range(len(used)), used)
    axes.set_ylim(-0.5, len(used) - 0.5)
    axes.set_ylabel("subnet")


def _draw_load(axes: Any, records: Sequence[RequestRecord], start: float) -> None:
    known = [(record.time - start, record.slow_down) for record in records if record.slow_down is not None]
    axes.plot(*_with_gaps(known), color="tab:red", linewidth=1)
    axes.set_ylabel("slow-down", color="tab:red")
    others = [(one.time - start, one.signals["others_cpu"]) for one in records if "others_cpu" in one.signals]
    if others:
        beside = axes.twinx()
        beside.plot(*_with_gaps([(at, 100 * share) for at, share in others]), color="tab:blue", linewidth=1, alpha=0.6)
        beside.set_ylim(-5, 105)
        beside.set_ylabel("CPU of others, %", color="tab:blue")


def _draw_distribution(axes: Any, records: Sequence[RequestRecord]) -> None:
    latencies = sorted(record.latency_ms for record in records if record.latency_ms is not None)
    shares = [100 * (rank + 1) / len(latencies) for rank in range(len(latencies))]
    axes.step(latencies, shares, where="post", color="tab:blue")
    for share in (0.5, 0.99):
        value = latencies[math.ceil(share * len(latencies)) - 1]
        axes.axvline(value, color="black", linestyle=":", linewidth=1)
        axes.annotate(f"p{100 * share:.0f} {value:.3g} ms", (value, 8), xytext=(3, 0), textcoords="offset points")
    show_milliseconds(axes.xaxis, axes.set_xscale)
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("requests, %")


def _with_gaps(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Return the points as two columns, with a break at each long pause."""
    times: list[float] = []
    values: list[float] = []
    for at, value in points:
        if times and at - times[-1] > PAUSE_S:
            times.append(at)
            values.append(math.nan)
        times.append(at)
        values.append(value)
    return times, values


def _by_accuracy(runs: Sequence[LoggedRun]) -> list[str]:
    accuracies = {name: value for run in runs for name, value in run.header.accuracies.items()}
    return sorted(accuracies, key=lambda name: accuracies[name])
