"""Dev metrics of all 12 subnets after as much CPU time under each mix of subnets a step, from the same teacher.

    python -m benchmarks.training.mixes --data DATA --work WORK [--subjects TREC,SNIPS] [--mixes sandwich,anchored]
    python -m benchmarks.training.mixes --work WORK --report

The first trains; the second writes the table of what is trained. WORK keeps teachers, states and figures: called again,
what is finished is left alone, and what was interrupted continues.

Equal time is counted in steps: a teacher's pass, every subnet's forward and backward pass and the update are timed on a
batch of mean length, and a mix has as many steps as its mean step fits into the budget; the CPU time that it then took
stands beside. A quarter of the steps is the width stage's, the rest the depth stage's, all on unchanged rows.

Dev rows alone are measured. One seed, so that differences of a point may be chance.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import markdown, save
from benchmarks.training.accuracy_tasks import SUBJECTS, Subject, load
from benchmarks.training.training_speed import StepParts, Steps, parts_of_a_step
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.settings import IMPORTANCE_ROWS, Settings
from gearshift.trainer.dynabert.stages import Training, distil_stage, teacher_stage
from gearshift.trainer.dynabert.train import encode_split
from gearshift.trainer.dynabert.training_stages import DEPTH, WIDTH, Stage
from gearshift.trainer.learning.evaluate import dev_accuracy
from gearshift.trainer.learning.loop import StagePlan
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.pretrained import find_model

MIXES: dict[str, dict[str, Any]] = {
    "sandwich": {"sampling": "sandwich", "random_subnets": 1},
    "anchored": {"sampling": "anchored", "random_subnets": 2},
    "sandwich-frozen": {"sampling": "sandwich", "random_subnets": 1, "freeze_embeddings": True},
    "anchored-frozen": {"sampling": "anchored", "random_subnets": 2, "freeze_embeddings": True},
}
"""Settings by name of a mix; `frozen`: the embeddings stay as they are."""
SHOWN = ("w100-d100", "w050-d100", "w100-d050", "w050-d050", "w025-d050")
WIDTH_SHARE = 0.25
TEACHER_ROWS = 4_000
TIMED = 3


def main() -> None:
    """Train what is asked for, or write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.mixes", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--subjects", default="TREC,SNIPS,SST-2")
    parser.add_argument("--mixes", default=",".join(("sandwich", "anchored")))
    parser.add_argument("--budget-s", type=float, default=120, help="CPU seconds of distillation")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        report(options.work)
        return
    torch.set_num_threads(1)
    for name in options.subjects.split(","):
        subject = SUBJECTS[name]
        data = load(subject, options.data, most_rows=0)
        for mix in options.mixes.split(","):
            measure(subject, data, mix, options)


def measure(subject: Subject, data: DataSet, mix: str, options: argparse.Namespace) -> None:
    """Train a supernet by a mix and store its dev metrics, unless that is done."""
    folder = options.work / f"{subject.name}-{mix}"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "figures.json"
    if target.is_file():
        return
    training, dev = _taught(subject, data, options.work / f"{subject.name}-teacher", MIXES[mix])
    model, grid = training.model, training.model.grid()
    taught = dev_accuracy(model, model.full, dev)
    parts = _parts(training, options.work / f"{subject.name}-costs.json")
    training = dataclasses.replace(training, states=folder)
    steps, began = {}, time.process_time()
    for stage, share, hidden_weight in ((WIDTH, WIDTH_SHARE, 0.1), (DEPTH, 1 - WIDTH_SHARE, 1.0)):
        subnets = _trained(training, stage)
        step_s, drawn = parts.step(training.sampler(subnets))
        count = max(1, round(share * options.budget_s / step_s))
        steps[stage.name] = {"steps": count, "subnets": drawn, "expected_s": step_s}
        epochs = (count - 0.5) / training.rows.batch_count(training.settings.batch_size)  # rounded up to `count`
        distil_stage(training, StagePlan(stage.name, epochs, 3e-4, dropout=False), subnets, hidden_weight)
    facts = {
        "subject": subject.name,
        "mix": mix,
        "budget_s": options.budget_s,
        "cpu_s": round(time.process_time() - began, 1),
        "stages": steps,
        "teacher": taught,
        "dev_rows": len(dev),
        "dev": {name: dev_accuracy(model, subnet, dev) for name, subnet in grid.items()},
    }
    replace_file(target, json.dumps(facts, indent=1).encode())
    print(json.dumps(facts), flush=True)


