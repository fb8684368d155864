"""`gearshift prune`: set weights of a finished supernet to zero, for a smaller download."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.drawing.numbers import percent
from gearshift.terminal.options import GOES_ON, add_columns, add_settings, columns_of, command, given
from gearshift.terminal.output import show, table
from gearshift.trainer.dynabert.settings import Recovery
from gearshift.trainer.learning.settings import Pruning


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, prune, extras=["train"])
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PRUNED", help="run directory to write")
    parser.add_argument(
        "--data", type=Path, metavar="DATA", help="rows to learn from (default: those it was trained on)"
    )
    parser.set_defaults(when_interrupted=GOES_ON)
    add_columns(parser)
    add_settings(parser, Pruning, Recovery)


def prune(options: argparse.Namespace) -> int:
    """Prune a supernet and show its subnets."""
    from gearshift.trainer.dynabert.prune import prune_run
    from gearshift.trainer.learning.objectives import objective_of
    from gearshift.trainer.model.run import load_supernet
    from gearshift.trainer.model.run_data import read_run_data

    pruning, recovery = Pruning(**given(options, Pruning)), Recovery(**given(options, Recovery))
    run = load_supernet(options.run)
    data = read_run_data(run, options.data, columns_of(options))
    pruned = prune_run(run, data, pruning, recovery, options.output)
    metric, zeros = objective_of(data.task).metric, pruned.facts["sparsity"]
    result = {
        "run": str(pruned.path),
        "sparsity": zeros,
        "metric": metric,
        "notes": list(data.notes),
        "subnets": [
            {"name": name, "accuracy": pruned.accuracies[name], "dev_accuracy": pruned.dev_accuracies[name]}
            for name in pruned.subnets
        ],
    }
    rows = [(name, percent(run.accuracies[name]), percent(pruned.accuracies[name])) for name in pruned.subnets]
    lines = [
        *data.notes,
        f"{pruned.path}: {percent(zeros)} of the weights are zeros; {metric} on {len(data.splits['test'])} test rows",
        *table(("subnet", "before", "pruned"), rows),
    ]
    show(options, result, lines)
    return 0
