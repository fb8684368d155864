"""Arguments shared by commands for nets of mixed operations: device and text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import PRECISIONS

if TYPE_CHECKING:
    from gearshift.runtime.space.blocks import Block
    from gearshift.runtime.tables.latency import LatencyPredictor


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the device whose operations were timed."""
    parser.add_argument("--profile", type=Path, metavar="FILE", help="device profile with the times of --operations")
    parser.add_argument("--operations", type=Path, metavar="BUNDLE", help="bundle of `nas-operations`, timed there")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="precision of the times and bytes that count (default: fp32)",
    )


def device_of(options: argparse.Namespace) -> LatencyPredictor[Block] | None:
    """Read the times of a device's operations; None if no device is given."""
    if options.profile is None and options.operations is None:
        return None
    if options.profile is None or options.operations is None:
        raise InputError("expected both --profile and --operations, the bundle that it was measured with")
    from gearshift.runtime.bundle.bundle import open_bundle
    from gearshift.runtime.tables.from_profile import latency_at

    return latency_at(options.profile, open_bundle(options.operations), options.precision)


def add_text(parser: argparse.ArgumentParser, *, of_search: bool = False) -> None:
    """Add the arguments for the text to learn from, by default `of_search`."""
    told = " (default: that of the search)" if of_search else ""
    parser.add_argument(
        "--text",
        type=Path,
        nargs="+",
        required=not of_search,
        metavar="FILE",
        help=f"text, one a line, or TSV, CSV or JSONL with a column sentence; .xz too{told}",
    )
    parser.add_argument(
        "--states", type=Path, metavar="FOLDER", help="keep the teacher's states here, for further searches and nets"
    )