def _taught(subject: Subject, data: DataSet, states: Path, mix: dict[str, Any]) -> tuple[Training, EncodedRows]:
    """Return the training of a subject after its teacher stage, which is run once for all mixes, and its dev rows."""
    states.mkdir(parents=True, exist_ok=True)
    epochs = TEACHER_ROWS / len(data.splits["train"])
    settings = Settings(teacher_epochs=epochs, width_epochs=1, depth_epochs=1, augment=0, **mix)
    torch.manual_seed(settings.seed)
    checkpoint = load_checkpoint(find_model(), data.labels, task=data.task)
    rows, dev = (encode_split(checkpoint, settings, data.splits[split], split) for split in ("train", "dev"))
    training = Training(checkpoint, settings, rows, states, ranked=IMPORTANCE_ROWS)
    training = teacher_stage(training)
    checkpoint.model.embeddings.requires_grad_(not settings.freeze_embeddings)
    return training, dev


def _trained(training: Training, stage: Stage) -> list[Subnet]:
    return [one for one in training.model.grid().values() if stage.trains(one, training.model.full)]


def _parts(training: Training, known: Path) -> StepParts:
    """Return the costs of a step on a batch of mean length, measured once for all mixes of a subject."""
    grid, frozen = list(training.model.grid().values()), str(training.settings.freeze_embeddings)
    if not known.is_file():
        batches = list(training.rows.batches(training.settings.batch_size, seed=0))
        mean = statistics.mean(batch.input_ids.shape[1] for batch in batches)
        batch = min(batches, key=lambda one: (abs(one.input_ids.shape[1] - mean), -len(one.indices)))
        measured = {}
        for freeze in (False, True):
            model = copy.deepcopy(training.model)
            model.embeddings.requires_grad_(not freeze)
            parts = parts_of_a_step(Steps(model, batch, training.checkpoint.task), grid, TIMED)
            measured[str(freeze)] = [parts.teacher, parts.update, *(parts.subnets[one] for one in grid)]
        replace_file(known, json.dumps(measured).encode())
    teacher, update, *passes = json.loads(known.read_text(encoding="utf-8"))[frozen]
    return StepParts(teacher, 0.0, update, dict(zip(grid, passes, strict=True)))


def report(work: Path) -> None:
    """Write the table of all figures in a folder."""
    figures = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob("*/figures.json"))]
    order = [(subject, mix) for subject in SUBJECTS for mix in MIXES]
    figures.sort(key=lambda one: order.index((one["subject"], one["mix"])))
    rows = []
    for one in figures:
        count = sum(stage["steps"] for stage in one["stages"].values())
        subnets = sum(stage["steps"] * stage["subnets"] for stage in one["stages"].values())
        cells = [f"{100 * one['dev'][name]:.1f}" for name in SHOWN]
        mean = f"{100 * statistics.mean(one['dev'].values()):.1f}"
        told = f"{one['subject']} ({one['dev_rows']}; teacher {100 * one['teacher']:.1f})"
        rows.append([told, one["mix"], str(count), f"{subnets:.0f}", f"{one['cpu_s']:.0f}", *cells, mean])
    header = ["dev rows", "mix", "steps", "subnet steps", "CPU s", *SHOWN, "mean of 12"]
    facts = {"command": "python -m benchmarks.training.mixes", "torch": torch.__version__, "figures": figures}
    save("training-mixes", facts, markdown(header, rows))


if __name__ == "__main__":
    main()
