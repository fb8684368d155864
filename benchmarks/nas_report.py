"""Tables and plots of the figures that the jobs of `benchmarks.nas` left; what is missing is shown as missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from benchmarks.nas_jobs import RANDOM, figures_of
from benchmarks.nas_runs import SEARCHES, SHARED_TASK, SIZES, TASKS, TUNINGS, Bench, Tuning
from benchmarks.report import RESULTS, markdown, save
from gearshift.plot_search import plot_blocks
from gearshift.runtime.mixed_tables import MixedTables

Row = dict[str, Any]
MISSING = "-"


def report(bench: Bench, command: str) -> None:
    """Tables and plots of everything."""
    rows = [row for row in (row_of(bench, tuning) for tuning in TUNINGS) if row is not None]
    searches = {name: found for name in SEARCHES if (found := figures_of(bench, f"search-{name}")) is not None}
    teachers = {task: (figures_of(bench, f"teacher-{task}") or {}).get("test") for task in TASKS}
    facts = {
        "command": command,
        "trained_on": sorted({found["where"] for found in searches.values()}),
        "tokens": bench.tokens,
        "epochs": bench.epochs,
        "score_batches": bench.score_batches,
        "tune_share": bench.tune_share,
        "most_rows": bench.most_rows,
        "tasks": {name: vars(task) for name, task in TASKS.items()},
        "teachers": teachers,
        "nets": rows,
        "searches": {
            name: {key: value for key, value in found.items() if key != "tables"} for name, found in searches.items()
        },
    }
    whole = [row for row in rows if row["on_text"] and row["on_task"]]
    lines = [
        f"### NAS-BERT on {bench.tokens} tokens: test accuracy, mean of the seeds (standard deviation)",
        "",
        *nets_table(whole, teachers),
        "",
        "What distillation is worth, the large net of the search that deletes blocks:",
        "",
        *stages_table(rows),
        "",
        "Searches: what was left, and how well the sum of its blocks' losses foretells the loss of a net (200 random",
        "nets of the blocks that are left, each block fed by the one before it, with the shared weights):",
        "",
        *markdown(
            ("deleted", "blocks before", "left", "deletions", "least loss of a block", "Spearman"),
            [_searched(name, found) for name, found in searches.items()],
        ),
    ]
    save("nas", facts, lines)
    if "blocks" in searches:
        found = searches["blocks"]
        plot_blocks(MixedTables.from_dict(found["tables"]), found["history"], RESULTS / "nas-buckets.png")
        plot_nets(whole, found["points"], RESULTS / "nas.png")
    report_shared(bench, command)


def _searched(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    losses = [min(row["loss"] for row in stage) for stage in found["tables"]["rows"]]
    return (
        name,
        " + ".join(str(history[0]["blocks"]) for history in found["history"]),
        " + ".join(map(str, found["left"])),
        str(max(len(history) - 1 for history in found["history"])),
        " + ".join(f"{loss:.3f}" for loss in losses),
        f"{found['spearman']:.3f}",
    )


def row_of(bench: Bench, tuning: Tuning) -> Row | None:
    """A net with everything that was measured of it, if it was trained."""
    net = figures_of(bench, tuning.net)
    if net is None:
        return None
    found = {
        task: [
            figures["test"]
            for seed in range(TASKS[task].seeds)
            if (figures := figures_of(bench, tuning.name(task, seed))) is not None
        ]
        for task in TASKS
    }
    means = [np.mean(values) for values in found.values() if values]
    return {
        **vars(tuning),
        **{key: net[key] for key in ("net", "parameters", "macs", "dev_loss")},
        "test": found,
        "average": float(np.mean(means)) if len(means) == len(TASKS) else None,
    }


def nets_table(rows: Sequence[Row], teachers: Mapping[str, float | None]) -> list[str]:
    """Nets of each size, one a row."""
    header = ("net", "parameters", "MACs", "text loss", *TASKS, "average")
    cells = [
        (
            f"{row['size']}, {'hand-made BERT' if row['who'] == 'bert' else 'deletes ' + row['who']}: {row['net']}",
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['macs'] / 1e6:.0f} M",
            f"{row['dev_loss']:.3f}",
            *(_accuracy(row["test"][task]) for task in TASKS),
            _percent(row["average"]),
        )
        for size in SIZES
        for row in rows
        if row["size"] == size
    ]
    known = [value for value in teachers.values() if value is not None]
    average = float(np.mean(known)) if len(known) == len(TASKS) else None
    top = ("teacher", "22.6 M", "1434 M", "", *(_percent(value) for value in teachers.values()), _percent(average))
    return markdown(header, [top, *cells])


def stages_table(rows: Sequence[Row]) -> list[str]:
    """One net by what it learnt from."""
    chosen = [row for row in rows if (row["who"], row["size"]) == ("blocks", "large")]
    header = ("on text", "on the task", *TASKS, "average")
    return markdown(
        header,
        [
            (
                "teacher" if row["on_text"] else "masked words",
                "teacher and labels" if row["on_task"] else "labels",
                *(_accuracy(row["test"][task]) for task in TASKS),
                _percent(row["average"]),
            )
            for row in chosen
        ],
    )


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f}"


def _accuracy(values: Sequence[float]) -> str:
    if not values:
        return MISSING
    mean = _percent(float(np.mean(values)))
    return mean if len(values) == 1 else f"{mean} ({100 * np.std(values, ddof=1):.1f})"


def plot_nets(rows: Sequence[Row], points: Sequence[Sequence[float]], path: Path) -> None:
    """Sizes against accuracies, and summed against real losses."""
    figure, (sizes, sums) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for who in ("bert", *SEARCHES):
        mine = [row for row in rows if row["who"] == who and row["average"] is not None]
        label = "hand-made BERT" if who == "bert" else f"search that deletes {who}"
        x, y = [row["parameters"] / 1e6 for row in mine], [100 * row["average"] for row in mine]
        sizes.plot(x, y, marker="o", label=label)
    sizes.set(xlabel="parameters, millions", ylabel="average accuracy, test rows, %")
    sizes.legend(fontsize=8)
    summed, measured = (np.array(values) for values in zip(*points, strict=True))
    sums.scatter(measured, summed, s=10)
    sums.set(xlabel="real loss of a net", ylabel="sum of its blocks' losses", title=f"{RANDOM} random nets")
    for axes in (sizes, sums):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report_shared(bench: Bench, command: str) -> None:
    """The pool of shared blocks beside the teacher and its size."""
    found, teacher = figures_of(bench, "shared"), figures_of(bench, f"teacher-{SHARED_TASK}")
    if found is None or teacher is None:
        return
    lines = [
        f"### Nets out of a search's own blocks, weights shared, never trained together: {SHARED_TASK}",
        "",
        f"Teacher {100 * teacher['test']:.1f} %. Spearman of summed losses and the loss of answers over "
        f"{found['nets']} nets: {found['spearman']:.3f}.",
        "",
        *markdown(
            ("net", "MACs, 128 tokens", "summed", "loss", "accuracy"),
            [
                (
                    str(one["name"]),
                    f"{one['macs'] / 1e6:.0f} M",
                    f"{one['summed']:.3f}",
                    f"{one['loss']:.3f}",
                    f"{100 * one['accuracy']:.1f} %",
                )
                for one in found["pool"]
            ],
        ),
    ]
    save("nas-shared", {"command": command, "teacher": teacher["test"], **found}, lines)
