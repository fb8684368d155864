"""`gearshift nas-search`: blocks of mixed operations, searched between the states of a teacher (NAS-BERT)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.commands.nas.options import add_device, add_text, device_of
from gearshift.drawing.numbers import millions
from gearshift.terminal.options import GOES_ON, add_settings, command, given
from gearshift.terminal.output import show, table
from gearshift.trainer.nasbert.settings import SearchSettings

if TYPE_CHECKING:
    from gearshift.trainer.nasbert.search import Searched


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, search, extras=["train"])
    parser.add_argument(
        "--model", help="teacher: run of `gearshift train`, directory or hub name (default: all-MiniLM-L6-v2)"
    )
    add_text(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="NAS", help="directory to write")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of buckets and blocks, .png or .svg")
    parser.set_defaults(when_interrupted=GOES_ON)
    add_device(parser)
    add_settings(parser, SearchSettings)


def search(options: argparse.Namespace) -> int:
    """Search blocks, and show the number of remaining ones and the best nets of some sizes."""
    from gearshift.trainer.model.pretrained import find_model
    from gearshift.trainer.nasbert.search import search_blocks
    from gearshift.trainer.nasbert.teacher import load_teacher

    if options.plot is not None:  # a name that cannot be written is found before the long work
        from gearshift.drawing.figure import check_format
        from gearshift.drawing.search import plot_blocks

        check_format(options.plot)
    teacher = load_teacher(find_model(options.model))
    settings = SearchSettings(**given(options, SearchSettings))
    latency = device_of(options)
    searched = search_blocks(teacher, options.text, settings, options.output, states=options.states, latency=latency)
    if options.plot is not None:
        plot_blocks(searched.tables, searched.history, options.plot, latency)
    facts, notes = searched.run.facts, _notes(searched, settings)
    left = [len(rows) for rows in searched.tables.rows]
    lines = [
        f"{options.output}: {' + '.join(map(str, left))} blocks left of "
        f"{' + '.join(str(history[0]['blocks']) for history in searched.history)}, "
        f"learnt from {facts['tokens']['train']} tokens",
        *notes,
        *_best_blocks(searched),
    ]
    show(
        options,
        {"nas": str(options.output), "blocks": left, "history": searched.history, "facts": facts, "notes": notes},
        lines,
    )
    return 0


def _best_blocks(searched: Searched) -> list[str]:
    tables = searched.tables
    rows = [
        (block.name, f"{row.loss:.3f}", millions(row.parameters))
        for number, of_stage in enumerate(tables.rows)
        for block, row in [
            min(zip(tables.space.options_of(number), of_stage, strict=True), key=lambda pair: pair[1].loss)
        ]
    ]
    return table(("best block", "loss", "parameters"), rows)


def _notes(searched: Searched, settings: SearchSettings) -> list[str]:
    """Report if the deletions were too few for the request, or left no blocks of some sizes."""
    buckets = [
        (before, left)
        for history in searched.history
        for before, left in zip(history[0]["buckets"], history[-1]["buckets"], strict=True)
    ]
    if gone := sum(before > 0 == left for before, left in buckets):
        return [
            f"{gone} of {len(buckets)} buckets are empty now: deleting {settings.shrink} left no blocks of their sizes"
        ]
    most = max(max(history[-1]["buckets"]) for history in searched.history)
    if settings.shrink != "architectures" or most <= settings.kept:
        return []
    return [
        f"{most} blocks are left in a bucket, more than --kept {settings.kept}: --max-rounds {settings.max_rounds} "
        "deletions were too few"
    ]
