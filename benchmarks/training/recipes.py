"""Dev metrics of subnets after short trainings by different recipes, from the same teacher, all else equal.

    python -m benchmarks.training.recipes --data DATA --work WORK [--subjects TREC,SST-2] [--recipes one-stage]
    python -m benchmarks.training.recipes --data DATA --work WORK --steps 600 --recipes one-stage,rate-6e-4
    python -m benchmarks.training.recipes --data DATA --work WORK --recipes base --base RUN
    python -m benchmarks.training.recipes --report

A budget like that of a demo: at most 3,000 training rows, a teacher of 100 steps, and 120 steps of distillation (or
`--steps`) at a rate of 3e-4 with frozen embeddings. WORK keeps teachers and states: an interrupted training continues
when called again. Test rows are never read. One seed unless more are named.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from benchmarks.report import RESULTS, markdown, save
from benchmarks.training.accuracy_tasks import SUBJECTS, Subject, by_hash, load
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.space.subnet import SKIPPED, Subnet
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.settings import BROUGHT, IMPORTANCE_ROWS, TUNED, Settings
from gearshift.trainer.dynabert.stages import Training, distil_stage, teacher_stage
from gearshift.trainer.dynabert.train import encode_split
from gearshift.trainer.dynabert.training_stages import DEPTH, WIDTH, Stage
from gearshift.trainer.learning.devices import make_accelerator
from gearshift.trainer.learning.evaluate import dev_accuracy
from gearshift.trainer.learning.loop import StagePlan
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.pretrained import find_model

COMPARED = ("TREC", "SNIPS", "SICK", "STS-B", "SST-2", "WNUT-17")
TRAIN_ROWS, DEV_ROWS, BATCH = 3_000, 500, 32
TEACHER_STEPS, STEPS = 100, 120
SHOWN = ("w100-d100", "w050-d100", "w025-d100", "w100-d050", "w050-d050", "w025-d050")
FIGURES = RESULTS / "recipes"
Stages = tuple[tuple[Stage, float, float], ...]
"""Stages of a recipe: each with its share of the steps and its weight of hidden states."""
ONE: Stages = ((DEPTH, 1.0, 1.0),)
TWO: Stages = ((WIDTH, 0.25, 0.1), (DEPTH, 0.75, 1.0))


@dataclass(frozen=True)
class Recipe:
    """A way to distil."""

    stages: Stages = ONE
    settings: dict[str, Any] = field(default_factory=dict)
    rate: float = 3e-4
    half: tuple[int, ...] = ()
    """Layers that half depth keeps; none: every second one, as in DynaBERT."""
    based: bool = False
    """Whether it starts from the supernet that is named, beside its tuned copy, in place of the default encoder."""


RECIPES = {
    "two-stages": Recipe(TWO),
    "two-stages-labels": Recipe(TWO, {"label_weight": 1.0}),
    "two-stages-anchored": Recipe(TWO, {"sampling": "anchored", "random_subnets": 2}),
    "one-stage": Recipe(),
    "one-stage-labels": Recipe(ONE, {"label_weight": 1.0}),
    "anchored": Recipe(ONE, {"sampling": "anchored", "random_subnets": 2}),
    "two-random": Recipe(ONE, {"random_subnets": 2}),
    "all-twelve": Recipe(ONE, {"sampling": "all"}),
    "same-width-teacher": Recipe(ONE, {"same_width_teacher": True}),
    "in-place": Recipe(ONE, {"in_place": True}),
    "rate-1e-4": Recipe(rate=1e-4),
    "rate-6e-4": Recipe(rate=6e-4),
    "rate-1e-3": Recipe(rate=1e-3),
    "answers-only": Recipe(((DEPTH, 1.0, 0.0),)),
    "hidden-.1": Recipe(((DEPTH, 1.0, 0.1),)),
    "hidden-10": Recipe(((DEPTH, 1.0, 10.0),)),
    "hidden-100": Recipe(((DEPTH, 1.0, 100.0),)),
    "half-025": Recipe(half=(0, 2, 5)),
    "base": Recipe(TWO, based=True),
}


def main() -> None:
    """Train by every recipe on every data set, or write the table of what is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.recipes", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--subjects", default=",".join(COMPARED))
    parser.add_argument("--recipes", default=",".join(name for name, one in RECIPES.items() if not one.based))
    parser.add_argument("--base", type=Path, help="run of an embedding, for recipes that start from it")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of distillation")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if not options.report:
        torch.set_num_threads(1)
        for name in options.subjects.split(","):
            for recipe in options.recipes.split(","):
                for seed in map(int, options.seeds.split(",")):
                    measure(SUBJECTS[name], recipe, seed, options)
    report()


