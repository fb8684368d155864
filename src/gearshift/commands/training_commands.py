"""Commands that train, prune and search: call the trainer, and show what came out."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

from gearshift.commands.output import millions as _millions
from gearshift.commands.output import percent as _percent
from gearshift.commands.output import show as _print
from gearshift.commands.output import table as _table
from gearshift.commands.task_data import columns_of, data_path
from gearshift.commands.task_data import read_task_data as _read_data
from gearshift.runtime import InputError, open_bundle
from gearshift.runtime.tables.from_profile import latencies
from gearshift.runtime.tables.latency import LatencyPredictor

if TYPE_CHECKING:
    from gearshift.runtime.dan.model import Text
    from gearshift.trainer.model.checkpoint import Run


SHOWN_TOKENS = 128
"""Length of text for which `train` counts multiply-accumulates; a bundle says its own."""


def train(options: argparse.Namespace) -> int:
    """Train a supernet and show its subnets."""
    from gearshift.trainer.dynabert.settings import Settings
    from gearshift.trainer.dynabert.settings_file import read_settings
    from gearshift.trainer.dynabert.train import train_supernet
    from gearshift.trainer.learning.devices import is_main_process
    from gearshift.trainer.learning.objectives import OBJECTIVES
    from gearshift.trainer.model.pretrained import find_model

    given = {field.name: getattr(options, field.name) for field in fields(Settings)}
    given = {name: value for name, value in given.items() if value is not None}
    settings = Settings(**given) if options.config is None else read_settings(options.config, given)
    data = _read_data(options, options.data, options.task)
    source, columns = find_model(options.model), columns_of(options)
    run = train_supernet(source, data, settings, options.output, data_path=options.data, columns=columns)
    if not is_main_process():
        return 0
    shape = run.checkpoint.model.shape
    rows = [
        (name, subnet.parameters(shape), subnet.macs(shape, SHOWN_TOKENS), run.accuracies[name])
        for name, subnet in run.subnets.items()
    ]
    metric, dropped, metrics = OBJECTIVES[data.task].metric, run.facts["dropped_rows"], run.facts["metrics"]
    result = {
        "run": str(run.path),
        "task": data.task,
        "metric": metric,
        "rows": run.facts["rows"],
        "dropped_rows": run.facts["dropped_rows"],
        "truncated_rows": run.facts["truncated_rows"],
        "notes": list(data.notes),
        "subnets": [
            {**dict(zip(("name", "parameters", "macs", "accuracy"), row, strict=True)), "metrics": metrics[row[0]]}
            for row in rows
        ],
    }
    others = list(OBJECTIVES[data.task].others)
    header = ("subnet", "parameters", f"MACs ({SHOWN_TOKENS} tokens)", metric, *others)
    lines = [
        *data.notes,
        *([f"{dropped} training rows left out: their answers are cut off; raise --max-length"] if dropped else []),
        *_cut_rows(run),
        f"{run.path}: {len(rows)} subnets, {metric} on {run.facts['rows']['test']} test rows",
        *_table(
            header,
            [
                (n, _millions(p), _millions(m), _percent(a), *(_percent(metrics[n][other]) for other in others))
                for n, p, m, a in rows
            ],
        ),
    ]
    _print(options, result, lines)
    return 0


def _cut_rows(run: Run) -> list[str]:
    """How many rows are longer than what is read of a text, if any."""
    cut = {split: count for split, count in run.facts["truncated_rows"].items() if count}
    counts = ", ".join(f"{count} of {run.facts['rows'][split]} {split} rows" for split, count in cut.items())
    return [f"cut at {run.facts['max_length']} tokens: {counts}; --max-length sets it"] if cut else []


def train_dan(options: argparse.Namespace) -> int:
    """Distil a classifier into a DAN and show what it is."""
    from gearshift.trainer.dan.settings import DanSettings
    from gearshift.trainer.dan.teacher_logits import read_unlabelled
    from gearshift.trainer.dan.train import train_dan

    given = {field.name: getattr(options, field.name) for field in fields(DanSettings)}
    settings = DanSettings(**{name: value for name, value in given.items() if value is not None})
    data = _read_data(options, options.data, "classification")
    unlabelled: tuple[Text, ...] = ()
    if options.unlabelled:
        columns = {"text_column": options.text_column, "pair_column": options.pair_column}
        unlabelled = read_unlabelled(options.unlabelled, paired=data.paired, **columns)
    characters = sum(len("".join(text)) for text in unlabelled) + sum(
        len(row.text) + len(row.pair or "") for row in data.splits["train"]
    )
    needed = settings.memory_bytes(characters)
    print(f"training needs about {needed / 1e9:.1f} GB of memory at most", file=sys.stderr)
    run = train_dan(options.teacher, data, settings, options.output, unlabelled=unlabelled, logits=options.logits)
    result = {"run": str(run.path), "ngrams": len(run.ngrams), "width": run.table.shape[1], **run.facts}
    measured = run.facts["held_out"]["test"]
    lines = [
        *data.notes,
        f"{run.path}: a DAN of {len(run.ngrams)} n-grams, {_millions(run.table.size)} numbers",
        f"accuracy on {measured['rows']} test rows: {_percent(measured['accuracy'])}, "
        f"{_percent(measured['accuracy'] / max(measured['teacher'], 1e-9))} of the teacher's "
        f"{_percent(measured['teacher'])}; the same answer on {_percent(measured['agreement'])}",
    ]
    _print(options, {**result, "notes": list(data.notes)}, lines)
    return 0


def prune(options: argparse.Namespace) -> int:
    """Prune a supernet and show its subnets."""
    from gearshift.trainer.dynabert.prune import Recovery, prune_run
    from gearshift.trainer.learning.objectives import OBJECTIVES
    from gearshift.trainer.learning.sparsity import Pruning
    from gearshift.trainer.model.checkpoint import load_run

    pruning = Pruning(options.sparsity, options.scope, options.embeddings, options.ramp)
    given = {field.name: getattr(options, field.name) for field in fields(Recovery)}
    recovery = Recovery(**{name: value for name, value in given.items() if value is not None})
    run = load_run(options.run)
    data = _read_data(options, data_path(options, run), run.checkpoint.task, run)
    pruned = prune_run(run, data, pruning, recovery, options.output)
    metric, zeros = OBJECTIVES[data.task].metric, pruned.facts["sparsity"]
    result = {
        "run": str(pruned.path),
        "sparsity": zeros,
        "metric": metric,
        "notes": list(data.notes),
        "subnets": [{"name": name, "accuracy": pruned.accuracies[name]} for name in pruned.subnets],
    }
    rows = [(name, _percent(run.accuracies[name]), _percent(pruned.accuracies[name])) for name in pruned.subnets]
    lines = [
        *data.notes,
        f"{pruned.path}: {_percent(zeros)} of the weights are zeros; {metric} on {len(data.splits['test'])} test rows",
        *_table(("subnet", "before", "pruned"), rows),
    ]
    _print(options, result, lines)
    return 0


def search(options: argparse.Namespace) -> int:
    """Write the block tables and the pool of a supernet, and show the pool."""
    from gearshift.trainer.model.checkpoint import load_run
    from gearshift.trainer.search.search import search_run

    if options.plot is not None:  # a name that cannot be written is found before the long work
        from gearshift.drawing.search import check_format, plot_search

        check_format(options.plot)
    run = load_run(options.run)
    data = _read_data(options, data_path(options, run), run.checkpoint.task, run)
    devices = _devices(options)
    report = search_run(
        run,
        data,
        widths=options.widths,
        layers_per_stage=1 if options.stages == "layer" else options.block_layers,
        separate=options.separate,
        pool=options.pool,
        rescored=options.rescored,
        devices=devices,
    )
    if options.plot is not None:
        plot_search(report, options.plot, devices)
    header = ("subnet", "parameters", f"MACs ({report.tables.macs_tokens} tokens)", "loss", "summed", report.metric)
    rows = [
        (
            m.name,
            _millions(m.parameters),
            _millions(m.macs),
            f"{m.loss:.4f}",
            "" if m.summed_loss is None else f"{m.summed_loss:.4f}",
            _percent(m.accuracy),
        )
        for m in report.pool
    ]
    notes = [*data.notes, *report.notes]
    lines = [
        *notes,
        f"{run.path}: {len(report.pool)} subnets chosen on {report.tables.loss_rows} dev rows, "
        f"{report.metric} on {report.test_rows} test rows",
        f"{report.evaluations} losses measured; summed against measured loss: Spearman {report.spearman:.3f} "
        f"over {report.compared} subnets",
        *_table(header, rows),
    ]
    _print(options, {"run": str(run.path), "notes": notes, **report.to_dict()}, lines)
    return 0


def _devices(options: argparse.Namespace) -> dict[str, LatencyPredictor] | None:
    """The device that a pool is for, where one was measured."""
    if options.profile is None and options.measured is None:
        return None
    if options.profile is None or options.measured is None:
        raise InputError("search: expected both --profile and --measured, the bundle that it was measured with")
    return latencies(options.profile, open_bundle(options.measured))
