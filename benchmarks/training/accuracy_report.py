"""Table of `benchmarks.training.accuracy`, from the figures of all existing trainings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from benchmarks.report import save
from benchmarks.training.accuracy_tasks import SUBJECTS
from gearshift.trainer.dynabert.settings import Settings

TARGETS = {"w050-d100": 0.995, "w050-d050": 0.975, "w025-d050": 0.955}
"""Subnet -> target as a share of the teacher."""


def report(figures: Path) -> None:
    """Write the table of all figures in a folder."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(figures.glob("*-seed*.json"))]
    whole = [one for one in found if len(one["supernet"]["metrics"]) > 1 and not one["variant"]]
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
        *_variant_table(found, rows),
        "",
        *_settings_table(rows),
    ]
    facts = {"subjects": {name: [one["seed"] for one in group] for name, group in rows.items()}, "targets": TARGETS}
    save("accuracy", facts, lines)


def _main_metric(one: Mapping[str, Any]) -> str:
    return str(next(iter(one["teacher"]["metrics"])))


def _values(group: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return the main metric of the teacher (name ""), or of a subnet, for each seed."""
    metric = _main_metric(group[0])
    return [
        float(one["teacher"]["metrics"][metric] if not name else one["supernet"]["metrics"][name][metric])
        for one in group
    ]


def _interval(values: Sequence[float]) -> float:
    """Return half the width of the 95 % interval of a mean (Student's t); 0 for one value."""
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
    """Tabulate the share of the teacher, as a quotient of averages (as in the paper's table) and as an average of
    quotients."""
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
    """Tabulate half the width against half the depth: the same number of parameters."""
    wide, deep = "w100-d050", "w050-d100"
    lines = [f"| equal parameters | {' | '.join(rows)} | average |", "|---|" + "---|" * (len(rows) + 1)]
    for name in (deep, wide):
        means = [float(np.mean(_values(group, name))) for group in rows.values()]
        cells = " | ".join(f"{100 * mean:.1f}" for mean in [*means, float(np.mean(means))])
        lines.append(f"| {name} | {cells} |")
    return lines


def _settings_table(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Tabulate the conditions of the figures: rows, changed settings, device and time."""
    usual = Settings().to_dict()
    lines = [
        "| | rows train / dev / test | seeds | teacher | supernet | on | minutes, teacher + supernet |",
        "|---|---|---|---|---|---|---|",
    ]
    for subject, group in rows.items():
        first = group[0]
        counts = " / ".join(str(first["rows"][split]) for split in ("train", "dev", "test"))
        told = [
            ", ".join(
                f"{name} {f'{value:g}' if isinstance(value, float) else value}"
                for name, value in first[which]["settings"].items()
                if value != _plain(usual.get(name)) and name not in ("seed", "save_every_s")
            )
            for which in ("teacher", "supernet")
        ]
        minutes = " + ".join(_minutes(group, which) for which in ("teacher", "supernet"))
        seeds = ", ".join(str(one["seed"]) for one in group)
        lines.append(f"| {subject} | {counts} | {seeds} | {told[0]} | {told[1]} | {_place(first)} | {minutes} |")
    return lines


def _minutes(group: Sequence[Mapping[str, Any]], which: str) -> str:
    """Return the mean minutes of a training. If a kill left a part unrecorded, its figures were marked `killed` by
    hand."""
    at_least = "over " if any(one[which].get("killed") for one in group) else ""
    return f"{at_least}{np.mean([one[which]['wall_s'] for one in group]) / 60:.1f}"


def _place(one: Mapping[str, Any]) -> str:
    """Return the device that trained, and its share for this training."""
    device = one["device"]
    beside = device["trainings_at_once"]
    shared = f", shared by {beside} trainings" if beside > 1 else ""
    return f"{device['gpu'] or 'one core of ' + device['cpu_model']}{shared}"


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _alone_table(found: Sequence[Mapping[str, Any]], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Tabulate each subnet that was also distilled alone, beside itself in a supernet of the same teacher, if there is
    one."""
    alone = [one for one in found if len(one["supernet"]["metrics"]) == 1]
    if not alone:
        return []
    lines = ["| | subnet | teacher | in the supernet | alone, as many steps |", "|---|---|---|---|---|"]
    for one in alone:
        name, metric = next(iter(one["supernet"]["metrics"])), _main_metric(one)
        beside = [
            whole
            for whole in rows.get(one["subject"], ())
            if whole["seed"] == one["seed"] and whole["teacher"]["metrics"] == one["teacher"]["metrics"]
        ]
        shared = _with_rate(beside[0], name, metric) if beside else "-"
        teacher = f"{100 * one['teacher']['metrics'][metric]:.1f}"
        own = _with_rate(one, name, metric)
        lines.append(f"| {one['subject']}, seed {one['seed']} | {name} | {teacher} | {shared} | {own} |")
    return lines


def _with_rate(one: Mapping[str, Any], name: str, metric: str) -> str:
    return f"{100 * one['supernet']['metrics'][name][metric]:.1f} (lr {one['supernet']['settings']['depth_lr']:.0e})"


def _variant_table(found: Sequence[Mapping[str, Any]], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Tabulate the alternatives, as differences to the recipe with the same teacher and seed."""
    tried = [one for one in found if one["variant"]]
    if not tried:
        return []
    lines = [f"| | tried | {' | '.join(TARGETS)} | mean of all |", "|---|---|" + "---|" * (len(TARGETS) + 1)]
    for one in tried:
        usual = [whole for whole in rows.get(one["subject"], ()) if whole["seed"] == one["seed"]]
        if usual:
            metric, names = _main_metric(one), list(one["supernet"]["metrics"])
            gains = {
                name: one["supernet"]["metrics"][name][metric] - usual[0]["supernet"]["metrics"][name][metric]
                for name in names
            }
            cells = [*(gains[name] for name in TARGETS), float(np.mean(list(gains.values())))]
            shown = " | ".join(f"{100 * cell:+.1f}" for cell in cells)
            lines.append(f"| {one['subject']}, seed {one['seed']} | {one['variant']} | {shown} |")
    return lines
