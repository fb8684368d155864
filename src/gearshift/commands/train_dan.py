"""`gearshift train-dan`: a DAN distilled from a classifier."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.drawing.numbers import millions, percent
from gearshift.terminal.options import GOES_ON, add_columns, add_settings, command, given, read_task_data
from gearshift.terminal.output import show
from gearshift.terminal.streams import message
from gearshift.trainer.dan.settings import DanSettings

if TYPE_CHECKING:
    from gearshift.runtime.dan.model import Text


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, train_dan, extras=["train"])
    parser.add_argument(
        "--teacher", type=Path, required=True, metavar="PATH", help="bundle (fastest), run or Hugging Face directory"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder or file of TSV, CSV or JSONL")
    parser.add_argument(
        "--unlabelled", type=Path, metavar="FILE", help="more texts for the teacher: .txt, one a line, or as DATA"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DANRUN", help="run directory to write")
    parser.set_defaults(when_interrupted=GOES_ON)
    add_columns(parser)
    parser.add_argument("--logits", type=Path, metavar="FOLDER", help="keep the teacher's answers, for other trainings")
    add_settings(parser, DanSettings)


def train_dan(options: argparse.Namespace) -> int:
    """Distil a classifier into a DAN and show its accuracy."""
    from gearshift.trainer.dan.teacher_logits import read_unlabelled, require_classifier
    from gearshift.trainer.dan.train import train_dan as train

    settings = DanSettings(**given(options, DanSettings))
    require_classifier(options.teacher)  # before the data, which would seem to be wrong
    data = read_task_data(options, options.data, "classification")
    unlabelled: tuple[Text, ...] = ()
    if options.unlabelled:
        columns = {"text_column": options.text_column, "pair_column": options.pair_column}
        unlabelled = read_unlabelled(options.unlabelled, paired=data.paired, **columns)
    characters = sum(len("".join(text)) for text in unlabelled) + sum(
        len(row.text) + len(row.pair or "") for row in data.splits["train"]
    )
    needed = settings.memory_bytes(characters)
    message(f"training needs about {needed / 1e9:.1f} GB of memory at most")
    run = train(options.teacher, data, settings, options.output, unlabelled=unlabelled, logits=options.logits)
    result = {"run": str(run.path), "ngrams": len(run.ngrams), "width": run.table.shape[1], **run.facts}
    measured = run.facts["held_out"]["test"]
    lines = [
        *data.notes,
        f"{run.path}: a DAN of {len(run.ngrams)} n-grams, {millions(run.table.size)} numbers",
        f"accuracy on {measured['rows']} test rows: {percent(measured['accuracy'])}, "
        f"{percent(measured['accuracy'] / max(measured['teacher'], 1e-9))} of the teacher's "
        f"{percent(measured['teacher'])}; the same answer on {percent(measured['agreement'])}",
    ]
    show(options, {**result, "notes": list(data.notes)}, lines)
    return 0
