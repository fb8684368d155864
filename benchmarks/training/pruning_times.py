"""Dev metrics of pruned subnets by the time at which their weights become zeros: a table and a plot.

    python -m benchmarks.training.pruning_times --data DATA --work WORK [--subjects TREC] [--ways "before;depth"]
    python -m benchmarks.training.pruning_times --report

The budget is that of `benchmarks.training.recipes`: at most 3,000 training rows, a teacher of 100 steps, 120 steps of
distillation, one seed, and no test rows. Zeros come before fine-tuning, during it, or during distillation (each matrix
by itself, or the smallest weights of all matrices together), or all at once at the end. `deletion` is the control of
Gordon et al. (2020, section 3.3): zeros before fine-tuning that may learn again, so that information is lost but no
capacity.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import RESULTS, markdown, save
from benchmarks.training.accuracy_tasks import SUBJECTS, Subject
from benchmarks.training.recipes import BATCH, STEPS, untaught
from gearshift.runtime.files.atomic import replace_file
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.dynabert.stages import distil_stage, pruner, teacher_stage
from gearshift.trainer.dynabert.training_stages import DEPTH, TEACHER
from gearshift.trainer.learning.evaluate import dev_accuracy
from gearshift.trainer.learning.loop import StagePlan
from gearshift.trainer.learning.sparsity import prunable, prune_smallest
from gearshift.trainer.model.elastic import ElasticClassifier

SHOWN = ("w100-d100", "w050-d050")
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FIGURES = RESULTS / "pruning-times"
DELETION, END = "deletion", "end"
WAYS: dict[str, dict[str, Any]] = {
    "before": {"prune_stage": TEACHER.name, "prune_ramp": 0.0},
    DELETION: {},
    "during": {"prune_stage": TEACHER.name},
    "depth": {"prune_stage": DEPTH.name},
    "depth, global": {"prune_stage": DEPTH.name, "prune_scope": "global"},
}
"""Settings of each way besides the share of zeros; `end` has no training of its own."""


def main() -> None:
    """Train in every way to every share on every data set, or write the table of what is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.pruning_times", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--subjects", default="TREC,SNIPS,SST-2")
    parser.add_argument("--ways", default=";".join(WAYS), help="separated by semicolons")
    parser.add_argument("--shares", default=",".join(map(str, SHARES)))
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if not options.report:
        torch.set_num_threads(1)
        for name in options.subjects.split(","):
            for share in (0.0, *map(float, options.shares.split(","))):
                for way in options.ways.split(";") if share else ["depth"]:
                    measure(SUBJECTS[name], way, share, options)
    report()


def measure(subject: Subject, way: str, share: float, options: argparse.Namespace) -> None:
    """Train a supernet with a share of zeros and store its dev metrics, unless that is done."""
    target = _place(subject, way, share)
    if target.is_file():
        return
    states = options.work / target.stem
    shutil.rmtree(states, ignore_errors=True)
    settings = {"sparsity": share, **WAYS[way]} if WAYS[way] else {}  # a deletion is no constraint
    training, dev = untaught(subject, states, data=options.data, seed=0, settings=settings)
    model = training.model
    if way == DELETION:
        prune_smallest(prunable(model, embeddings=False), share, "matrix")
    training = teacher_stage(training)
    subnets = list(model.grid().values())
    plan = StagePlan(DEPTH.name, (STEPS - 0.5) / training.rows.batch_count(BATCH), 3e-4, dropout=False)
    distil_stage(training, plan, subnets, 1.0, pruner(training, DEPTH.name))
    _store(subject, way, share, model, dev)
    for later in SHARES if not share else ():  # in order, since what is zero stays zero
        prune_smallest(prunable(model, embeddings=False), later, "matrix")
        _store(subject, END, later, model, dev)
    shutil.rmtree(states)


def _store(subject: Subject, way: str, share: float, model: ElasticClassifier, dev: EncodedRows) -> None:
    """Write the dev metrics of a pruned net."""
    grid = model.grid()
    facts = {
        "subject": subject.name,
        "way": way,
        "share": share,
        "dev_rows": len(dev),
        "dev": {name: dev_accuracy(model, grid[name], dev) for name in SHOWN},
    }
    FIGURES.mkdir(parents=True, exist_ok=True)
    replace_file(_place(subject, way, share), (json.dumps(facts, indent=1) + "\n").encode())


def _place(subject: Subject, way: str, share: float) -> Path:
    return FIGURES / f"{subject.name.lower()}-{way.replace(', ', '-')}-{100 * share:.0f}.json"


def report() -> None:
    """Write the table and the plot of all stored figures."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIGURES.glob("*.json"))]
    subjects = list(dict.fromkeys(one["subject"] for one in found))
    columns = [(subject, net) for subject in subjects for net in SHOWN]
    dev = {(one["subject"], one["way"], one["share"]): one["dev"] for one in found}

    def cells(way: str, share: float) -> list[str]:
        nets = [dev.get((subject, way, share)) for subject, _ in columns]
        return [f"{100 * one[net]:.1f}" if one else "-" for one, (_, net) in zip(nets, columns, strict=True)]

    shares = sorted({one["share"] for one in found} - {0.0})
    rows = [["none", "", *cells("depth", 0.0)]]
    rows += [[f"{100 * share:.0f} %", way, *cells(way, share)] for share in shares for way in (*WAYS, END)]
    header = ["zeros", "made", *(f"{subject} {net}" for subject, net in columns)]
    facts = {"command": "python -m benchmarks.training.pruning_times", "figures": found}
    save("pruning-times", facts, markdown(header, rows))
    _plot(RESULTS / "pruning-times.png", subjects, shares, dev)


def _plot(path: Path, subjects: list[str], shares: list[float], dev: dict[tuple[str, str, float], Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, all_axes = plt.subplots(
        len(SHOWN), len(subjects), sharex=True, figsize=(4 * len(subjects), 7), layout="constrained", squeeze=False
    )
    for row, net in zip(all_axes, SHOWN, strict=True):
        for axes, subject in zip(row, subjects, strict=True):
            for way in (*WAYS, END):
                known = [share for share in shares if (subject, way, share) in dev]
                found = [100 * dev[subject, way, share][net] for share in known]
                axes.plot([100 * share for share in known], found, "o-", label=way)
            axes.set_title(f"{subject}, {net}")
            axes.grid(alpha=0.3)
    all_axes[0][0].set_ylabel("dev rows, %")
    all_axes[-1][0].set_xlabel("weights pruned, %")
    all_axes[0][0].legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
