"""Tables and plots of the figures of `benchmarks.blocks.nas`; missing figures are shown as missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from benchmarks.blocks.jobs import RANDOM, figures_of
from benchmarks.blocks.runs import SEARCHES, SHARED_EPOCHS, SHARED_TASK, SIZES, TASKS, TUNINGS, Bench, Tuning
from benchmarks.report import RESULTS, markdown, save
from gearshift.drawing.search import plot_blocks
from gearshift.runtime.tables.tables_file import SCHEMA, read_tables
from gearshift.trainer.nasbert.settings import SearchSettings

Row = dict[str, Any]
MISSING = "-"


def report(bench: Bench, tasks: Sequence[str]) -> None:
    """Write tables and plots of everything, for these tasks."""
    rows = [row for row in (row_of(bench, tuning, tasks) for tuning in TUNINGS) if row is not None]
    searches = {name: found for name in SEARCHES if (found := figures_of(bench, f"search-{name}")) is not None}
    teachers = {task: (figures_of(bench, f"teacher-{task}") or {}).get("test") for task in tasks}
    command = " ".join(
        ["python -m benchmarks.blocks.nas WORK --data DATA", bench.arguments, f"--tasks {','.join(tasks)} --report"]
    )
    settings = bench.settings("blocks")
    facts = {
        "command": command,
        "trained_on": sorted({found["where"] for found in searches.values()}),
        **bench.settings_of_work(),
        "search_settings": settings.to_dict(),
        "search_epochs": search_epochs(settings, searches),
        "tasks": {task: {**vars(TASKS[task]), "teacher_settings": teacher_settings(bench, task)} for task in tasks},
        "teachers": teachers,
        "nets": rows,
        "searches": {
            name: {key: value for key, value in found.items() if key != "tables"} for name, found in searches.items()
        },
    }
    whole = [row for row in rows if row["on_text"] and row["on_task"]]
    lines = [
        f"### NAS-BERT on {bench.tokens} tokens: test accuracy, mean of the seeds (standard deviation, seeds)",
        "",
        *nets_table(whole, teachers),
        "",
        "Nets of a size have as many parameters, not as many MACs. Where no seeds are told it is one.",
        "",
        "What distillation is worth, the large net of the search that deletes blocks. On text the teacher also changes",
        "the objective: its hidden states with it, masked words without; and without it, too, the net begins with the",
        "teacher's word vectors:",
        "",
        *stages_table(rows, tasks),
        "",
        "Searches: what was left, and how well the sum of its blocks' losses foretells the loss of a net (200 random",
        "nets of the blocks that are left, each block fed by the one before it, with the shared weights):",
        "",
        *markdown(
            ("deleted", "blocks before", "left", "deletions", "least loss of a block", "Spearman"),
            [_searched(name, found) for name, found in searches.items()],
        ),
        "",
        "With what, beside the paper's:",
        "",
        *settings_table(bench, tasks, searches),
    ]
    save("nas", facts, lines)
    if "blocks" in searches:
        found = searches["blocks"]
        plot_blocks(
            SCHEMA.read_object(found["tables"], read_tables, "nas.json"), found["history"], RESULTS / "nas-buckets.png"
        )
        plot_nets(whole, found["points"], RESULTS / "nas.png")
    if SHARED_TASK in tasks:
        report_shared(bench, command)


def search_epochs(settings: SearchSettings, searches: Mapping[str, Any]) -> int | None:
    """Return the epochs of each search, which are the same whatever it deletes; None before the first one has run."""
    rounds = [
        len(history) - 1 for name in ("blocks", "operations") for history in searches.get(name, {}).get("history", ())
    ]
    return settings.warm_epochs + max(rounds) + settings.last_epochs if rounds else None


def teacher_settings(bench: Bench, task: str) -> dict[str, Any] | None:
    """Return the settings of a task's teacher as stated by its run, which may come from elsewhere."""
    path = bench.work / f"teacher-{task}" / "supernet.json"
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8"))["settings"] if path.is_file() else None
    return found


