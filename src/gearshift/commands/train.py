"""`gearshift train`: a supernet from your data and a pretrained encoder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.commands.train_images import train_on_images
from gearshift.drawing.numbers import millions, percent
from gearshift.errors import InputError
from gearshift.runtime.bundle.tasks import MULTI_TASK, TASKS
from gearshift.terminal import streams
from gearshift.terminal.options import GOES_ON, add_columns, add_settings, columns_of, command, given, read_task_data
from gearshift.terminal.output import show, table
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.vision.settings import ImagesOnly

if TYPE_CHECKING:
    from gearshift.trainer.data.splits import DataSet
    from gearshift.trainer.model.run import Run


SHOWN_TOKENS = 128
"""Length in tokens of the text for which `train` counts MACs; a bundle states its own."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, train, extras=["train"])
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DATA",
        help="folder or file of TSV, CSV, JSON, JSONL or Parquet, of CoNLL for token classification, of plain text for "
        "embedding; hub:OWNER/NAME; glue/TASK; folder of images by class for "
        "image-classification, with input and target for image-to-image",
    )
    parser.add_argument(
        "--model",
        help="directory or hub name of a BERT-class model (default: all-MiniLM-L6-v2); of images resnet20 (the "
        "default), mobilenet-small, torchvision/NAME or timm/NAME; from image to image mobile-generator (the "
        "default) or resnet-generator",
    )
    parser.add_argument(
        "--pretrained", action="store_true", help="images: begin with the weights that torchvision or timm has"
    )
    parser.add_argument("--task", choices=list(TASKS), help="task of the data (default: classification)")
    parser.add_argument(
        "--heads",
        default="",
        metavar="NAME=COLUMN,...",
        help="in place of --task: several heads over one encoder, each with the column of its labels, such as "
        "intent=label,slots=ner_tags; a column of lists tags the words, others classify the text",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="run directory to write")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings; flags override it")
    parser.set_defaults(when_interrupted=GOES_ON)
    add_columns(parser)
    add_settings(parser, Settings, ImagesOnly)


def train(options: argparse.Namespace) -> int:
    """Train a supernet and show its subnets."""
    if options.heads and (options.task or options.label_column or options.pair_column or options.label_names):
        raise InputError(
            "--heads: expected none of --task, --label-column, --pair-column and --label-names with it; leave them out"
        )
    task = options.task or (MULTI_TASK if options.heads else "classification")
    if task != MULTI_TASK and TASKS[task].images:
        return train_on_images(options)
    if options.pretrained or given(options, ImagesOnly):
        raise InputError(f"--pretrained, --image-size, --statistics-images: for images, not for {task}")
    from gearshift.trainer.dynabert.settings_file import read_settings
    from gearshift.trainer.dynabert.train import train_supernet
    from gearshift.trainer.learning.devices import is_main_process
    from gearshift.trainer.model.pretrained import find_model

    typed = given(options, Settings)
    settings = Settings(**typed) if options.config is None else read_settings(options.config, typed)
    data = _data(options)
    tell = streams.message if sys.stderr.isatty() else None
    run = train_supernet(find_model(options.model), data, settings, options.output, tell=tell)
    if is_main_process():
        notes = (*data.notes, *_shortened(run, settings))
        show(options, _result(run, notes), _lines(run, notes))
    return 0


def _data(options: argparse.Namespace) -> DataSet:
    """Read the data set of a task, or of several heads."""
    if not options.heads:
        return read_task_data(options, options.data, options.task or "classification")
    from gearshift.trainer.data.splits import read_data

    return read_data(options.data, task=MULTI_TASK, heads=options.heads, **columns_of(options))


def _result(run: Run, notes: tuple[str, ...]) -> dict[str, Any]:
    from gearshift.trainer.learning.objectives import objective_of

    shape, facts = run.checkpoint.model.shape, run.facts
    return {
        "run": str(run.path),
        "task": run.checkpoint.task,
        "metric": objective_of(run.checkpoint.task).metric,
        "rows": facts["rows"],
        "dropped_rows": facts["dropped_rows"],
        "truncated_rows": facts["truncated_rows"],
        "notes": [*notes, *facts["notes"]],
        "subnets": [
            {
                "name": name,
                "parameters": subnet.parameters(shape),
                "macs": subnet.macs(shape, SHOWN_TOKENS),
                "accuracy": run.accuracies[name],
                "metrics": facts["metrics"][name],
                "dev_accuracy": run.dev_accuracies[name],
                "dev_metrics": facts["dev_metrics"][name],
            }
            for name, subnet in run.subnets.items()
        ],
    }


def _lines(run: Run, notes: tuple[str, ...]) -> list[str]:
    from gearshift.trainer.learning.objectives import objective_of

    shape, objective = run.checkpoint.model.shape, objective_of(run.checkpoint.task)
    dropped, metrics = run.facts["dropped_rows"], run.facts["metrics"]
    others = [other for other in next(iter(metrics.values())) if other != objective.metric]
    header = ("subnet", "parameters", f"MACs ({SHOWN_TOKENS} tokens)", "dev", objective.metric, *others)
    rows = [
        (
            name,
            millions(subnet.parameters(shape)),
            millions(subnet.macs(shape, SHOWN_TOKENS)),
            percent(run.dev_accuracies[name]),
            percent(run.accuracies[name]),
            *(percent(metrics[name][other]) for other in others),
        )
        for name, subnet in run.subnets.items()
    ]
    return [
        *notes,
        *run.facts["notes"],
        *([f"{dropped} training rows left out: their answers are cut off; raise --max-length"] if dropped else []),
        *_cut_rows(run),
        f"{run.path}: {len(rows)} subnets, {objective.metric} on {run.facts['rows']['test']} test rows"
        f" (dev: {run.facts['rows']['dev']} other rows, which choose)",
        *table(header, rows),
    ]


def _shortened(run: Run, settings: Settings) -> list[str]:
    """Report that an embedding model takes shorter texts than the settings allow, if so."""
    length = run.facts["max_length"]
    return [f"texts are cut at {length} tokens, the model's max_seq_length"] if length < settings.max_length else []


def _cut_rows(run: Run) -> list[str]:
    """Report the number of rows that are longer than the part that is read, if any."""
    cut = {split: count for split, count in run.facts["truncated_rows"].items() if count}
    counts = ", ".join(f"{count} of {run.facts['rows'][split]} {split} rows" for split, count in cut.items())
    return [f"cut at {run.facts['max_length']} tokens: {counts}; --max-length sets it"] if cut else []
