"""`gearshift plot`: plot of a decision log."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.terminal.options import command
from gearshift.terminal.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, plot)
    parser.add_argument("log", type=Path, metavar="LOG", help="log that `run --log` wrote")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="picture to write, .png or .svg"
    )


def plot(options: argparse.Namespace) -> int:
    """Draw a decision log."""
    from gearshift.drawing.log import plot_log
    from gearshift.runtime.serving.decision_log import read_log

    requests = plot_log(read_log(options.log), options.output)
    show(options, {"plot": str(options.output), "requests": requests}, [f"{options.output}: {requests} requests"])
    return 0
