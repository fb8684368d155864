"""Table and plot of streams that really ran under several policies."""

from __future__ import annotations

import collections
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt

from benchmarks.device.contention import SECOND, STATES, THROTTLED, Spell
from benchmarks.serving.live_stream import DROPPED, Served
from benchmarks.serving.policies import OURS

matplotlib.use("Agg")  # a file, no window

DRAWS, SEED = 2_000, 0
COLOURS = dict(
    zip(
        (*STATES, SECOND, THROTTLED),
        ("white", "tab:orange", "tab:blue", "tab:red", "tab:green", "tab:gray"),
        strict=True,
    )
)


@dataclass(frozen=True)
class Row:
    """Outcome of a stream under one policy; shares are of all requests."""

    policy: str
    requests: int
    met: float
    right: float
    goodput: float
    """Share of answers that are right and in time."""
    goodput_of: dict[str, float]
    """State of the other work -> goodput of the requests that arrived in it."""
    dropped: float
    p50_ms: float
    """Median latency in ms of answered requests; `p99_ms` likewise."""
    p99_ms: float
    switches_per_minute: float
    ahead: dict[str, tuple[float, float, float]]
    """State, or `""` for all -> the engine's goodput less this one's, with the ends of a 95 % interval."""


def row(policy: str, served: Sequence[Served], ours: Sequence[Served], seconds: float) -> Row:
    """Summarise the outcome of a stream, beside that of the engine."""
    answered = [one for one in served if one.subnet != DROPPED]
    latencies = [one.latency_ms for one in answered]
    in_state = {state: [one for one in served if one.state == state] for state in COLOURS}
    return Row(
        policy=policy,
        requests=len(served),
        met=statistics.mean(one.met for one in served),
        right=statistics.mean(one.right for one in served),
        goodput=statistics.mean(one.met and one.right for one in served),
        goodput_of={
            state: statistics.mean(one.met and one.right for one in ones) for state, ones in in_state.items() if ones
        },
        dropped=1 - len(answered) / len(served),
        p50_ms=float(np.percentile(latencies, 50)),
        p99_ms=float(np.percentile(latencies, 99)),
        switches_per_minute=60 * sum(a.subnet != b.subnet for a, b in itertools.pairwise(answered)) / seconds,
        ahead={state: ahead(ours, served, state) for state in ("", *in_state) if not state or in_state[state]},
    )


def ahead(ours: Sequence[Served], theirs: Sequence[Served], state: str = "") -> tuple[float, float, float]:
    """Return the difference of two policies' shares right and in time of the requests that arrived in a state, or of
    all, and its 95 % interval.

    Slices are drawn again, the same for both (the paired bootstrap; Efron 1979), since requests of one slice meet the
    same machine and are no draws of their own.
    """
    sums: dict[float, list[float]] = collections.defaultdict(lambda: [0.0, 0.0, 0.0])
    for which, served in enumerate((ours, theirs)):
        for one in served:
            if not state or one.state == state:
                cell = sums[one.slice_s]
                cell[which] += one.met and one.right
                cell[2] += which == 0
    table = np.array([sums[start] for start in sorted(sums)])
    drawn = table[np.random.default_rng(SEED).integers(len(table), size=(DRAWS, len(table)))].sum(axis=1)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / drawn[:, 2], (2.5, 97.5))
    return float((table[:, 0].sum() - table[:, 1].sum()) / table[:, 2].sum()), float(low), float(high)


def table(rows: Sequence[Row], deadline_ms: float, seconds: float) -> list[str]:
    """Format a row per policy, the best first, as Markdown; and the engine's lead over each, by state."""
    states = [state for state in COLOURS if state in rows[0].goodput_of]
    lines = [
        f"### deadline {deadline_ms:.1f} ms, {rows[0].requests} requests in {seconds:g} s under each policy",
        "",
        f"| policy | right and in time | in time | right | dropped | {' | '.join(states)} | p50 ms | p99 ms "
        "| switches / min |",
        "|---" * (8 + len(states)) + "|",
    ]
    for one in rows:
        shares = [one.goodput, one.met, one.right, one.dropped, *(one.goodput_of[state] for state in states)]
        cells = [f"{100 * share:.1f} %" for share in shares]
        cells += [f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{one.switches_per_minute:.0f}"]
        lines.append(f"| {one.policy} | {' | '.join(cells)} |")
    lines += ["", "The columns by state of the other work give what was right and in time.", ""]
    lines += [f"| the engine ahead of, in points | all | {' | '.join(states)} |", "|---" * (2 + len(states)) + "|"]
    for one in rows:
        if one.policy != OURS:
            cells = [_points(one.ahead[state]) for state in ("", *states)]
            lines.append(f"| {one.policy} | {' | '.join(cells)} |")
    return [*lines, "", "In brackets 95 % intervals: slices drawn again, paired."]


def _points(found: tuple[float, float, float]) -> str:
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
        good = np.cumsum([one.met and one.right for one in ones]) / np.arange(1, len(ones) + 1)
        width, colour = (2.5, "black") if name == OURS else (1.0, next(others))
        line = ":" if name.startswith("static") else "-"
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
