"""`gearshift nas-tune`: a net that was trained on text, tuned for a task."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.drawing.numbers import millions, percent
from gearshift.terminal.options import GOES_ON, add_columns, add_settings, command, given, read_task_data
from gearshift.terminal.output import show
from gearshift.trainer.nasbert.settings import TuneSettings


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, tune, extras=["train"])
    parser.add_argument("net", type=Path, metavar="NET", help="directory of `nas-train`")
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder or file of TSV, CSV or JSONL")
    parser.add_argument("--task", default="classification", help="task of the data (default: classification)")
    parser.add_argument("--teacher", type=Path, metavar="RUN", help="run of `gearshift train` on the same data")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="run directory to write")
    parser.set_defaults(when_interrupted=GOES_ON)
    add_columns(parser)
    add_settings(parser, TuneSettings)


def tune(options: argparse.Namespace) -> int:
    """Tune a net and show its accuracy."""
    from gearshift.trainer.learning.objectives import OBJECTIVES
    from gearshift.trainer.model.run import load_supernet
    from gearshift.trainer.nasbert.run import load_mixed_run
    from gearshift.trainer.nasbert.tune import tune_net

    data = read_task_data(options, options.data, options.task)
    teacher = None if options.teacher is None else load_supernet(options.teacher)
    settings = TuneSettings(**given(options, TuneSettings))
    net = load_mixed_run(options.net)
    run = tune_net(net, teacher, data, settings, options.output)
    (name, accuracy), *_ = run.accuracies.items()
    metric = OBJECTIVES[data.task].metric
    parameters = run.subnets[name].parameters(run.checkpoint.model.shape)
    lines = [
        *data.notes,
        f"{options.output}: {name}, {millions(parameters)} parameters, "
        f"{metric} {percent(accuracy)} on {run.facts['rows']['test']} test rows",
    ]
    result = {
        "run": str(options.output),
        "name": name,
        "metric": metric,
        "test": accuracy,
        "dev": run.facts["dev"],
        "parameters": parameters,
        "notes": list(data.notes),
    }
    show(options, result, lines)
    return 0
