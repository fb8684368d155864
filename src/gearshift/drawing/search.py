"""Plots of searches: losses of stages, losses over size, summed against measured loss, shrinking buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gearshift.drawing.figure import check_format, plt, save_figure

if TYPE_CHECKING:
    from gearshift.runtime.space.blocks import Block, BlockShape
    from gearshift.runtime.tables.latency import LatencyPredictor
    from gearshift.runtime.tables.tables import Tables
    from gearshift.trainer.search.search import SearchReport


TOKENS = 64
"""Length in tokens of the text whose latency is drawn."""


def plot_search(report: SearchReport, path: Path, devices: Mapping[str, LatencyPredictor] | None = None) -> None:
    """Plot the block tables of a supernet and its pool, as PNG or SVG by the name's suffix.

    With latencies, the pool is also drawn over those of the first of `devices`.
    """
    check_format(path)
    columns = 3 if devices else 2
    figure, grid = plt.subplots(2, columns, figsize=(6 * columns, 9), layout="constrained")
    (options, sums), (size, metric) = grid[:, :2]
    _draw_options(options, report)
    _draw_sums(sums, [(one.summed_loss, one.loss) for one in report.pool if one.summed_loss is not None])
    uniform = [one.name.startswith("w") for one in report.pool]
    parameters = [one.parameters / 1e6 for one in report.pool]
    for axes, values, label in (
        (size, [one.loss for one in report.pool], "measured loss, dev rows"),
        (metric, [one.accuracy for one in report.pool], f"{report.metric}, test rows"),
    ):
        _scatter(axes, parameters, values, uniform)
        axes.set(xlabel="parameters, millions", ylabel=label)
    size.set_title(f"pool of {len(report.pool)}", loc="left")
    if devices:
        name, device = next(iter(devices.items()))
        times = [device.predict(one.subnet, TOKENS) for one in report.pool]
        for axes, values, label in (
            (grid[0, 2], [one.loss for one in report.pool], "measured loss, dev rows"),
            (grid[1, 2], [one.accuracy for one in report.pool], f"{report.metric}, test rows"),
        ):
            _scatter(axes, times, values, uniform)
            axes.set(xlabel=f"summed latency of {TOKENS} tokens, ms", ylabel=label)
        grid[0, 2].set_title(name, loc="left")
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def _draw_options(axes: Any, report: SearchReport) -> None:
    """Draw the loss increase of every option, stage by stage: the same option of all stages is one line."""
    tables = report.tables
    for option in tables.space.stages[0].options:
        places, losses = [], []
        for number, (stage, rows) in enumerate(zip(tables.space.stages, tables.rows, strict=True)):
            if option in stage.options:
                places.append(number)
                losses.append(rows[stage.options.index(option)].loss)
        kept = ", ".join("skipped" if not heads else f"{heads} heads, {n} neurons" for heads, n in option.layers)
        axes.plot(places, losses, marker="o", markersize=4, label=kept)
    axes.set(xlabel="stage", ylabel="loss increase of the option alone")
    axes.set_xticks(range(len(tables.rows)))
    axes.legend(fontsize=7)
    axes.set_title("block tables", loc="left")


def _draw_sums(axes: Any, pairs: list[tuple[float, float]]) -> None:
    summed, measured = (np.array(values) for values in zip(*pairs, strict=True))
    axes.scatter(measured, summed, s=14)
    ends = [min(measured.min(), summed.min()), max(measured.max(), summed.max())]
    axes.plot(ends, ends, color="tab:grey", linewidth=1, label="equal")
    axes.set(xlabel="measured loss", ylabel="summed loss")
    axes.set_title("summed against measured", loc="left")
    axes.legend(fontsize=7)


def _scatter(axes: Any, sizes: list[float], values: list[float], uniform: list[bool]) -> None:
    for chosen, colour, label in ((False, "tab:blue", "found"), (True, "tab:orange", "uniform")):
        places = [place for place, flag in enumerate(uniform) if flag == chosen]
        if places:
            axes.scatter([sizes[p] for p in places], [values[p] for p in places], s=18, color=colour, label=label)
    axes.legend(fontsize=7)


def plot_blocks(
    tables: Tables[Block, BlockShape],
    history: Sequence[Sequence[dict[str, Any]]],
    path: Path,
    latency: LatencyPredictor[Block] | None = None,
) -> None:
    """Plot the buckets of each stage while they shrink, and the losses of the remaining blocks over their sizes, and
    over latencies if a device is given; as PNG or SVG by the name's suffix."""
    check_format(path)
    rows_of_panels, width = 2 if latency is None else 3, len(history)
    size = (4.5 * width, 4 * rows_of_panels)
    figure, grid = plt.subplots(rows_of_panels, width, figsize=size, layout="constrained", squeeze=False)
    for number, (rounds, rows) in enumerate(zip(history, tables.rows, strict=True)):
        _draw_buckets(grid[0][number], rounds)
        grid[0][number].set_title(f"stage {number}: {rounds[0]['blocks']} blocks, {len(rows)} left", loc="left")
        blocks = list(tables.space.options_of(number))
        sizes = [row.parameters / 1e6 for row in rows]
        panels = [(grid[1][number], sizes, "parameters of a block, millions")]
        if latency is not None:
            times = [latency.layers((block,), TOKENS, first=number, of=width) for block in blocks]
            panels.append((grid[2][number], times, f"latency of a block, {TOKENS} tokens, ms"))
        hidden = [block.hidden for block in blocks]
        for axes, values, label in panels:
            points = axes.scatter(values, [row.loss for row in rows], c=hidden, cmap="viridis", s=18)
            axes.set(xlabel=label, ylabel="error / variance of the teacher's states")
            figure.colorbar(points, ax=axes, label="hidden size")
    for axes in grid.flat:
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def _draw_buckets(axes: Any, rounds: Sequence[dict[str, Any]]) -> None:
    """Draw the number of blocks of each bucket before shrinking and after each deletion."""
    colours = plt.get_cmap("viridis")(np.linspace(0, 1, len(rounds)))
    for number, (each, colour) in enumerate(zip(rounds, colours, strict=True)):
        axes.plot(range(len(each["buckets"])), each["buckets"], marker="o", markersize=3, color=colour, label=number)
    axes.set_yscale("log")
    axes.set(xlabel="bucket, smallest blocks first", ylabel="blocks alive")
    axes.legend(fontsize=6, title="deletions", title_fontsize=6)
