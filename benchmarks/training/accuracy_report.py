"""Table of `benchmarks.training.accuracy`, from the figures of all existing trainings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from benchmarks.report import save
from benchmarks.training.accuracy_tasks import SUBJECTS
from benchmarks.training.bootstrap import half_width, paired_difference
from benchmarks.training.retention import FULL, TEACHER, Group, at_chance, kept, main_metric, mean, reference, values
from benchmarks.training.row_scores import RowScores
from gearshift.trainer.dynabert.settings import Settings

TARGETS = {"w050-d100": 0.995, "w050-d050": 0.975, "w025-d050": 0.96}
"""Subnet -> target as a share of the better of teacher and full size."""

NAMED = re.compile(r".+-(seed)?\d+(-(alone|variant)-.+)?")
"""Names of files of figures; older ones say `seed`."""

SURE_ROWS = 2000
"""Number of test rows from which on a figure stands without an interval."""


ABOUT_TEST = (
    "Test rows. Of sets marked `test only` no dev figure was kept, and test rows were looked at while recipes were "
    "made. ± is half of a 95 % interval: that of the seeds (Student's t) and that of the choice of the rows "
    "(bootstrap; binomial where only an accuracy was kept; nothing where neither was) together."
)


def report(figures: Path) -> None:
    """Write the table of all figures in a folder."""
    found = _read(figures)
    whole = [one for one in found if len(one["supernet"]["metrics"]) > 1 and not one["variant"]]
    subjects = [name for name in SUBJECTS if any(one["subject"] == name for one in whole)]
    rows = {name: [one for one in whole if one["subject"] == name] for name in subjects}
    names = list(whole[0]["supernet"]["metrics"])
    apart = [name for name, group in rows.items() if at_chance(group)]
    counted = {name: group for name, group in rows.items() if name not in apart}
    of_dev = {name: group for name, group in counted.items() if _has_dev(group)}
    sections = [
        [ABOUT_TEST],
        _table(rows, names),
        ["Dev rows, which choose:"] if of_dev else [],
        _dev_table({name: group for name, group in rows.items() if _has_dev(group)}, names),
        [f"Shares of the better of teacher and full size, {len(counted)} sets{_about_apart(apart)}:"],
        _averages(counted, names, of_dev),
        _share_table(rows, counted),
        _difference_table(rows),
        _width_against_depth(rows),
        _alone_table(found, rows),
        _variant_table(found, rows),
        _settings_table(rows),
    ]
    lines = [line for section in sections if section for line in (*section, "")][:-1]
    facts = {
        "subjects": {name: [one["seed"] for one in group] for name, group in rows.items()},
        "apart": apart,
        "test_only": [name for name, group in rows.items() if not _has_dev(group)],
        "targets": TARGETS,
        "kept": {name: vars(kept(counted, name)) for name in names},
    }
    save("accuracy", facts, lines)


def _read(figures: Path) -> list[dict[str, Any]]:
    """Read the files of figures; those of one data set with dev rows take the place of its older ones."""
    paths = [path for path in sorted(figures.glob("*.json")) if NAMED.fullmatch(path.stem)]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    newer = {one["subject"] for one in found if _has_dev([one]) and not one["variant"] and len(_nets(one)) > 1}
    return [one for one in found if _has_dev([one]) or one["subject"] not in newer]


def _nets(one: Mapping[str, Any]) -> Mapping[str, Any]:
    nets: Mapping[str, Any] = one["supernet"]["metrics"]
    return nets


def _about_apart(apart: Sequence[str]) -> str:
    return f" ({', '.join(apart)} apart: its teacher is at chance)" if apart else ""


def _has_dev(group: Group) -> bool:
    return all("dev_metrics" in one["supernet"] for one in group)


def _scores(group: Group, name: str, split: str = "test") -> list[RowScores]:
    """Return the row scores of a net for each seed; empty in older figures."""
    if not all("row_scores" in one for one in group):
        return []
    kept_as = name or "teacher"
    return [RowScores.from_dict(one["task"], one["row_scores"][split][kept_as]) for one in group]


def _interval(seeds: Sequence[float]) -> float:
    """Return half the width of the 95 % interval of a mean (Student's t); 0 for one value."""
    if len(seeds) < 2:
        return 0.0
    spread = float(np.std(seeds, ddof=1)) / math.sqrt(len(seeds))
    return float(student_t.ppf(0.975, len(seeds) - 1)) * spread


def _half_width(group: Group, name: str) -> float | None:
    """Return half the width of the interval of a net's metric, over seeds and rows; None if neither is known."""
    found, scores, count = values(group, name), _scores(group, name), group[0]["rows"]["test"]
    if scores:
        of_rows = half_width(scores)
    elif main_metric(group[0]) == "accuracy":
        share = float(np.mean(found))
        of_rows = 1.96 * math.sqrt(share * (1 - share) / count)
    else:
        return _interval(found) if len(found) > 1 else None
    return math.hypot(of_rows, _interval(found))


def _table(rows: Mapping[str, Group], names: Sequence[str]) -> list[str]:
    header = ["", *(f"{name} ({_about(group)})" for name, group in rows.items())]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for name in [TEACHER, *names]:
        cells = []
        for group in rows.values():
            width = _half_width(group, name) if group[0]["rows"]["test"] < SURE_ROWS else None
            more = "" if width is None else f" ± {100 * width:.1f}"
            cells.append(f"{100 * mean(group, name):.1f}{more}")
        lines.append(f"| {name or 'teacher'} | " + " | ".join(cells) + " |")
    return lines


def _about(group: Group) -> str:
    """Return the metric of a data set, and what its figures lack."""
    lacking = ["at chance"] * at_chance(group) + ["test only"] * (not _has_dev(group))
    return ", ".join([main_metric(group[0]), *lacking])


def _dev_table(rows: Mapping[str, Group], names: Sequence[str]) -> list[str]:
    if not rows:
        return []
    lines = [f"| dev | {' | '.join(rows)} |", "|---|" + "---|" * len(rows)]
    for name in [TEACHER, *names]:
        cells = " | ".join(f"{100 * mean(group, name, 'dev_metrics'):.1f}" for group in rows.values())
        lines.append(f"| {name or 'teacher'} | {cells} |")
    return lines


def _averages(rows: Mapping[str, Group], names: Sequence[str], of_dev: Mapping[str, Group]) -> list[str]:
    """Tabulate the share kept, as a mean of the sets' shares and as a share of means (as in the paper's table)."""
    dev = [f"mean of shares, dev rows ({len(of_dev)} sets)"] if of_dev else []
    header = ["subnet", "mean of shares", "share of means", *dev, "aimed at"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for name in names:
        found = kept(rows, name)
        shares = [found.mean_of_shares, found.share_of_means]
        shares += [kept(of_dev, name, "dev_metrics").mean_of_shares] if of_dev else []
        cells = [*(f"{100 * share:.1f} %" for share in shares), _aim(name)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _share_table(rows: Mapping[str, Group], counted: Mapping[str, Group]) -> list[str]:
    """Tabulate the shares by data set, and their mean over those that classify whole texts."""
    lines = [f"| | better of both | {' | '.join(TARGETS)} |", "|---|---|" + "---|" * len(TARGETS)]
    for name, group in rows.items():
        full = reference(group)
        shares = " | ".join(f"{100 * mean(group, subnet) / full:.1f} %" for subnet in TARGETS)
        lines.append(f"| {name} | {100 * full:.1f} | {shares} |")
    whole = {name: group for name, group in counted.items() if SUBJECTS[name].task == "classification"}
    if whole:
        shares = " | ".join(f"{100 * kept(whole, subnet).mean_of_shares:.1f} %" for subnet in TARGETS)
        lines.append(f"| mean of {', '.join(whole)} | | {shares} |")
    return lines


def _aim(name: str) -> str:
    return f"{100 * TARGETS[name]:.1f} %" if name in TARGETS else ""


def _difference_table(rows: Mapping[str, Group]) -> list[str]:
    """Tabulate subnets less their teacher on the same test rows, with paired intervals."""
    scored = {name: group for name, group in rows.items() if _scores(group, TEACHER)}
    if not scored:
        return []
    lines = [f"| less the teacher, paired | {' | '.join(scored)} |", "|---|" + "---|" * len(scored)]
    for name in [FULL, *TARGETS]:
        cells = [str(paired_difference(_scores(group, name), _scores(group, TEACHER))) for group in scored.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _width_against_depth(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Tabulate half the width against half the depth: the same number of parameters."""
    wide, deep = "w100-d050", "w050-d100"
    lines = [f"| equal parameters | {' | '.join(rows)} | average |", "|---|" + "---|" * (len(rows) + 1)]
    for name in (deep, wide):
        means = [mean(group, name) for group in rows.values()]
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
        name, metric = next(iter(one["supernet"]["metrics"])), main_metric(one)
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


def _variant_table(found: Group, rows: Mapping[str, Group]) -> list[str]:
    """Tabulate the alternatives, as differences to the recipe with the same teacher and seed: on dev rows, which
    choose, and on test rows, with a paired interval where each row was kept."""
    tried = [one for one in found if one["variant"]]
    if not tried:
        return []
    lines = [f"| | tried | on | {' | '.join(TARGETS)} | mean of all |", "|---|---|---|" + "---|" * (len(TARGETS) + 1)]
    for one in tried:
        usual = [whole for whole in rows.get(one["subject"], ()) if whole["seed"] == one["seed"]]
        for split, field in (("dev", "dev_metrics"), ("test", "metrics")):
            if usual and all(field in each["supernet"] for each in (one, usual[0])):
                cells = " | ".join(_gains(one, usual[0], split, field))
                lines.append(f"| {one['subject']}, seed {one['seed']} | {one['variant']} | {split} | {cells} |")
    return lines


def _gains(one: Mapping[str, Any], usual: Mapping[str, Any], split: str, field: str) -> list[str]:
    """Return the differences of a variant to the recipe for each subnet with a target, and their mean over all."""
    gains = {name: values([one], name, field)[0] - values([usual], name, field)[0] for name in _nets(one)}
    cells = [f"{100 * gains[name]:+.1f}" for name in TARGETS]
    if all(_scores([each], FULL, split) for each in (one, usual)):
        cells = [str(paired_difference(_scores([one], name, split), _scores([usual], name, split))) for name in TARGETS]
    return [*cells, f"{100 * float(np.mean(list(gains.values()))):+.1f}"]
