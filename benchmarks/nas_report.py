"""Tables and plots of what `benchmarks.nas` trained."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from scipy.stats import spearmanr

from benchmarks.nas_runs import SEARCHES, SHARED_TASK, SIZES, TASKS, TUNINGS, Bench, Tuning, results_of
from benchmarks.report import RESULTS, markdown, save
from gearshift.plot_search import plot_blocks
from gearshift.trainer.nasbert.corpus import read_corpus
from gearshift.trainer.nasbert.rescore import net_losses
from gearshift.trainer.nasbert.search import MACS_TOKENS


def report(bench: Bench, command: str) -> None:
    """Tables and plots of everything."""
    rows = [row_of(bench, tuning) for tuning in TUNINGS]
    searches = {name: rank_of(bench, name) for name in SEARCHES}
    teachers = {task: bench.teacher(task).accuracies["w100-d100"] for task in TASKS}
    facts = {
        "command": command,
        "threads": 1,
        "tokens": bench.tokens,
        "epochs": bench.epochs,
        "tasks": {name: vars(task) for name, task in TASKS.items()},
        "teachers": teachers,
        "nets": rows,
        "searches": searches,
    }
    lines = [
        f"### NAS-BERT on {bench.tokens} tokens: test accuracy, mean of the seeds (standard deviation)",
        "",
        *nets_table(rows[: len(SIZES) * (1 + len(SEARCHES))], teachers),
        "",
        "What distillation is worth, the large net of the search that deletes blocks:",
        "",
        *stages_table(rows),
        "",
        "Searches: what was left, and how well the sum of its blocks' losses foretells the loss of a net (200 random",
        "nets of the blocks that are left, each block fed by the one before it, with the shared weights):",
        "",
        *markdown(
            ("deleted", "blocks before", "left", "deletions", "Spearman"),
            [
                (
                    name,
                    " + ".join(map(str, found["before"])),
                    " + ".join(map(str, found["left"])),
                    str(found["rounds"]),
                    f"{found['spearman']:.3f}",
                )
                for name, found in searches.items()
            ],
        ),
    ]
    save("nas", facts, lines)
    plot_blocks(bench.search("blocks"), RESULTS / "nas-buckets.png")
    plot_nets(rows, searches["blocks"]["points"], RESULTS / "nas.png")
    report_shared(bench, command)


def row_of(bench: Bench, tuning: Tuning) -> dict[str, Any]:
    """A net with everything that was measured of it."""
    net = bench.net(tuning.who, tuning.size, distilled=tuning.on_text)
    (name, subnet), *_ = net.subnets.items()
    shape = net.checkpoint.model.shape
    found = {task: results_of(bench, tuning, task) for task in TASKS}
    return {
        **vars(tuning),
        "net": name,
        "parameters": subnet.parameters(shape),
        "macs": subnet.macs(shape, MACS_TOKENS),
        "dev_loss": net.facts["dev_loss"],
        "test": found,
        "average": float(np.mean([np.mean(values) for values in found.values()])),
    }


RANDOM = 200


def rank_of(bench: Bench, name: str) -> dict[str, Any]:
    """How summed and real losses of random nets agree, and what a search left."""
    searched = bench.search(name)
    source = random.Random(0)
    rows = searched.tables.rows
    choices = list(dict.fromkeys(tuple(source.randrange(len(stage)) for stage in rows) for _ in range(RANDOM)))
    found = [searched.tables.estimate(choice) for choice in choices]
    corpus = read_corpus(
        bench.texts, bench.encoder.checkpoint.tokenizer, max_length=64, tokens=1, dev_tokens=bench.dev_tokens
    )
    batches = list(corpus.dev.batches(32, seed=1))[:3]
    losses = net_losses(searched.run.checkpoint.model, bench.encoder, [one.subnet for one in found], batches)
    return {
        "before": [history[0]["blocks"] for history in searched.history],
        "left": [len(stage) for stage in rows],
        "rounds": max(len(history) - 1 for history in searched.history),
        "spearman": float(spearmanr([one.loss for one in found], losses).statistic),
        "points": [(one.loss, float(loss)) for one, loss in zip(found, losses, strict=True)],
    }


def nets_table(rows: list[dict[str, Any]], teachers: dict[str, float]) -> list[str]:
    """Nets of each size, one a row."""
    header = ("net", "parameters", "MACs", "text loss", *TASKS, "average")
    cells = [
        (
            f"{row['size']}, {'hand-made BERT' if row['who'] == 'bert' else 'deletes ' + row['who']}: {row['net']}",
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['macs'] / 1e6:.0f} M",
            f"{row['dev_loss']:.3f}",
            *(_accuracy(row["test"][task]) for task in TASKS),
            f"{100 * row['average']:.1f}",
        )
        for row in rows
    ]
    top = ("teacher", "22.6 M", "1434 M", "", *(f"{100 * value:.1f}" for value in teachers.values()))
    average = f"{100 * float(np.mean(list(teachers.values()))):.1f}"
    return markdown(header, [(*top, average), *cells])


def stages_table(rows: list[dict[str, Any]]) -> list[str]:
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
                f"{100 * row['average']:.1f}",
            )
            for row in chosen
        ],
    )


def _accuracy(values: list[float]) -> str:
    mean = f"{100 * np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({100 * np.std(values, ddof=1):.1f})"


def plot_nets(rows: list[dict[str, Any]], points: list[tuple[float, float]], path: Path) -> None:
    """Sizes against accuracies, and summed against real losses."""
    figure, (sizes, sums) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for who in ("bert", *SEARCHES):
        mine = [row for row in rows if row["who"] == who and row["on_text"] and row["on_task"]]
        label = "hand-made BERT" if who == "bert" else f"search that deletes {who}"
        x, y = [row["parameters"] / 1e6 for row in mine], [100 * row["average"] for row in mine]
        sizes.plot(x, y, marker="o", label=label)
    sizes.set(xlabel="parameters, millions", ylabel="average accuracy, test rows, %")
    sizes.legend(fontsize=8)
    summed, measured = (np.array(values) for values in zip(*points, strict=True))
    sums.scatter(measured, summed, s=10)
    sums.set(xlabel="real loss of a net", ylabel="sum of its blocks' losses", title="200 random nets")
    for axes in (sizes, sums):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report_shared(bench: Bench, command: str) -> None:
    """The pool of shared blocks beside the teacher and its size."""
    searched, scored = bench.shared()
    run = searched.run
    known = {one.subnet: one for one in scored}
    pool: list[dict[str, Any]] = [
        {
            "name": name,
            "macs": known[subnet].macs,
            "parameters": subnet.parameters(run.checkpoint.model.shape),
            "summed": known[subnet].summed,
            "loss": known[subnet].loss,
            "accuracy": run.accuracies[name],
        }
        for name, subnet in run.subnets.items()
    ]
    rank = float(spearmanr([one.summed for one in scored], [one.loss for one in scored]).statistic)
    teacher = bench.teacher(SHARED_TASK).accuracies["w100-d100"]
    lines = [
        f"### Nets out of a search's own blocks, weights shared, never trained together: {SHARED_TASK}",
        "",
        f"Teacher {100 * teacher:.1f} %. Spearman of summed losses and the loss of answers over {len(scored)} nets: "
        f"{rank:.3f}.",
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
                for one in pool
            ],
        ),
    ]
    save("nas-shared", {"command": command, "teacher": teacher, "spearman": rank, "pool": pool}, lines)
