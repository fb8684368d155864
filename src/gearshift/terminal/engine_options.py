"""Arguments of the commands that answer with an engine, and the engine that they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.runtime.bundle.manifest import PRECISIONS
from gearshift.runtime.policy.objective import Objective
from gearshift.terminal.options import add_settings, given

if TYPE_CHECKING:
    from gearshift.runtime import Engine


def add_deadline(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that answers the texts of its line: their deadline, and what it measured."""
    parser.add_argument(
        "--deadline-ms", type=float, metavar="MS", help="time that an answer may take (default: no limit)"
    )
    parser.add_argument("--save-profile", type=Path, metavar="FILE", help="keep the latency table for --profile")


def add_cascade(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that let an answer of a bundle be another one: of its DAN, or none."""
    parser.add_argument(
        "--cascade",
        type=float,
        metavar="SHARE",
        help="let the DAN answer if it is confident, to agree with the most accurate subnet on this share, such as .99",
    )
    parser.add_argument(
        "--null-threshold",
        type=float,
        metavar="DIFF",
        help="question answering: say that there is no answer where null_score_diff is above this (default: the "
        "threshold of each subnet in the bundle)",
    )


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how a bundle is loaded, and by which objective it answers."""
    parser.add_argument("--subnet", metavar="ID", help="use this subnet whatever the deadline; `inspect` lists them")
    parser.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="auto (default): the fastest that answers correctly on this CPU",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of one call (default: half of the CPUs)")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="latency table to use instead of measuring one")
    parser.add_argument(
        "--no-cache", action="store_false", dest="cache", help="neither use nor write packed weights on disk"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="append one line of JSON for each request")
    add_settings(parser, Objective)


def load_engine(options: argparse.Namespace, save_profile: Path | None = None, **others: Any) -> Engine:
    """Load the bundle that the options name, as they say, with its profile kept in `save_profile`.

    `others`: arguments of one command alone. Raises what `Engine.load` raises.
    """
    from gearshift.runtime import Engine

    engine = Engine.load(
        options.bundle,
        threads=options.threads,
        precision=options.precision,
        profile=options.profile,
        log=options.log,
        cache=options.cache,
        **others,
        **given(options, Objective),
    )
    try:
        engine.pin(options.subnet)
        if save_profile is not None:
            engine.save_profile(save_profile)
    except BaseException:
        engine.close()
        raise
    return engine
