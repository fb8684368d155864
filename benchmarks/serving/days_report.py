"""Table, plot and verdicts of simulated days."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving.days import (
    BEST_BY_STATE,
    BEST_STATIC,
    FUTURE,
    HINDSIGHT,
    MAKERS,
    OURS,
    PRESENT,
    Cell,
    Measured,
    shares_after,
)
from benchmarks.serving.recorded.traces import RECORDED
from gearshift.runtime.simulate.policies import POLICIES
from gearshift.runtime.simulate.traces import TRACES

PANELS = 4
"""Number of panels of the plot in a row."""

BEHIND = 0.3
"""Points of goodput-accuracy by which ours may be behind another."""


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
        "lead_by_subject": {
            policy: {
                subject: round(statistics.mean(lead(place, policy) for place in places if place[0] == subject), 3)
                for subject in dict.fromkeys(cell.subject for cell in found.cells)
            }
            for policy in (*rivals, FUTURE)
        },
        "days": len(places),
        "days_with_a_rival_more_than_.3_ahead": sum(
            min(lead(place, policy) for policy in rivals if policy not in HINDSIGHT) < -BEHIND for place in places
        ),
        "days_with_the_best_static_more_than_.3_ahead": sum(lead(place, BEST_STATIC) < -BEHIND for place in places),
        "states": len(found.states),
        "states_more_than_.3_behind": sum(100 * (cell.best_fixed - cell.ours) > BEHIND for cell in found.states),
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
        shares = shares_after(steps)
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
    rows = math.ceil(len(subjects) / PANELS)
    figure, grid = pyplot.subplots(rows, PANELS, figsize=(5 * PANELS, 9 * rows), sharey=True)
    axes = list(grid.flat)[: len(subjects)]
    for unused in list(grid.flat)[len(subjects) :]:
        unused.set_visible(False)
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
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=110)
