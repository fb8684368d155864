"""Table and plot of streams that really ran under several policies."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt

from benchmarks.device.contention import CROWDED, HALF, QUARTER, SECOND, STATES, Spell
from benchmarks.serving.days import OURS
from benchmarks.serving.live_outcome import STATIC, Interval, Row, best_fixed
from benchmarks.serving.live_stream import DROPPED, Served

matplotlib.use("Agg")  # a file, no window

COLOURS = dict(
    zip(
        (*STATES, CROWDED, SECOND, HALF, QUARTER),
        ("white", "tab:orange", "tab:blue", "tab:red", "tab:brown", "tab:green", "tab:gray", "tab:purple"),
        strict=True,
    )
)


def table(rows: Sequence[Row], deadline_ms: float, seconds: float, meaning: str) -> list[str]:
    """Format a row per policy, the best first, as Markdown; and the engine's lead over each, by state.

    `meaning`: meaning of the score of an answer.
    """
    states = [state for state in COLOURS if state in rows[0].goodput]
    lines = [
        f"### deadline {deadline_ms:.1f} ms, {rows[0].requests} requests in {seconds:g} s under each policy",
        "",
        f"| policy | right and in time | in time | right | dropped | {' | '.join(states)} | p50 ms | p99 ms "
        "| switches / min |",
        "|---" * (8 + len(states)) + "|",
    ]
    for one in rows:
        shares = [one.met, one.score, one.dropped]
        cells = [_share(one.goodput[""]), *(f"{100 * share:.1f} %" for share in shares)]
        cells += [_share(one.goodput[state]) for state in states]
        cells += [f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{one.switches_per_minute:.0f}"]
        lines.append(f"| {one.policy} | {' | '.join(cells)} |")
    lines += ["", f"Right: {meaning}. The columns by state of the other work give what was right and in time.", ""]
    lines += [f"| in time | all | {' | '.join(states)} |", "|---" * (2 + len(states)) + "|"]
    for one in rows:
        shares = [one.met, *(one.met_in[state] for state in states)]
        lines.append(f"| {one.policy} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |")
    lines += ["", f"| the engine ahead of, in points | all | {' | '.join(states)} |", "|---" * (2 + len(states)) + "|"]
    for one in rows:
        if one.policy != OURS:
            lines.append(f"| {one.policy} | {' | '.join(_points(one.ahead[state]) for state in ('', *states))} |")
    if best := best_fixed(rows):
        cells = [f"{_points(best[state].ahead[state])}, {best[state].policy.removeprefix(STATIC)}" for state in states]
        overall = best[""]
        cells = [f"{_points(overall.ahead[''])}, {overall.policy.removeprefix(STATIC)}", *cells]
        lines.append(f"| **the best single subnet of all, and of each state, in hindsight** | {' | '.join(cells)} |")
    return [*lines, "", "In brackets 95 % intervals: slices drawn again, for differences paired."]


def _share(found: Interval) -> str:
    value, low, high = (100 * one for one in found)
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def _points(found: Interval) -> str:
    value, low, high = (100 * one for one in found)
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def plot(
    path: Path, served: Mapping[str, Sequence[Served]], spells: tuple[Spell, ...], deadline_ms: float, seconds: float
) -> None:
    """Plot the share right and in time so far, by policy, over the states of the machine; and the latencies under the
    engine."""
    figure, (shares, latency) = plt.subplots(2, 1, sharex=True, figsize=(11, 8), layout="constrained")
    ends = [*(spell.start_s for spell in spells[1:]), seconds]
    for axes in (shares, latency):
        for spell, end in zip(spells, ends, strict=True):
            axes.axvspan(spell.start_s, end, color=COLOURS[spell.state], alpha=0.12, linewidth=0)
        axes.grid(alpha=0.3)
    others = itertools.cycle(colormaps["tab20"](range(20)))
    for name, ones in served.items():
        good = np.cumsum([one.gain for one in ones]) / np.arange(1, len(ones) + 1)
        width, colour = (2.5, "black") if name == OURS else (1.0, next(others))
        line = ":" if name.startswith(STATIC) else "-"
        shares.plot([one.arrives_s for one in ones], 100 * good, line, label=name, linewidth=width, color=colour)
    shares.set_ylabel("right and in time so far, %")
    shares.set_ylim(bottom=0)
    shares.legend(ncols=4, loc="lower left")
    shares.set_title(", ".join(f"{colour.removeprefix('tab:')}: {state}" for state, colour in COLOURS.items()))
    ours = served[OURS]
    for met, colour, label in ((True, "tab:green", "in time"), (False, "tab:red", "late")):
        points = [one for one in ours if one.met == met and one.subnet != DROPPED]
        latency.scatter([o.arrives_s for o in points], [o.latency_ms for o in points], s=4, color=colour, label=label)
    latency.axhline(deadline_ms, color="black", linestyle="--", linewidth=1, label="deadline")
    latency.set_yscale("log")
    latency.set_ylabel("latency under gearshift, ms")
    latency.set_xlabel("seconds")
    latency.legend(loc="upper right", ncols=3)
    figure.savefig(path, dpi=100)
    plt.close(figure)
