"""Accuracy on dev rows of supernets that start from different encoders, all else equal, on six data sets.

    python -m benchmarks.training.bases --data DATA --runs RUNS [--bases MiniLM-L6,elastic=DIR] [--subjects TREC,SNIPS]
    python -m benchmarks.training.bases --report

A short budget, that of a demo: at most 3,000 training rows, a teacher of 100 steps, and 120 steps of distillation. RUNS
holds the trainings; an interrupted one continues when called again. Test rows are never read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import RESULTS, save
from benchmarks.training.accuracy_tasks import SUBJECTS, Subject, by_hash, load
from gearshift.runtime.profiles.store import this_device
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.model.pretrained import find_model

COMPARED = ("TREC", "SNIPS", "SICK", "STS-B", "SST-2", "WNUT-17")
TRAIN_ROWS, DEV_ROWS, BATCH = 3_000, 300, 32
TEACHER_STEPS, WIDTH_STEPS, DEPTH_STEPS = 100, 30, 90
SETTINGS: dict[str, Any] = {
    "max_length": 64,
    "batch_size": BATCH,
    "freeze_embeddings": True,
    "sampling": "anchored",
    "random_subnets": 2,
    "width_lr": 3e-4,
    "depth_lr": 3e-4,
    "save_every_s": 40,
}
SHOWN = ("w100-d100", "w050-d100", "w025-d100", "w100-d050", "w050-d050", "w025-d050")
FIGURES = RESULTS / "bases"


def main() -> None:
    """Train from every encoder on every data set, or write the table of what is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.bases", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--bases", default="MiniLM-L6", help="NAME of the default encoder, and NAME=DIR of others")
    parser.add_argument("--subjects", default=",".join(COMPARED))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder of the figures")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if not options.report:
        torch.set_num_threads(1)
        for name in options.subjects.split(","):
            for base in options.bases.split(","):
                for seed in map(int, options.seeds.split(",")):
                    measure(SUBJECTS[name], base, seed, options)
    report(options.figures)


def measure(subject: Subject, base: str, seed: int, options: argparse.Namespace) -> None:
    """Train a teacher and a supernet unless their figures are there, and store these."""
    name, _, place = base.partition("=")
    stem = f"{subject.name.lower()}-{name.lower()}-seed{seed}"
    stored = options.figures / f"{stem}.json"
    if stored.is_file():
        return
    data = dev_only(load(subject, options.data))
    rows = len(data.splits["train"])
    source = Path(place) if place else find_model()
    epochs = TEACHER_STEPS * BATCH / rows
    taught = Settings(**SETTINGS, seed=seed, teacher_epochs=epochs, width_epochs=0, depth_epochs=0)
    options.runs.mkdir(parents=True, exist_ok=True)
    teacher = train_supernet(source, data, taught, options.runs / f"{stem}-teacher")
    distilled = dataclasses.replace(
        taught, teacher_epochs=0, width_epochs=WIDTH_STEPS * BATCH / rows, depth_epochs=DEPTH_STEPS * BATCH / rows
    )
    made = train_supernet(teacher.path, data, distilled, options.runs / stem)
    facts = {
        "subject": subject.name,
        "base": name,
        "seed": seed,
        "metric": OBJECTIVES[subject.task].metric,
        "device": this_device().to_dict(),
        "rows": {"train": rows, "dev": len(data.splits["dev"])},
        "settings": made.facts["settings"],
        "teacher": {"dev": teacher.facts["dev_metrics"]},
        "supernet": {"dev": made.facts["dev_metrics"]},
    }
    options.figures.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def dev_only(data: DataSet) -> DataSet:
    """Return some rows of train and dev, picked by hash, and a few dev rows as test rows: no others are read."""
    train, dev = by_hash(data.splits["train"])[:TRAIN_ROWS], by_hash(data.splits["dev"])[:DEV_ROWS]
    return dataclasses.replace(data, splits={"train": train, "dev": dev, "test": dev[:8]}, origin=None)


def report(folder: Path) -> None:
    """Write the table of all stored figures."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    first = ("data set, metric on dev rows", "start", "seed", "teacher", "its w100-d050")
    lines = [f"| {' | '.join([*first, *SHOWN])} |", "|---" * (len(first) + len(SHOWN)) + "|"]
    for one in sorted(found, key=lambda one: (COMPARED.index(one["subject"]), one["seed"], one["base"])):
        metric = one["metric"]
        taught, distilled = one["teacher"]["dev"], one["supernet"]["dev"]
        cells = [taught["w100-d100"], taught["w100-d050"], *(distilled[name] for name in SHOWN)]
        shown = " | ".join(f"{100 * cell[metric]:.1f}" for cell in cells)
        lines.append(f"| {one['subject']} ({metric}) | {one['base']} | {one['seed']} | {shown} |")
    command = "python -m benchmarks.training.bases --data DATA --runs RUNS --bases MiniLM-L6,elastic=DIR"
    save("bases", {"command": command, "figures": found}, lines)


if __name__ == "__main__":
    main()
