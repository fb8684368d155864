"""Accuracy of a teacher and of all 12 subnets of its supernet, on eight data sets, from MiniLM-L6.

    python -m benchmarks.training.accuracy --data DATA --runs RUNS [--subjects TREC,SNIPS] [--seeds 0,1,2]
    python -m benchmarks.training.accuracy --report
    python -m benchmarks.training.accuracy --data DATA --runs RUNS --subjects TREC --alone w025-d050
    python -m benchmarks.training.accuracy --data DATA --runs RUNS --subjects SICK --variant all-subnets

The first trains and stores figures, the second writes the table, the third trains one small model alone, the last
follows another recipe.

DATA holds the data sets (`accuracy_tasks`), RUNS the trainings. Each data set and seed has trainings and a file of
figures of its own: called again, those that are finished are left alone, and an interrupted training continues.

A file of figures has every metric of the teacher and of every subnet on dev and on test rows, and what each row
contributes to the metric (`row_scores`). Recipes are chosen by dev; test rows are for the table alone.

`--alone` cuts one subnet out of the same teacher and distils it alone, in as many steps as the supernet had.
`--variant` trains a supernet of the same teacher by one of VARIANTS, for the list of alternatives.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import json
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers

from benchmarks.report import RESULTS
from benchmarks.training.accuracy_report import report
from benchmarks.training.accuracy_tasks import RECIPE, SHARED, SUBJECTS, VARIANTS, Subject, load
from benchmarks.training.row_scores import row_scores
from gearshift.errors import InputError
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.profiles.store import this_device
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.learning.evaluate import metrics_of, outputs_of
from gearshift.trainer.learning.interrupted import fixed_settings
from gearshift.trainer.model.pretrained import find_model
from gearshift.trainer.model.run import SUPERNET, Run, encode_held_out, load_supernet

FIGURES = RESULTS / "accuracy"
FULL = "w100-d100"
SPLITS = {"dev": "dev_metrics", "test": "metrics"}
"""Split -> name of its metrics in a file of figures."""


def main() -> None:
    """Train the requested subjects, or write the table of all trained ones."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.accuracy", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument("--seeds", default="")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--alone", default="", metavar="SUBNET")
    kinds.add_argument("--variant", default="", choices=["", *VARIANTS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--beside", type=int, default=1, help="number of trainings that share the device, for the record"
    )
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder of the figures")
    parser.add_argument("--most-rows", type=int, default=0, help="most rows of each split, for a trial")
    parser.add_argument(
        "--epochs-share", type=float, default=1, help="share of the supernets' epochs, if time is short"
    )
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        report(options.figures)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cost of an interrupted training is noted
    torch.set_num_threads(options.threads)
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cuda.enable_cudnn_sdp(False)  # plans anew for every length of text
    for name in options.subjects.split(","):
        subject = SUBJECTS[name]
        seeds = [int(seed) for seed in options.seeds.split(",")] if options.seeds else subject.seeds
        for seed in seeds:
            measure(subject, seed, options)


def measure(subject: Subject, seed: int, options: argparse.Namespace) -> None:
    """Train a teacher and a supernet, or a single subnet, and store their figures, unless that is done."""
    of_teacher = f"{subject.name.lower()}-{seed}"
    kind = f"alone-{options.alone}" if options.alone else f"variant-{options.variant}" if options.variant else ""
    stem = f"{of_teacher}-{kind}" if kind else of_teacher
    target = options.figures / f"{stem}.json"
    if target.is_file():
        print(f"{target.name}: there already; remove it to measure again")
        return
    data = load(subject, options.data, most_rows=options.most_rows)
    if subject.test_is_dev:  # the splits differ from those of the files
        data = dataclasses.replace(data, origin=None)
    teacher = _train(options.runs / f"{of_teacher}-teacher", find_model(), data, _teacher_settings(subject, seed))
    settings = _shortened(_supernet_settings(subject, seed), options.epochs_share)
    if options.alone:
        settings = _alone_settings(settings, options.alone)
    elif options.variant:
        settings = dataclasses.replace(settings, **VARIANTS[options.variant](settings))
    made = _train(options.runs / stem, teacher.path, data, settings)
    of_teacher_net, of_nets = (_measured(run, data) for run in (teacher, made))
    facts = {
        "date": datetime.date.today().isoformat(),
        "command": _command(subject, seed, options),
        "chosen_by": "dev",
        "subject": subject.name,
        "seed": seed,
        "task": subject.task,
        "variant": options.variant,
        "device": _device(options),
        "rows": made.facts["rows"],
        "truncated_rows": made.facts["truncated_rows"],
        "dropped_rows": made.facts["dropped_rows"],
        "majority": {split: _majority(data, split) for split in SPLITS},
        "teacher": {
            "settings": teacher.facts["settings"],
            **{field: of_teacher_net[split][0][FULL] for split, field in SPLITS.items()},
            **_cost(teacher),
        },
        "supernet": {
            "settings": made.facts["settings"],
            **{field: of_nets[split][0] for split, field in SPLITS.items()},
            **_cost(made),
        },
        "row_scores": {split: {"teacher": of_teacher_net[split][1][FULL], **of_nets[split][1]} for split in SPLITS},
    }
    options.figures.mkdir(parents=True, exist_ok=True)
    replace_file(target, (json.dumps(facts, indent=1) + "\n").encode())  # whole, or not at all


def _measured(run: Run, data: DataSet) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return split -> the metrics of every subnet of a run, and its scores on each row."""
    model = run.checkpoint.model.to(training_device())
    found = {}
    for split in SPLITS:
        rows = encode_held_out(run, data.splits[split])
        outputs = {name: outputs_of(model, subnet, rows) for name, subnet in run.subnets.items()}
        found[split] = (
            {name: metrics_of(output, rows) for name, output in outputs.items()},
            {name: row_scores(output, rows).to_dict() for name, output in outputs.items()},
        )
    return found


def _majority(data: DataSet, split: str) -> float:
    """Return the share of a split's rows with the commonest label of the training rows; 0 if there are no classes."""
    if data.task != "classification":
        return 0.0
    commonest = collections.Counter(row.label for row in data.splits["train"]).most_common(1)[0][0]
    return sum(row.label == commonest for row in data.splits[split]) / len(data.splits[split])


def _command(subject: Subject, seed: int, options: argparse.Namespace) -> str:
    """Return the command that makes a file of figures, without the places of this machine."""
    usual = {"threads": 1, "beside": 1, "alone": "", "variant": "", "most_rows": 0, "epochs_share": 1}
    more = "".join(
        f" --{name.replace('_', '-')} {getattr(options, name)}"
        for name, value in usual.items()
        if getattr(options, name) != value
    )
    place = f"--data DATA --runs RUNS --subjects {subject.name} --seeds {seed}"
    return f"python -m benchmarks.training.accuracy {place}{more}"


def _device(options: argparse.Namespace) -> dict[str, object]:
    """Return the device that trained, and the number of simultaneous trainings."""
    packages = (torch, transformers, accelerate)
    return {
        **this_device().to_dict(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "trained_with": {package.__name__: package.__version__ for package in packages},
        "threads": options.threads,
        "trainings_at_once": options.beside,
    }


def _teacher_settings(subject: Subject, seed: int) -> Settings:
    alone = {"widths": (1.0,), "depths": (1.0,), "width_epochs": 0, "depth_epochs": 0}  # no other subnet is measured
    return Settings(**{**SHARED, **_precision(), **subject.teacher, **alone, "seed": seed})


def _supernet_settings(subject: Subject, seed: int) -> Settings:
    same = {name: value for name, value in subject.teacher.items() if name in ("max_length", "batch_size")}
    return Settings(**{**SHARED, **_precision(), **same, **RECIPE, **subject.supernet, "seed": seed})


def _shortened(settings: Settings, share: float) -> Settings:
    width, depth = settings.epochs("width") * share, settings.epochs("depth") * share
    return dataclasses.replace(settings, width_epochs=width, depth_epochs=depth)


def _precision() -> dict[str, str]:
    """Return TF32 on a GPU, where the time goes into starting kernels and bf16 has twice as many, for its casts; else
    bf16."""
    return {"mixed_precision": "no" if torch.cuda.is_available() else "bf16"}


def _alone_settings(settings: Settings, subnet: str) -> Settings:
    """Return settings with the same number of steps, all of them for one subnet."""
    width, depth = (int(part[1:]) / 100 for part in subnet.split("-"))
    epochs = settings.epochs("width") + settings.epochs("depth-only") + settings.epochs("depth")
    return dataclasses.replace(
        settings, widths=(width,), depths=(depth,), width_epochs=0, depth_only_epochs=0, depth_epochs=epochs
    )


def _train(out: Path, source: Path, data: DataSet, settings: Settings) -> Run:
    """Return the run in `out`, trained unless it exists; its cost is added up beside it, interruptions included.

    Raises InputError for a run that was trained with other settings: its figures would be those of another recipe.
    """
    if (out / SUPERNET).is_file():
        found = load_supernet(out)
        wanted, known = (fixed_settings(some) for some in (settings.to_dict(), found.facts["settings"]))
        other = [name for name, value in known.items() if name in wanted and _plain(wanted[name]) != value]
        if other:
            raise InputError(
                f"{out}: was trained with other settings ({', '.join(other)}); remove it, or pass other --runs"
            )
        return found
    began, wall = _cpu_s(), time.time()
    costs = out.with_name(f"{out.name}.cost")
    costs.parent.mkdir(parents=True, exist_ok=True)  # or a refused training would be told as a missing folder
    try:
        return train_supernet(source, data, settings, out)
    finally:
        with costs.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cpu_s": _cpu_s() - began, "wall_s": time.time() - wall}) + "\n")


def _plain(value: object) -> object:
    return json.loads(json.dumps(value))


def _cpu_s() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime + resource.getrusage(resource.RUSAGE_SELF).ru_stime


def _cost(run: Run) -> dict[str, float]:
    lines = run.path.with_name(f"{run.path.name}.cost").read_text(encoding="utf-8").splitlines()
    parts = [json.loads(line) for line in lines]
    return {name: sum(part[name] for part in parts) for name in ("cpu_s", "wall_s")}


if __name__ == "__main__":
    main()
