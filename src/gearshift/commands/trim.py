"""`gearshift trim`: a smaller bundle with some of a bundle's subnets."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gearshift.commands.bundle import compressed, description, megabytes, pool_table
from gearshift.runtime import open_bundle
from gearshift.runtime.bundle.signatures import SIGNATURES
from gearshift.terminal.options import command, names, precisions
from gearshift.terminal.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, trim)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SMALLER", help="bundle directory to write")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--max-mb",
        type=float,
        metavar="MB",
        help="keep the most accurate subnet that fits, and as many others as fit beside it",
    )
    what.add_argument("--keep", type=names, metavar="ID,ID", help="keep these subnets; `inspect` lists them")
    parser.add_argument("--precision", type=precisions, metavar="P,P", help="precisions to keep (default: all)")
    parser.add_argument(
        "--compress", action="store_true", help="write a compressed bundle; --max-mb limits its unpacked size"
    )


def trim(options: argparse.Namespace) -> int:
    """Write a smaller bundle and show its contents."""
    from gearshift.export.trim import trim_bundle

    bundle = open_bundle(options.bundle)
    signed = os.path.lexists(bundle.origin / SIGNATURES)
    smaller = trim_bundle(
        bundle, options.output, keep=options.keep, max_mb=options.max_mb, precisions=options.precision
    )
    smaller = compressed(smaller) if options.compress else smaller
    lines = [
        f"{options.output}: written and verified, {megabytes(smaller)} of {megabytes(bundle)}",
        *(["the signatures are not of what is left, and were left out; sign it again"] if signed else []),
        *pool_table(smaller),
    ]
    show(options, description(smaller), lines)
    return 0
