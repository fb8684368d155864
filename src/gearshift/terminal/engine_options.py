"""Arguments of the commands that answer texts with an engine, and the engine that they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.runtime.bundle.manifest import PRECISIONS
from gearshift.runtime.policy.objective import Objective
from gearshift.terminal.options import add_settings, given

if TYPE_CHECKING:
    from gearshift.runtime import Engine


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
    parser.add_argument("--log", type=Path, metavar="FILE", help="append one line of JSON for each request")
    add_settings(parser, Objective)


def load_engine(options: argparse.Namespace) -> Engine:
    """Load the bundle that the options name, as they say; raises what `Engine.load` raises."""
    from gearshift.runtime import Engine

    engine = Engine.load(
        options.bundle,
        threads=options.threads,
        precision=options.precision,
        profile=options.profile,
        log=options.log,
        cache=options.cache,
        cascade=options.cascade,
        null_threshold=options.null_threshold,
        **given(options, Objective),
    )
    try:
        engine.pin(options.subnet)
    except BaseException:
        engine.close()
        raise
    return engine
