"""The engine's controller and rival policies over the simulator's traces: a table and a plot.

    python -m benchmarks.serving.policies            measure with the committed settings
    python -m benchmarks.serving.policies --tune     choose the settings anew, on seeds of their own

Latencies are those measured by benchmarks.graph.elastic, accuracies those of benchmarks/serving/pools.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, save
from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.simulate.policies import POLICIES, Static
from gearshift.runtime.simulate.simulator import Ladder, Machine, Outcome, simulate
from gearshift.runtime.simulate.traces import TRACES, Scale, Trace, make_trace

SUBJECTS = (("snips", "fp32"), ("snips", "int8"), ("sst2", "fp32"))
SEEDS, TUNING_SEEDS = (21, 22, 23), (101, 102)
"""Seeds for measuring and for tuning, different from each other and from the one that the controller was written on
(1)."""

DURATION_S, TUNING_DURATION_S = 120.0, 60.0
TUNED = Path(__file__).parent / "policies-tuned.json"
OURS, PRESENT, FUTURE, BEST_STATIC = "gearshift", "oracle-present", "oracle-future", "static-best"

GRIDS: dict[str, dict[str, Sequence[float]]] = {
    OURS: {"adaptation": (0.1, 0.15, 0.2, 0.3), "tolerance": (1.06, 1.1)},
    "cpu-stepper": {"window": (2, 4), "high": (0.15, 0.3), "low": (0.05, 0.1)},
    "schmitt": {"on": (1.5, 1.6, 1.75, 2.0), "votes": (3, 10)},
    "slackfit": {"safety": (1.1, 1.35, 1.75, 2.5, 3.0, 3.5, 4.0, 5.0)},
    "kalman": {"noise": (0.1, 0.2, 0.4, 0.8), "memory": (0.3, 0.5)},
}
"""Eight settings for each policy that has any."""

TARGET, COVERAGE_OFF = 0.99, 0.005

TIE = 2e-4
"""Difference of goodput-accuracies below which they count as equal: seeds differ by more."""

WINDOW, WINDOWS = 100, 4
"""Size and number of the windows of requests after a step of the slow-down over which coverage is tracked."""


@dataclass(frozen=True)
class Cell:
    """A policy on a trace, as means over the seeds."""

    subject: str
    trace: str
    policy: str
    met: float
    """Share of deadlines met, among those that the smallest subnet met."""
    goodput_accuracy: float
    coverage: float
    switches_per_minute: float


def ladder_of(pool: str, precision: str) -> Ladder:
    """Return MiniLM-L6 as benchmarks.graph.elastic timed it, with a pool's accuracies."""
    report = json.loads((RESULTS / f"elastic-minilm-l6-uniform-{precision}.json").read_text())
    rows = report["rows"]
    lengths = tuple(sorted({row["tokens"] for row in rows}))
    times = {
        kind: {
            name: tuple(row["times"]["pool"][kind] for row in rows if row["subnet"] == name)
            for name in dict.fromkeys(row["subnet"] for row in rows)
        }
        for kind in ("median_ms", "p95_ms")
    }
    table = LatencyTable(
        "0" * 64, precision, "CPUExecutionProvider", report["threads"], lengths, times["median_ms"], times["p95_ms"],
        report["rounds"], report["command"], report["date"],
    )  # fmt: skip
    measured = json.loads((Path(__file__).parent / "pools.json").read_text())[pool]
    return Ladder.of(measured["accuracies"][precision], table, rows=measured["rows"])


def play(policy: str, trace: Trace, ladder: Ladder, settings: Mapping[str, Any]) -> Outcome:
    """Simulate one policy on one trace."""
    machine = Machine(trace, ladder)
    return simulate(POLICIES[policy](machine, **settings), machine)


def best_static(trace: Trace, ladder: Ladder) -> Outcome:
    """Return the outcome of the rung that is best if it is used throughout."""
    machines = [Machine(trace, ladder) for _ in ladder.names]
    found = [simulate(Static(machine, rung=rung), machine) for rung, machine in enumerate(machines)]
    return max(found, key=lambda outcome: outcome.goodput_accuracy)