def settings_table(bench: Bench, tasks: Sequence[str], searches: Mapping[str, Any]) -> list[str]:
    """Tabulate the settings, beside those of the paper (KDD 2021)."""
    settings = bench.settings("blocks")
    epochs = search_epochs(settings, searches)
    used = next((found["tokens"]["train"] for found in searches.values()), bench.tokens)
    deleted = MISSING if epochs is None else str(epochs - settings.warm_epochs - settings.last_epochs)
    rows = [
        ("teacher", "BERT-base, 12 layers", "all-MiniLM-L6-v2, 6 layers"),
        ("text", "16 GB", f"{used:,} tokens"),
        ("B, buckets", "10, of one width", f"{settings.buckets}, {settings.bucketing}"),
        ("E, scored in a bucket each epoch", "2,000", f"{settings.sampled:,}, or all"),
        ("R, deleted of them", "half", f"{settings.deleted:g}"),
        ("m, left of a bucket", "10", f"{settings.kept}"),
        ("batches that blocks are scored on", "5", f"{settings.score_batches} of {settings.batch_size} texts"),
        (
            "epochs of a search: before, with and after deletions",
            "3, until m are left, 0 (3 days on 32 P40)",
            f"{settings.warm_epochs} + {deleted} + {settings.last_epochs} = {epochs or MISSING}",
        ),
        (
            "training of a net on text",
            "125,000 steps of 2,048 x 512 tokens",
            f"{bench.epochs:g} epochs, steps of 32 x 64",
        ),
    ]
    for task in tasks:
        plan, taught = TASKS[task], teacher_settings(bench, task)
        parts = [taught[f"{name}_epochs"] for name in ("teacher", "width", "depth")] if taught else []
        rows.append(
            (
                f"{task}: epochs of a net; of its teacher, its widths and depths; tokens",
                "",
                f"{plan.epochs * bench.tune_share:g}{' of all rows, in as many steps' if bench.most_rows else ''}; "
                f"{' + '.join(f'{part:g}' for part in parts) or MISSING}; "
                f"{plan.max_length}, teacher {taught['max_length'] if taught else MISSING}",
            )
        )
    rows.append(
        ("rows that a net is tuned on", "all", f"{bench.most_rows:,} at most, drawn" if bench.most_rows else "all")
    )
    return markdown(("", "paper", "here"), rows)


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


def row_of(bench: Bench, tuning: Tuning, tasks: Sequence[str]) -> Row | None:
    """Return a net with all its figures; None if it was not trained."""
    net = figures_of(bench, tuning.net)
    if net is None:
        return None
    found = {
        task: [
            figures["test"]
            for seed in range(TASKS[task].seeds)
            if (figures := figures_of(bench, tuning.name(task, seed))) is not None
        ]
        for task in tasks
    }
    means = [np.mean(values) for values in found.values() if values]
    return {
        **vars(tuning),
        **{key: net[key] for key in ("net", "parameters", "macs", "dev_loss")},
        "test": found,
        "average": float(np.mean(means)) if len(means) == len(tasks) else None,
    }


def nets_table(rows: Sequence[Row], teachers: Mapping[str, float | None]) -> list[str]:
    """Tabulate nets of each size, one a row; `teachers`: task -> accuracy of its teacher."""
    header = ("net", "parameters", "MACs", "text loss", *teachers, "average")
    cells = [
        (
            f"{row['size']}, {'hand-made BERT' if row['who'] == 'bert' else 'deletes ' + row['who']}: {row['net']}",
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['macs'] / 1e6:.0f} M",
            f"{row['dev_loss']:.3f}",
            *(_accuracy(row["test"][task]) for task in teachers),
            _percent(row["average"]),
        )
        for size in SIZES
        for row in rows
        if row["size"] == size
    ]
    known = [value for value in teachers.values() if value is not None]
    average = float(np.mean(known)) if len(known) == len(teachers) else None
    top = ("teacher", "22.6 M", "1434 M", "", *(_percent(value) for value in teachers.values()), _percent(average))
    return markdown(header, [top, *cells])


def stages_table(rows: Sequence[Row], tasks: Sequence[str]) -> list[str]:
    """Tabulate one net by the sources that it learnt from."""
    chosen = [row for row in rows if (row["who"], row["size"]) == ("blocks", "large")]
    header = ("on text", "on the task", *tasks, "average")
    return markdown(
        header,
        [
            (
                "teacher" if row["on_text"] else "masked words",
                "teacher and labels" if row["on_task"] else "labels",
                *(_accuracy(row["test"][task]) for task in tasks),
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
    return mean if len(values) == 1 else f"{mean} ({100 * np.std(values, ddof=1):.1f}, {len(values)})"


def plot_nets(rows: Sequence[Row], points: Sequence[Sequence[float]], path: Path) -> None:
    """Plot sizes against accuracies, and summed against real losses."""
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
    """Write the pool of shared blocks beside the teacher and its size."""
    found, teacher = figures_of(bench, "shared"), figures_of(bench, f"teacher-{SHARED_TASK}")
    if found is None or teacher is None:
        return
    lines = [
        f"### Nets out of a search's own blocks, weights shared, never trained together: {SHARED_TASK}",
        "",
        f"The blocks learnt the teacher's states on the training rows of {SHARED_TASK}, {SHARED_EPOCHS} epochs of them "
        f"after the last deletion. Teacher {100 * teacher['test']:.1f} %. Spearman of summed losses and the loss of "
        f"answers over {found['nets']} nets: {found['spearman']:.3f}.",
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
