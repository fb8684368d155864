"""`gearshift look-up`: the best subnets of a supernet within limits, by the block tables in its bundle."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.drawing.numbers import millions, percent
from gearshift.errors import InputError, ProfileError
from gearshift.runtime import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.terminal.options import command
from gearshift.terminal.output import show, table

if TYPE_CHECKING:
    from gearshift.runtime.space.shape import EncoderShape
    from gearshift.runtime.tables.latency import LatencyPredictor
    from gearshift.runtime.tables.tables import Estimate


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, look_up)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle of a run of `gearshift search`")
    parser.add_argument("--latency-ms", type=float, metavar="MS", help="longest call on a text of --length tokens")
    parser.add_argument("--parameters", type=float, metavar="N", help="most parameters, such as 15e6")
    parser.add_argument("--bytes", type=float, metavar="N", help="most bytes of weights at --precision")
    parser.add_argument(
        "--macs", type=float, metavar="N", help="most multiply-accumulates, at the tables' length of text"
    )
    parser.add_argument("--length", type=int, default=128, metavar="N", help="tokens of a text (default: 128)")
    parser.add_argument(
        "--precision", choices=CPU_PRECISIONS, default="fp32", help="precision of weights and calls (default: fp32)"
    )
    parser.add_argument("--profile", type=Path, metavar="FILE", help="device for --latency-ms (default: this one)")
    parser.add_argument("--count", type=int, default=5, metavar="N", help="subnets to show, best first (default: 5)")


def look_up(options: argparse.Namespace) -> int:
    """Show the subnets of least summed loss within the limits."""
    from gearshift.runtime.tables.limits import Limits
    from gearshift.runtime.tables.tables_file import TABLES, load_tables

    bundle = open_bundle(options.bundle)
    space = bundle.manifest.space
    if not (bundle.path / TABLES).is_file():
        raise InputError(
            f"{options.bundle}: expected the bundle of a supernet that was searched, found no {TABLES}; run "
            "`gearshift search` on the run of a supernet and export it again"
        )
    tables = load_tables(bundle.path / TABLES, shape=space.shape)
    limits = Limits(
        options.latency_ms, options.parameters, options.bytes, options.macs, options.length, options.precision
    )
    latency = _latency(options, bundle)
    began = time.perf_counter()
    found = tables.best(limits, latency, count=options.count)
    ms = 1000 * (time.perf_counter() - began)
    shown = [_plain(one, space.shape, bundle, options.precision) for one in found]
    header = ("subnet", "summed loss", "parameters", f"MACs ({tables.macs_tokens} tokens)", "bytes", "ms", "measured")
    rows = [
        (
            one["name"],
            f"{one['loss']:.4f}",
            millions(one["parameters"]),
            millions(one["macs"]),
            f"{one['bytes'] / 1e6:.1f} MB",
            "" if one["latency_ms"] is None else f"{one['latency_ms']:.2f}",
            "" if one["accuracy"] is None else percent(one["accuracy"]),
        )
        for one in shown
    ]
    lines = [
        f"best by summed loss, found in {ms:.1f} ms; measured: {bundle.manifest.metric} of those in the pool",
        *table(header, rows),
    ]
    show(options, {"bundle": str(options.bundle), "look_up_ms": ms, "subnets": shown}, lines)
    return 0


def _plain(one: Estimate, shape: EncoderShape, bundle: Bundle, precision: str) -> dict[str, Any]:
    """Describe a subnet with its name, and its accuracy if the pool has it."""
    from gearshift.runtime.space.uniform import subnet_name

    pool = {entry.subnet: entry.accuracy for entry in bundle.pool(precision).values()}
    return {
        **asdict(one),
        "subnet": [list(layer) for layer in one.subnet.layers],
        "name": subnet_name(shape, one.subnet),
        "accuracy": pool.get(one.subnet),
    }


def _latency(options: argparse.Namespace, bundle: Bundle) -> LatencyPredictor | None:
    """Read the latencies of a device at the fewest threads that were measured; None if they are not needed."""
    from gearshift.runtime.profiles.own import find_profile
    from gearshift.runtime.profiles.store import this_device
    from gearshift.runtime.tables.from_profile import latency_at

    path = options.profile
    if path is None:
        if options.latency_ms is None:
            return None
        found = find_profile(this_device())
        if found is None:
            raise InputError(f"latency: this device has no profile; run `gearshift bench {options.bundle}` first")
        if found.stale is not None:
            raise ProfileError(
                f"latency: {found.path} is stale ({found.stale}); run `gearshift bench {options.bundle}`, or take it "
                "all the same with --profile"
            )
        path = found.path
    return latency_at(path, bundle, options.precision)