def tune() -> dict[str, dict[str, float]]:
    """Choose for each policy the settings of its grid with the highest mean goodput-accuracy over subjects and traces.

    Among those within TIE of the highest, the settings that switch least on the steady trace are chosen. For policies
    that predict times, settings whose coverage is off by more than COVERAGE_OFF on a trace (all seeds and subjects
    together) come last.
    """
    cases = []
    for subject in SUBJECTS:
        ladder = ladder_of(*subject)
        for seed, name in itertools.product(TUNING_SEEDS, TRACES):
            scale = Scale(ladder.table, ladder.names[0], seed, TUNING_DURATION_S)
            cases.append((make_trace(name, scale), ladder))
    chosen = {}
    for policy, grid in GRIDS.items():
        scores: dict[tuple[float, ...], tuple[float, float, bool]] = {}
        for values in itertools.product(*grid.values()):
            settings = dict(zip(grid, values, strict=True))
            outcomes = [play(policy, trace, ladder, settings) for trace, ladder in cases]
            switches = statistics.mean(one.switches_per_minute for one in outcomes if one.trace.name == "steady")
            off = max(
                abs(statistics.mean(one.coverage for one in outcomes if one.trace.name == name) - TARGET)
                for name in TRACES
            )
            accuracy = statistics.mean(one.goodput_accuracy for one in outcomes)
            scores[values] = accuracy, switches, off > COVERAGE_OFF  # NaN if nothing is predicted: then not off
            print(policy, settings, f"{100 * accuracy:.3f}, {switches:.1f} switches, coverage off by {off:.4f}")
        highest = max(accuracy for accuracy, _, _ in scores.values())
        tied = [one for one in scores if scores[one][0] >= highest - TIE]
        best = min(tied, key=lambda one: (scores[one][2], scores[one][1]))
        chosen[policy] = dict(zip(grid, best, strict=True))
    return chosen


def measure(settings: Mapping[str, Mapping[str, float]]) -> tuple[list[Cell], dict[str, list[float]], dict[str, float]]:
    """Return a cell per subject, trace and policy; coverage by request after a step; requests a minute of the
    simulator."""
    cells, after_steps = [], {name: [] for name in TRACES}  # type: tuple[list[Cell], dict[str, list[list[bool]]]]
    requests, spent = 0, 0.0
    for pool, precision in SUBJECTS:
        ladder, subject = ladder_of(pool, precision), f"{pool}-{precision}"
        for name in TRACES:
            runs: dict[str, list[tuple[Outcome, Outcome]]] = {}
            for seed in SEEDS:
                trace = make_trace(name, Scale(ladder.table, ladder.names[0], seed, DURATION_S))
                smallest = play("static-small", trace, ladder, {})
                for policy in POLICIES:
                    began = time.process_time()
                    outcome = play(policy, trace, ladder, settings.get(policy, {}))
                    if policy == OURS:
                        requests, spent = requests + len(trace.arrivals), spent + time.process_time() - began
                        after_steps[name] += _after_steps(outcome)
                    runs.setdefault(policy, []).append((outcome, smallest))
                runs.setdefault(BEST_STATIC, []).append((best_static(trace, ladder), smallest))
            cells += [_cell(subject, name, policy, outcomes) for policy, outcomes in runs.items()]
            print(subject, name, f"{requests} requests")
    return cells, {name: _shares(found) for name, found in after_steps.items()}, {
        "requests": requests, "requests_a_minute": 60 * requests / spent
    }  # fmt: skip


def _cell(subject: str, trace: str, policy: str, outcomes: Sequence[tuple[Outcome, Outcome]]) -> Cell:
    return Cell(
        subject,
        trace,
        policy,
        statistics.mean(outcome.met_where(smallest) for outcome, smallest in outcomes),
        statistics.mean(outcome.goodput_accuracy for outcome, _ in outcomes),
        statistics.mean(outcome.coverage for outcome, _ in outcomes),
        statistics.mean(outcome.switches_per_minute for outcome, _ in outcomes),
    )


def _after_steps(outcome: Outcome) -> Iterator[list[bool]]:
    """Give, for each step of the slow-down by a tenth or more, whether each request up to the next step took no longer
    than predicted."""
    trace = outcome.trace
    if len(trace.edges) < 2:
        return
    now_at: list[list[bool]] = [[] for _ in trace.edges]
    for index in outcome.order:
        place = sum(edge <= trace.arrivals[index] for edge in trace.edges) - 1
        now_at[place].append(outcome.run_ms[index] <= outcome.predicted_ms[index])
    for place in range(1, len(trace.edges)):
        if abs(math.log(trace.levels[place] / trace.levels[place - 1])) >= 0.1:
            yield now_at[place]


def _shares(found: Sequence[Sequence[bool]]) -> list[float]:
    """Return the coverage of requests 0 to 99, 100 to 199 and so on after a step, over all steps; NaN without any."""
    windows = [
        [*itertools.chain(*(one[at : at + WINDOW] for one in found))] for at in range(0, WINDOW * WINDOWS, WINDOW)
    ]
    return [statistics.mean(window) if window else math.nan for window in windows]


