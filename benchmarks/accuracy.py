"""Accuracy of a teacher and of all 12 subnets of its supernet, on eight data sets, from MiniLM-L6.

    python -m benchmarks.accuracy --data DATA --runs RUNS [--subjects TREC,SNIPS] [--seeds 0]      train, keep figures
    python -m benchmarks.accuracy --report                                                         write the table
    python -m benchmarks.accuracy --data DATA --runs RUNS --subjects TREC --alone w025-d050        one small model alone

DATA holds the data sets (`benchmarks.accuracy_tasks`), RUNS is where trainings lie; an interrupted one goes on when it
is called again. Test rows are seen by nothing but the last measurement: heads and neurons are ranked on training rows,
and no weights are chosen on test rows.

`--alone` cuts one subnet out of the same teacher and distils it alone, in as many steps as the supernet had.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student_t

from benchmarks.accuracy_tasks import RECIPE, SHARED, SUBJECTS, Subject, load
from benchmarks.report import RESULTS, save
from gearshift.runtime.profiles import this_device
from gearshift.trainer.checkpoint import Run, load_run
from gearshift.trainer.data import DataSet
from gearshift.trainer.dynabert import train_supernet
from gearshift.trainer.pretrained import find_model
from gearshift.trainer.settings import Settings

FIGURES = RESULTS / "accuracy"
TARGETS = {"w050-d100": 0.995, "w050-d050": 0.975, "w025-d050": 0.955}
"""Subnet -> share of the teacher that was aimed at."""

FULL = "w100-d100"


def main() -> None:
    """Train what is asked for, or write the table of what was trained."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument("--seeds", default="")
    parser.add_argument("--alone", default="", metavar="SUBNET")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        report()
        return
    torch.set_num_threads(options.threads)
    for name in options.subjects.split(","):
        subject = SUBJECTS[name]
        seeds = [int(seed) for seed in options.seeds.split(",")] if options.seeds else subject.seeds
        for seed in seeds:
            measure(subject, seed, options.data, options.runs, options.alone)


def measure(subject: Subject, seed: int, data_folder: Path, runs: Path, alone: str) -> None:
    """Train a teacher and a supernet, or a subnet alone, where they are not there yet, and keep their figures."""
    stem = f"{subject.name.lower()}-seed{seed}"
    data = load(subject, data_folder)
    teacher = _train(runs / f"{stem}-teacher", find_model(), data, _teacher_settings(subject, seed))
    settings = _supernet_settings(subject, seed)
    if alone:
        settings, stem = _alone_settings(settings, alone), f"{stem}-alone-{alone}"
    made = _train(runs / stem, teacher.path, data, settings)
    facts = {
        "subject": subject.name,
        "seed": seed,
        "task": subject.task,
        "device": this_device().to_dict(),
        "rows": made.facts["rows"],
        "truncated_rows": made.facts["truncated_rows"],
        "dropped_rows": made.facts["dropped_rows"],
        "teacher": {"settings": teacher.facts["settings"], "metrics": teacher.facts["metrics"][FULL], **_cost(teacher)},
        "supernet": {"settings": made.facts["settings"], "metrics": made.facts["metrics"], **_cost(made)},
    }
    FIGURES.mkdir(parents=True, exist_ok=True)
    (FIGURES / f"{stem}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _teacher_settings(subject: Subject, seed: int) -> Settings:
    return Settings(**{**SHARED, **subject.teacher, "width_epochs": 0, "depth_epochs": 0, "seed": seed})


def _supernet_settings(subject: Subject, seed: int) -> Settings:
    length = {"max_length": subject.teacher.get("max_length", SHARED["max_length"])}
    return Settings(**{**SHARED, **length, **RECIPE, **subject.supernet, "seed": seed})


def _alone_settings(settings: Settings, subnet: str) -> Settings:
    """The same number of steps, all of them of one subnet."""
    width, depth = (int(part[1:]) / 100 for part in subnet.split("-"))
    epochs = settings.width_epochs + settings.depth_only_epochs + settings.depth_epochs
    return dataclasses.replace(
        settings, widths=(width,), depths=(depth,), width_epochs=0, depth_only_epochs=0, depth_epochs=epochs
    )


def _train(out: Path, source: Path, data: DataSet, settings: Settings) -> Run:
    """The run in `out`, trained unless it is there; what it cost is added up beside it, interruptions included."""
    if (out / "supernet.json").is_file():
        return load_run(out)
    began, wall = _cpu_s(), time.time()
    costs = out.with_name(f"{out.name}.cost")
    try:
        return train_supernet(source, data, settings, out)
    finally:
        with costs.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cpu_s": _cpu_s() - began, "wall_s": time.time() - wall}) + "\n")


def _cpu_s() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime + resource.getrusage(resource.RUSAGE_SELF).ru_stime


def _cost(run: Run) -> dict[str, float]:
    lines = run.path.with_name(f"{run.path.name}.cost").read_text(encoding="utf-8").splitlines()
    parts = [json.loads(line) for line in lines]
    return {name: sum(part[name] for part in parts) for name in ("cpu_s", "wall_s")}


# The table


def report() -> None:
    """Write the table of all figures there are."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIGURES.glob("*-seed*.json"))]
    whole = [one for one in found if len(one["supernet"]["metrics"]) > 1]
    subjects = [name for name in SUBJECTS if any(one["subject"] == name for one in whole)]
    rows = {name: [one for one in whole if one["subject"] == name] for name in subjects}
    names = list(whole[0]["supernet"]["metrics"])
    lines = [
        *_table(rows, names),
        "",
        *_averages(rows, names),
        "",
        *_width_against_depth(rows),
        "",
        *_alone_table(found, rows),
        "",
        *_settings_table(rows),
    ]
    facts = {"subjects": {name: [one["seed"] for one in group] for name, group in rows.items()}, "targets": TARGETS}
    save("accuracy", facts, lines)


def _main_metric(one: Mapping[str, Any]) -> str:
    return str(next(iter(one["teacher"]["metrics"])))


def _values(group: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """The main metric of the teacher (name ""), or of a subnet, for each seed."""
    metric = _main_metric(group[0])
    return [
        float(one["teacher"]["metrics"][metric] if not name else one["supernet"]["metrics"][name][metric])
        for one in group
    ]


def _interval(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a mean (Student's t); 0 for one value."""
    if len(values) < 2:
        return 0.0
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(student_t.ppf(0.975, len(values) - 1)) * spread


def _table(rows: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str]) -> list[str]:
    header = ["", *(f"{name} ({_main_metric(group[0])})" for name, group in rows.items())]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for name in ["", *names]:
        cells = []
        for group in rows.values():
            values = _values(group, name)
            more = f" ± {100 * _interval(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{100 * float(np.mean(values)):.1f}{more}")
        lines.append(f"| {name or 'teacher'} | " + " | ".join(cells) + " |")
    return lines