def measure(subject: Subject, name: str, seed: int, options: argparse.Namespace) -> None:
    """Train a supernet by a recipe and store its dev metrics, unless that is done."""
    longer = "" if options.steps == STEPS else f"-{options.steps}-steps"
    target = FIGURES / f"{subject.name.lower()}-{name}-seed{seed}{longer}.json"
    if target.is_file():
        return
    recipe = RECIPES[name]
    training, dev = _taught(subject, recipe, seed, options)
    model = training.model
    teacher = training.taught_by or model
    taught = dev_accuracy(teacher, teacher.full, dev)
    states = options.work / f"{subject.name}-{name}-seed{seed}{longer}"
    states.mkdir(parents=True, exist_ok=True)
    settings = dataclasses.replace(training.settings, **recipe.settings)
    training = dataclasses.replace(training, states=states, settings=settings)
    began, grid = time.process_time(), _grid(model, recipe)
    before = {name: dev_accuracy(model, grid[name], dev) for name in SHOWN[3:]}
    for stage, share, hidden_weight in recipe.stages:
        epochs = (share * options.steps - 0.5) / training.rows.batch_count(BATCH)  # rounded up to the number of steps
        subnets = [one for one in grid.values() if stage.trains(one, model.full)]
        distil_stage(training, StagePlan(stage.name, epochs, recipe.rate, dropout=False), subnets, hidden_weight)
    facts = {
        "subject": subject.name,
        "recipe": name,
        "seed": seed,
        "steps": options.steps,
        "precision": training.accelerator.mixed_precision,
        "cpu_s": round(time.process_time() - began, 1),
        "dev_rows": len(dev),
        "teacher": taught,
        "dev_before": before,
        "dev": {name: dev_accuracy(model, grid[name], dev) for name in SHOWN},
    }
    shutil.rmtree(states)
    FIGURES.mkdir(parents=True, exist_ok=True)
    replace_file(target, (json.dumps(facts, indent=1) + "\n").encode())


def _grid(model: ElasticClassifier, recipe: Recipe) -> dict[str, Subnet]:
    """Return the subnets of a recipe by name."""
    grid = model.grid()
    for name, subnet in grid.items():
        if recipe.half and name.endswith("d050"):
            kept = max(subnet.layers)
            layers = range(model.shape.layers)
            grid[name] = Subnet(tuple(kept if layer in recipe.half else SKIPPED for layer in layers))
    return grid


def _taught(subject: Subject, recipe: Recipe, seed: int, options: argparse.Namespace) -> tuple[Training, EncodedRows]:
    """Return the training of a subject after its teacher stage, which is run once for all recipes, and its dev rows."""
    states = options.work / f"{subject.name}-{'base' if recipe.based else 'teacher'}-seed{seed}"
    source = options.base if recipe.based else None
    training, dev = untaught(subject, states, seed=seed, data=options.data, source=source)
    return teacher_stage(training), dev


def untaught(
    subject: Subject,
    states: Path,
    *,
    data: Path,
    seed: int,
    source: Path | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Training, EncodedRows]:
    """Return the training of a subject before its teacher stage, and its dev rows.

    `source`: a supernet to start from, beside its tuned copy; None: the default encoder, ranked by the task.
    `settings`: those that differ from the budget's.
    """
    rows_of = dev_only(load(subject, data))
    chosen = Settings(
        **{
            "teacher_epochs": (TEACHER_STEPS * BATCH - 1e-3) / len(rows_of.splits["train"]),
            "width_epochs": 1,
            "depth_epochs": 1,
            "augment": 0,
            "freeze_embeddings": True,
            "start": BROUGHT if source else TUNED,
            "seed": seed,
            **settings,
        }
    )
    torch.manual_seed(seed)
    checkpoint = load_checkpoint(source or find_model(), rows_of.labels, task=rows_of.task)
    checkpoint.model.embeddings.requires_grad_(False)
    rows, dev = (encode_split(checkpoint, chosen, rows_of.splits[split], split) for split in ("train", "dev"))
    states.mkdir(parents=True, exist_ok=True)
    ranked = 0 if source else IMPORTANCE_ROWS
    return Training(checkpoint, chosen, rows, states, accelerator=make_accelerator("bf16"), ranked=ranked), dev


def dev_only(data: DataSet) -> DataSet:
    """Return some rows of train and dev, picked by hash, and a few dev rows as test rows: no others are read."""
    train, dev = by_hash(data.splits["train"])[:TRAIN_ROWS], by_hash(data.splits["dev"])[:DEV_ROWS]
    return dataclasses.replace(data, splits={"train": train, "dev": dev, "test": dev[:8]}, origin=None)


def report() -> None:
    """Write the table of all stored figures."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIGURES.glob("*.json"))]
    order = list(RECIPES)
    found.sort(key=lambda one: (COMPARED.index(one["subject"]), _steps(one), one["seed"], order.index(one["recipe"])))
    rows = []
    for one in found:
        cells = [f"{100 * one['dev'][name]:.1f}" for name in SHOWN]
        mean = f"{100 * sum(one['dev'].values()) / len(SHOWN):.1f}"
        rows.append([one["subject"], str(_steps(one)), one["recipe"], f"{100 * one['teacher']:.1f}", *cells, mean])
    header = ["dev rows", "steps", "recipe", "teacher", *SHOWN, "mean of the six"]
    save("recipes", {"command": "python -m benchmarks.training.recipes", "figures": found}, markdown(header, rows))


def _steps(figures: dict[str, Any]) -> int:
    return int(figures.get("steps", STEPS))  # not stored before there was a choice


if __name__ == "__main__":
    main()
