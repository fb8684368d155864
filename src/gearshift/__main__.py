"""The command line: parse, call, print. Everything it does can be done from Python as well."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import gearshift
from gearshift.errors import GearshiftError, one_line
from gearshift.escaping import EscapingFormatter
from gearshift.terminal import streams
from gearshift.terminal.parser import Parser, Version

COMMANDS = {
    "train": ("train:add", "train a supernet on your data"),
    "train-dan": ("train_dan:add", "distil a classifier into a DAN, the rung below the smallest subnet"),
    "prune": ("prune:add", "set weights of a supernet to zero, for a smaller download"),
    "search": ("search:add", "measure the block tables of a supernet and choose its pool"),
    "nas-search": ("nas.search:add", "search nets of mixed operations, block by block (NAS-BERT)"),
    "nas-operations": (
        "nas.operations:add",
        "write a bundle of all operations of a search, to be timed on a device",
    ),
    "nas-train": ("nas.train:add", "pick the best net under limits, or name one, and train it on text"),
    "nas-tune": ("nas.tune:add", "tune a net of `nas-train` for a task; `export` takes what is written"),
    "export": ("export:add", "write a trained supernet as a bundle"),
    "hub": ("hub:add", "write a run and its bundle as a folder for the hub, with a card of accuracies and latencies"),
    "trim": ("trim:add", "write a smaller bundle with some of a bundle's subnets"),
    "unpack": ("bundle:add_unpack", "unpack a compressed bundle into a plain one"),
    "inspect": ("bundle:add_inspect", "show the contents of a bundle"),
    "sign": ("sign:add", "sign a bundle, or make a pair of keys"),
    "verify": ("bundle:add_verify", "check every file, the numbers of every subnet on this CPU, and signatures"),
    "vectors": ("vectors:add", "write what a client in another language must give for a bundle"),
    "embed": ("embed:add", "write the folder that an app in another language ships"),
    "look-up": ("look_up:add", "find the best subnets of a supernet within any combination of limits"),
    "run": ("run:add", "answer texts with a bundle"),
    "serve": ("serve:add", "answer other programs over HTTP, on this machine unless told otherwise"),
    "rank": ("rank:add", "rank texts by their relevance to a query"),
    "plot": ("plot:add", "draw a decision log: latency, deadlines, subnet and load over time"),
    "bench": ("bench:add", "measure this device, and predict every subnet of a bundle"),
    "simulate": ("simulate:add", "simulate policies on synthetic or logged requests, with measured latencies"),
    "doctor": ("doctor:add", "check this device for running bundles, with advice"),
}
"""Command -> function that adds its arguments, as module of `gearshift.commands`:name, and what it does; in the order
of the help. The module is imported when the command is called: numpy and onnxruntime take most of a short one's time.
"""

FAILED = 1
INTERRUPTED = 130
BROKEN_PIPE = 141
"""Exit codes that shells report for a program ended by SIGINT or SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 with one line on standard error, 2 for wrong usage."""
    when_interrupted = ""
    try:
        streams.prepare()
        options = parse(arguments)
        when_interrupted = options.when_interrupted
        if logging.lastResort is not None:  # takes the warnings that no handler takes
            logging.lastResort.setFormatter(EscapingFormatter())
        if options.verbose:
            handler = logging.StreamHandler()
            handler.setFormatter(EscapingFormatter("%(name)s: %(message)s"))
            logging.basicConfig(handlers=[handler])
            logging.getLogger("gearshift").setLevel(logging.INFO)
        code: int = options.command(options)
        return code
    except GearshiftError as error:
        streams.complaint(error)
        return FAILED
    except KeyboardInterrupt:
        streams.complaint(f"interrupted{when_interrupted}")
        return INTERRUPTED
    except BrokenPipeError:  # `gearshift inspect BUNDLE | head -1`: the reader needs no more
        return BROKEN_PIPE
    except OSError as error:  # of a file that nothing of ours expected to fail
        streams.complaint(error)
        return FAILED
    except MemoryError as error:
        streams.complaint(f"out of memory ({one_line(error)}); free some, or ask for less")
        return FAILED
    except ImportError as error:  # numpy or onnxruntime, or a library of the system that they need
        if (error.name or "").startswith("gearshift"):
            raise
        streams.complaint(
            f"this needs a package that cannot be imported ({one_line(error)}); run: pip install gearshift"
        )
        return FAILED
    finally:
        streams.settle()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments; for wrong usage, print the reason and exit with 2."""
    options, rest = _parser().parse_known_args(arguments)
    # Before Python 3.13, argparse leaves the texts that follow an option: `run BUNDLE --json TEXT`.
    place = rest.index("--") if "--" in rest else len(rest)
    texts = [*rest[:place], *rest[place + 1 :]]
    takes_texts = isinstance(getattr(options, "texts", None), list)  # a server has a number of them
    if texts and (not takes_texts or any(text.startswith("-") and text != "-" for text in texts[:place])):
        options.wrong_usage(f"unrecognized arguments: {' '.join(texts)}")
    if texts:
        options.texts = [*options.texts, *texts]
    return options


def _parser() -> Parser:
    parser = Parser(prog="gearshift", description=gearshift.__doc__)
    version = f"gearshift {gearshift.__version__}"
    parser.add_argument("--version", action=Version, nargs=0, const=version, help="show the version and exit")
    parser.add_argument("-v", "--verbose", action="store_true", help="log progress to standard error")
    parser.set_defaults(when_interrupted="")
    listed = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (place, text) in COMMANDS.items():
        listed.add_parser(name, help=text, description=text, fill=_adding(place))
    return parser


def _adding(place: str) -> Callable[[argparse.ArgumentParser], None]:
    """Return a function that imports the module of a command and adds its arguments."""

    def add(parser: argparse.ArgumentParser) -> None:
        module, _, name = place.partition(":")
        getattr(import_module(f"gearshift.commands.{module}"), name)(parser)

    return add


if __name__ == "__main__":
    sys.exit(main())