def _averages(rows: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str]) -> list[str]:
    """Share of the teacher, as a quotient of averages (as in the paper's table) and as an average of quotients."""
    lines = ["| subnet | average / teacher's average | mean of each task's share | aimed at |", "|---|---|---|---|"]
    teacher = {subject: float(np.mean(_values(group, ""))) for subject, group in rows.items()}
    for name in names:
        own = {subject: float(np.mean(_values(group, name))) for subject, group in rows.items()}
        shares = [own[subject] / teacher[subject] for subject in rows]
        aim = f"{100 * TARGETS[name]:.1f} %" if name in TARGETS else ""
        quotient = sum(own.values()) / sum(teacher.values())
        lines.append(f"| {name} | {100 * quotient:.1f} % | {100 * float(np.mean(shares)):.1f} % | {aim} |")
    return lines


def _width_against_depth(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Half the width against half the depth: the same parameters."""
    wide, deep = "w100-d050", "w050-d100"
    lines = [f"| equal parameters | {' | '.join(rows)} | average |", "|---|" + "---|" * (len(rows) + 1)]
    for name in (deep, wide):
        means = [float(np.mean(_values(group, name))) for group in rows.values()]
        cells = " | ".join(f"{100 * mean:.1f}" for mean in [*means, float(np.mean(means))])
        lines.append(f"| {name} | {cells} |")
    return lines


def _settings_table(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """What made the figures: rows, changed settings, and CPU time."""
    usual = Settings().to_dict()
    lines = [
        "| | rows train / dev / test | seeds | teacher | supernet | CPU minutes, teacher + supernet |",
        "|---|---|---|---|---|---|",
    ]
    for subject, group in rows.items():
        first = group[0]
        counts = " / ".join(str(first["rows"][split]) for split in ("train", "dev", "test"))
        told = [
            ", ".join(
                f"{name} {value}"
                for name, value in first[which]["settings"].items()
                if value != _plain(usual.get(name)) and name != "seed"
            )
            for which in ("teacher", "supernet")
        ]
        minutes = " + ".join(
            f"{np.mean([one[which]['cpu_s'] for one in group]) / 60:.0f}" for which in ("teacher", "supernet")
        )
        seeds = ", ".join(str(one["seed"]) for one in group)
        lines.append(f"| {subject} | {counts} | {seeds} | {told[0]} | {told[1]} | {minutes} |")
    return lines


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _alone_table(found: Sequence[Mapping[str, Any]], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Each subnet that was also distilled alone, beside itself in the supernet."""
    alone = [one for one in found if len(one["supernet"]["metrics"]) == 1]
    if not alone:
        return []
    lines = ["| | subnet | in the supernet | alone, as many steps |", "|---|---|---|---|"]
    for one in alone:
        name = next(iter(one["supernet"]["metrics"]))
        metric = _main_metric(one)
        beside = [whole for whole in rows.get(one["subject"], ()) if whole["seed"] == one["seed"]]
        if beside:
            shared = beside[0]["supernet"]["metrics"][name][metric]
            own = one["supernet"]["metrics"][name][metric]
            lines.append(f"| {one['subject']}, seed {one['seed']} | {name} | {100 * shared:.1f} | {100 * own:.1f} |")
    return lines


if __name__ == "__main__":
    main()
