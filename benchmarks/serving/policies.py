"""The engine's controller and rival policies over the simulator's traces: a table and a plot.

    python -m benchmarks.serving.policies            measure with the committed settings
    python -m benchmarks.serving.policies --tune     choose the settings anew, on seeds of their own

Latencies are those measured by benchmarks.graph.elastic, accuracies those of benchmarks/serving/pools.json. Half of the
traces are the simulator's, the other half was drawn up from recorded logs and published studies (recorded/README.md).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, save
from benchmarks.serving import tuning
from benchmarks.serving.hindsight import WIDTH, all_static, best_by_state, by_state, states_of
from benchmarks.serving.recorded.traces import RECORDED, recorded_trace
from benchmarks.serving.subjects import SUBJECTS, ladder_of, play
from gearshift.runtime.simulate.policies import POLICIES
from gearshift.runtime.simulate.simulator import Outcome
from gearshift.runtime.simulate.traces import TRACES, Scale, Trace, make_trace

SEEDS = (21, 22, 23)
"""Seeds for measuring, different from those for tuning and from the one that the controller was written on (1)."""

DURATION_S = 60.0
TUNED = Path(__file__).parent / "policies-tuned.json"
OURS, PRESENT, FUTURE = "gearshift", "oracle-present", "oracle-future"
BEST_STATIC, BEST_BY_STATE = "static-best", "best-by-state"
HINDSIGHT = (BEST_STATIC, BEST_BY_STATE)
"""The best fixed subnet of a trace, and the best of each state of its machine, both in hindsight."""

SHARE = 0.99
"""Share of the requests that take no longer than predicted, for coverage."""

LEAST_REQUESTS = 100
"""Number of requests, over the seeds, of the smallest state that is compared."""

WINDOW, WINDOWS = 100, 4
"""Size and number of the windows of requests after a step of the slow-down over which coverage is tracked."""

MAKERS: dict[str, Callable[[str, Scale], Trace]] = {
    **dict.fromkeys(TRACES, make_trace),
    **dict.fromkeys(RECORDED, recorded_trace),
}
"""Name of a trace -> function that makes it."""


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


@dataclass(frozen=True)
class StateCell:
    """Ours and the best fixed subnet of one state of the machine, on a trace."""

    subject: str
    trace: str
    slow_down: float
    requests: int
    ours: float
    best_fixed: float


@dataclass
class Measured:
    """All that is measured."""

    cells: list[Cell]
    states: list[StateCell]
    after_steps: dict[str, list[list[bool]]]
    """Trace -> for each step of its slow-down, whether each request after it took no longer than predicted."""
    requests: int = 0
    spent_s: float = 0.0
    """CPU seconds of the simulator with ours."""


def measure(settings: Mapping[str, Mapping[str, float]]) -> Measured:
    """Play every policy on every trace."""
    found = Measured([], [], {name: [] for name in MAKERS})
    for pool, precision in SUBJECTS:
        ladder, subject = ladder_of(pool, precision), f"{pool}-{precision}"
        for name, make in MAKERS.items():
            runs: dict[str, list[tuple[Outcome, Outcome]]] = {}
            sums: list[dict[int, list[float]]] = []
            for seed in SEEDS:
                trace = make(name, Scale(ladder.table, ladder.names[0], seed, DURATION_S))
                static, states = all_static(trace, ladder), states_of(trace)
                outcomes = {
                    BEST_STATIC: max(static, key=lambda one: one.goodput_accuracy),
                    BEST_BY_STATE: best_by_state(trace, ladder, static, states),
                }
                for policy in POLICIES:
                    began = time.process_time()
                    outcomes[policy] = play(policy, trace, ladder, settings.get(policy, {}))
                    if policy == OURS:
                        found.requests += len(trace.arrivals)
                        found.spent_s += time.process_time() - began
                        found.after_steps[name] += _after_steps(outcomes[policy])
                for policy, outcome in outcomes.items():
                    runs.setdefault(policy, []).append((outcome, static[-1]))
                sums.append(_sums(outcomes[OURS], static, states))
            found.cells += [_cell(subject, name, policy, outcomes) for policy, outcomes in runs.items()]
            found.states += _state_cells(subject, name, sums)
            print(subject, name, f"{found.requests} requests", flush=True)
    return found


def _sums(ours: Outcome, static: Sequence[Outcome], states: Sequence[int]) -> dict[int, list[float]]:
    """Return by state: the number of requests, and what they gave under ours and under each fixed rung."""
    each = [by_state(outcome, states) for outcome in (ours, *static)]
    return {state: [float(states.count(state)), *(one[state] for one in each)] for state in each[0]}


def _state_cells(subject: str, trace: str, sums: Sequence[Mapping[int, Sequence[float]]]) -> list[StateCell]:
    total: dict[int, list[float]] = {}
    for one in sums:
        for state, values in one.items():
            total[state] = [a + b for a, b in itertools.zip_longest(total.get(state, []), values, fillvalue=0.0)]
    return [
        StateCell(subject, trace, math.exp(WIDTH * state), int(count), ours / count, max(fixed) / count)
        for state, (count, ours, *fixed) in sorted(total.items())
        if count >= LEAST_REQUESTS
    ]


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


def verdicts(found: Measured) -> dict[str, Any]:
    """Return the values that the targets refer to; differences in points of goodput-accuracy (% of the requests)."""
    of = {(cell.subject, cell.trace, cell.policy): cell for cell in found.cells}
    places = sorted({(cell.subject, cell.trace) for cell in found.cells})
    rivals = [name for name in (*POLICIES, *HINDSIGHT) if name not in (OURS, PRESENT, FUTURE)]

    def lead(place: tuple[str, str], policy: str) -> float:
        return 100 * (of[(*place, OURS)].goodput_accuracy - of[(*place, policy)].goodput_accuracy)

    def mean_lead(policy: str, names: Sequence[str]) -> float:
        return statistics.mean(lead(place, policy) for place in places if place[1] in names)

    kinds = {"synthetic": list(TRACES), "recorded": list(RECORDED), "all": list(MAKERS)}
    coverage = [(of[(*place, OURS)].coverage, *place) for place in places]
    return {
        "mean_lead": {
            kind: {policy: round(mean_lead(policy, names), 3) for policy in (*rivals, PRESENT, FUTURE)}
            for kind, names in kinds.items()
        },
        "furthest_behind": {
            policy: min((round(lead(place, policy), 3), *place) for place in places)
            for policy in (*rivals, PRESENT, FUTURE)
        },
        "furthest_behind_in_a_state": [
            (round(100 * (cell.ours - cell.best_fixed), 3), cell.subject, cell.trace, round(cell.slow_down, 2))
            for cell in sorted(found.states, key=lambda cell: cell.ours - cell.best_fixed)[:10]
        ],
        "states": len(found.states),
        "states_more_than_.3_behind": sum(cell.best_fixed - cell.ours > 0.003 for cell in found.states),
        "least_met": min((of[(*place, OURS)].met, *place) for place in places),
        "coverage": [min(coverage), max(coverage)],
        "switches_on_steady": max(of[(subject, "steady", OURS)].switches_per_minute for subject, _ in places),
        "requests": found.requests,
        "requests_a_minute": 60 * found.requests / found.spent_s,
    }


def lines_of(found: Measured, verdict: Mapping[str, Any]) -> list[str]:
    """Format as Markdown, per subject, the goodput-accuracy of every policy on every trace, and the other targets of
    ours."""
    policies = list(dict.fromkeys([*POLICIES, *HINDSIGHT]))
    lines = []
    for subject in dict.fromkeys(cell.subject for cell in found.cells):
        here = {(cell.trace, cell.policy): cell for cell in found.cells if cell.subject == subject}
        lines += [
            f"### {subject}: goodput-accuracy in % (accuracy of answers in time, missed = 0)", "",
            "| trace | " + " | ".join(policies) + " | met where the smallest can | coverage | switches a minute |",
            "|---|" + "---|" * (len(policies) + 3),
        ]  # fmt: skip
        for name in MAKERS:
            ours = here[name, OURS]
            lines.append(
                f"| {name} | "
                + " | ".join(f"{100 * here[name, policy].goodput_accuracy:.2f}" for policy in policies)
                + f" | {100 * ours.met:.2f} | {ours.coverage:.4f} | {ours.switches_per_minute:.1f} |"
            )
        for label, names in (("mean, synthetic", TRACES), ("mean, recorded", RECORDED), ("mean", MAKERS)):
            means = [statistics.mean(here[name, policy].goodput_accuracy for name in names) for policy in policies]
            lines.append(f"| **{label}** | " + " | ".join(f"{100 * mean:.2f}" for mean in means) + " | | | |")
        lines.append("")
    lines += ["### States of the machine in which ours is furthest behind the best fixed subnet of that state", ""]
    lines += ["| subject | trace | slow-down about | requests | gearshift | best fixed |", "|---|---|---|---|---|---|"]
    for cell in sorted(found.states, key=lambda cell: cell.ours - cell.best_fixed)[:10]:
        lines.append(
            f"| {cell.subject} | {cell.trace} | {cell.slow_down:.1f} | {cell.requests} | {100 * cell.ours:.2f} "
            f"| {100 * cell.best_fixed:.2f} |"
        )
    lines += ["", "### Coverage of the bound after a step of the slow-down, by request after it (.99 is meant)", ""]
    lines += ["| trace | 0 to 99 | 100 to 199 | 200 to 299 | 300 to 399 |", "|---|---|---|---|---|"]
    for name, steps in found.after_steps.items():
        shares = _shares(steps)
        if not math.isnan(shares[0]):
            lines.append(f"| {name} | " + " | ".join("" if math.isnan(s) else f"{s:.4f}" for s in shares) + " |")
    return [*lines, "", *(f"- {name}: {value}" for name, value in verdict.items())]


SHOWN = (
    OURS,
    BEST_STATIC,
    BEST_BY_STATE,
    "static-small",
    "slackfit",
    "alert",
    "kalman",
    "schmitt",
    "cpu-stepper",
    "bandit",
)


def plot(cells: Sequence[Cell], path: Path) -> None:
    """Plot each policy's goodput-accuracy less that of the oracle of the future, a row per trace, a panel per
    subject."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    subjects = list(dict.fromkeys(cell.subject for cell in cells))
    names = list(MAKERS)
    figure, axes = pyplot.subplots(1, len(subjects), figsize=(5 * len(subjects), 10), sharey=True)
    colours = iter(pyplot.get_cmap("tab10").colors)
    colour = {policy: "black" if policy == OURS else next(colours) for policy in SHOWN}
    for axis, subject in zip(axes, subjects, strict=True):
        here = {(c.trace, c.policy): c.goodput_accuracy for c in cells if c.subject == subject}
        for policy in SHOWN:
            behind = [100 * (here[name, policy] - here[name, FUTURE]) for name in names]
            ours = policy == OURS
            axis.plot(
                behind, range(len(names)), marker="D" if ours else "o", linestyle="", label=policy,
                markersize=7 if ours else 5, zorder=3 if ours else 2, color=colour[policy],
            )  # fmt: skip
        axis.axvline(0, color="grey", linewidth=0.8)
        axis.axhline(len(TRACES) - 0.5, color="grey", linewidth=0.8, linestyle=":")
        axis.set_xscale("symlog", linthresh=2)
        axis.set_title(subject)
        axis.set_xlabel("points of goodput-accuracy\nagainst the oracle that knows the future")
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncol=len(SHOWN) // 2, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tune", action="store_true", help="choose the rivals' settings anew, and keep them")
    if parser.parse_args().tune:
        where = tuning.cases()
        tuned = {policy: tuning.tune(policy, grid, where)[0] for policy, grid in tuning.GRIDS.items()}
        TUNED.write_text(json.dumps(tuned, indent=1) + "\n")
    settings = json.loads(TUNED.read_text())
    found = measure(settings)
    verdict = verdicts(found)
    steps = {name: _shares(those) for name, those in found.after_steps.items()}
    facts = {
        "command": "python -m benchmarks.serving.policies",
        "seeds": SEEDS,
        "duration_s": DURATION_S,
        "settings": settings,
        "tuning": {"seeds": tuning.SEEDS, "duration_s": tuning.DURATION_S, "grids": tuning.GRIDS},
        "verdicts": verdict,
        "coverage_after_steps": {
            name: [None if math.isnan(share) else share for share in shares] for name, shares in steps.items()
        },
        "cells": [
            {key: None if value != value else value for key, value in vars(cell).items()} for cell in found.cells
        ],
        "states": [vars(cell) for cell in found.states],
    }
    save("policies", facts, lines_of(found, verdict))
    plot(found.cells, RESULTS / "policies.png")


if __name__ == "__main__":
    main()