def verdicts(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the values that the targets refer to."""
    of = {(cell.subject, cell.trace, cell.policy): cell for cell in cells}
    places = sorted({(cell.subject, cell.trace) for cell in cells})
    rivals = [name for name in (*POLICIES, BEST_STATIC) if name not in (OURS, PRESENT, FUTURE)]

    def lead(place: tuple[str, str], policy: str) -> float:
        return of[(*place, OURS)].goodput_accuracy / of[(*place, policy)].goodput_accuracy - 1

    published = [name for name in rivals if name != BEST_STATIC]
    mean = {
        policy: statistics.mean(of[(*place, policy)].goodput_accuracy for place in places)
        for policy in (OURS, *rivals, PRESENT, FUTURE)
    }
    return {
        "least_met": min((of[(*place, OURS)].met, *place) for place in places),
        "furthest_behind_present": min((lead(place, PRESENT), *place) for place in places),
        "furthest_behind_a_rival": min((lead(place, rival), rival, *place) for place in places for rival in rivals),
        "mean_goodput_accuracy": mean,
        "best_rival": max(published, key=lambda name: mean[name]),
        "coverage": [
            min((of[(*place, OURS)].coverage, *place) for place in places),
            max((of[(*place, OURS)].coverage, *place) for place in places),
        ],
        "switches_on_steady": max(of[(subject, "steady", OURS)].switches_per_minute for subject, _ in places),
    }


def lines_of(cells: Sequence[Cell], steps: Mapping[str, Sequence[float]], found: Mapping[str, Any]) -> list[str]:
    """Format as Markdown, per subject, the goodput-accuracy of every policy on every trace, and the other targets of
    ours."""
    policies = list(dict.fromkeys(cell.policy for cell in cells))
    lines = []
    for subject in dict.fromkeys(cell.subject for cell in cells):
        here = {(cell.trace, cell.policy): cell for cell in cells if cell.subject == subject}
        lines += [
            f"### {subject}: goodput-accuracy in % (accuracy of answers in time, missed = 0)", "",
            "| trace | " + " | ".join(policies) + " | met where the smallest can | coverage | switches a minute |",
            "|---|" + "---|" * (len(policies) + 3),
        ]  # fmt: skip
        for name in TRACES:
            ours = here[name, OURS]
            lines.append(
                f"| {name} | "
                + " | ".join(f"{100 * here[name, policy].goodput_accuracy:.2f}" for policy in policies)
                + f" | {100 * ours.met:.2f} | {ours.coverage:.4f} | {ours.switches_per_minute:.1f} |"
            )
        means = [statistics.mean(here[name, policy].goodput_accuracy for name in TRACES) for policy in policies]
        lines += ["| **mean** | " + " | ".join(f"{100 * mean:.2f}" for mean in means) + " | | | |", ""]
    lines += ["### Coverage after a step of the slow-down, by request after it (target .99)", ""]
    lines += ["| trace | 0 to 99 | 100 to 199 | 200 to 299 | 300 to 399 |", "|---|---|---|---|---|"]
    for name, shares in steps.items():
        if not math.isnan(shares[0]):
            lines.append(f"| {name} | " + " | ".join("" if math.isnan(s) else f"{s:.4f}" for s in shares) + " |")
    return [*lines, "", *(f"- {name}: {value}" for name, value in found.items())]


def plot(cells: Sequence[Cell], path: Path) -> None:
    """Plot each policy's goodput-accuracy against the oracle of the present, a row per trace, a panel per subject."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    subjects = list(dict.fromkeys(cell.subject for cell in cells))
    figure, axes = pyplot.subplots(1, len(subjects), figsize=(5 * len(subjects), 6), sharey=True)
    shown = [name for name in (*POLICIES, BEST_STATIC) if name not in (PRESENT, "static-medium", "static-large")]
    names = list(TRACES)
    for axis, subject in zip(axes, subjects, strict=True):
        here = {(c.trace, c.policy): c.goodput_accuracy for c in cells if c.subject == subject}
        for policy in shown:
            behind = [100 * (here[name, policy] / here[name, PRESENT] - 1) for name in names]
            ours = policy == OURS
            axis.plot(
                behind, range(len(names)), marker="D" if ours else "o", linestyle="", label=policy,
                markersize=8 if ours else 5, zorder=3 if ours else 2, color="black" if ours else None,
            )  # fmt: skip
        axis.axvline(0, color="grey", linewidth=0.8)
        axis.set_xscale("symlog", linthresh=2)
        axis.set_title(subject)
        axis.set_xlabel("goodput-accuracy against the oracle\nthat knows the present slow-down, %")
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncol=len(shown), frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tune", action="store_true", help="choose the settings anew, and keep them")
    if parser.parse_args().tune:
        TUNED.write_text(json.dumps(tune(), indent=1) + "\n")
    settings = json.loads(TUNED.read_text())
    cells, steps, speed = measure(settings)
    found = {**verdicts(cells), **speed}
    facts = {
        "command": "python -m benchmarks.serving.policies",
        "seeds": SEEDS,
        "duration_s": DURATION_S,
        "settings": settings,
        "tuning": {"seeds": TUNING_SEEDS, "duration_s": TUNING_DURATION_S, "grids": GRIDS},
        "verdicts": found,
        "coverage_after_steps": {
            name: [None if math.isnan(share) else share for share in shares] for name, shares in steps.items()
        },
        "cells": [{key: None if value != value else value for key, value in vars(cell).items()} for cell in cells],
    }
    save("policies", facts, lines_of(cells, steps, found))
    plot(cells, RESULTS / "policies.png")


if __name__ == "__main__":
    main()
