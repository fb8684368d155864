"""Arguments of the commands that answer with an engine, and the engine that they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gearshift.runtime import Engine
from gearshift.runtime.bundle.manifest import PRECISIONS
from gearshift.runtime.policy.objective import Objective
from gearshift.terminal.options import add_settings, given


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an engine and of its requests, but for the bundle and the texts."""
    parser.add_argument(
        "--deadline-ms", type=float, metavar="MS", help="time that an answer may take (default: no limit)"
    )
    parser.add_argument("--subnet", metavar="ID", help="use this subnet whatever the deadline; `inspect` lists them")
    parser.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="auto (default): the fastest that answers correctly on this CPU",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of one call (default: half of the CPUs)")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="latency table to use instead of measuring one")
    parser.add_argument("--save-profile", type=Path, metavar="FILE", help="keep the latency table for --profile")
    parser.add_argument(
        "--no-cache", action="store_false", dest="cache", help="neither use nor write packed weights on disk"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="append one line of JSON for each request")
    add_settings(parser, Objective)


def engine_of(options: argparse.Namespace, **others: Any) -> Engine:
    """Load the engine that was asked for, with its subnet and its profile kept; `others`: of one command alone."""
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
        if options.save_profile is not None:
            engine.save_profile(options.save_profile)
    except BaseException:
        engine.close()
        raise
    return engine
