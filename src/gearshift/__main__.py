"""The command line: parse, call, print. Everything it does can be done from Python as well."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import gearshift
from gearshift.commands import (
    bench,
    bundle,
    doctor,
    export,
    look_up,
    plot,
    prune,
    run,
    search,
    simulate,
    train,
    train_dan,
    trim,
)
from gearshift.commands.nas import operations as nas_operations
from gearshift.commands.nas import search as nas_search
from gearshift.commands.nas import train as nas_train
from gearshift.commands.nas import tune as nas_tune
from gearshift.errors import GearshiftError

COMMANDS = (
    train,
    train_dan,
    prune,
    search,
    nas_search,
    nas_operations,
    nas_train,
    nas_tune,
    export,
    trim,
    bundle,
    look_up,
    run,
    plot,
    bench,
    simulate,
    doctor,
)
"""Modules that each `add` a command with its arguments, in the order of the help."""

INTERRUPTED = 130
BROKEN_PIPE = 141
"""Exit codes that shells report for a program ended by SIGINT or SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 with one line on standard error, 2 for wrong usage."""
    options = parse(arguments)
    if options.verbose:
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("gearshift").setLevel(logging.INFO)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except GearshiftError as error:
        print(f"gearshift: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"gearshift: interrupted{options.when_interrupted}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `gearshift inspect BUNDLE | head -1`: the reader needs no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again
        return BROKEN_PIPE


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments; for wrong usage, print the reason and exit with 2."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # Before Python 3.13, argparse leaves the texts that follow an option: `run BUNDLE --json TEXT`.
    place = rest.index("--") if "--" in rest else len(rest)
    texts = [*rest[:place], *rest[place + 1 :]]
    if texts and ("texts" not in options or any(text.startswith("-") and text != "-" for text in texts[:place])):
        parser.error(f"unrecognized arguments: {' '.join(texts)}")
    if texts:
        options.texts = [*options.texts, *texts]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gearshift", description=gearshift.__doc__)
    parser.add_argument("--version", action="version", version=f"gearshift {gearshift.__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log progress to standard error")
    parser.set_defaults(when_interrupted="")
    listed = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(listed)
    return parser


if __name__ == "__main__":
    sys.exit(main())
