"""`gearshift nas-operations`: a bundle of all operations of a search, to be timed on a device."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.terminal.options import command, whole_numbers
from gearshift.terminal.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, operations, extras=["export", "train"])
    parser.add_argument("nas", type=Path, metavar="NAS", help="directory of `nas-search`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="bundle to write")
    parser.add_argument(
        "--sizes", type=whole_numbers, metavar="N,N", help="hidden sizes (default: those of the search)"
    )


def operations(options: argparse.Namespace) -> int:
    """Write the bundle of a search's operations."""
    from gearshift.export.probes.operations import export_operations
    from gearshift.trainer.nasbert.search import load_searched

    searched = load_searched(options.nas)
    space = searched.tables.space
    known = {block.hidden for stage in range(space.length) for block in space.options_of(stage)}
    bundle = export_operations(searched.run.checkpoint, options.sizes or sorted(known), options.output)
    count = len(bundle.pool(bundle.precisions[0]))
    show(
        options,
        {"bundle": str(options.output), "hash": bundle.hash, "subnets": count},
        [
            f"{options.output}: {count} subnets to be timed; "
            f"`gearshift run {options.output} --precision fp32 --save-profile FILE TEXT`"
        ],
    )
    return 0
