"""`gearshift simulate`: policies on synthetic or logged requests, with the latencies of a device; no model runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.drawing.numbers import percent
from gearshift.errors import InputError
from gearshift.terminal.options import command, names, precisions
from gearshift.terminal.output import show, table

if TYPE_CHECKING:
    from gearshift.runtime.simulate.simulator import Machine


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, simulate)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "--profile",
        type=Path,
        required=True,
        metavar="FILE",
        help="profile written by `run --save-profile` on the device",
    )
    parser.add_argument(
        "--trace", required=True, metavar="TRACE", help="a decision log, or a name such as contention or bursts-4"
    )
    parser.add_argument(
        "--policy", type=names, default=("gearshift",), metavar="NAME,NAME", help="policies (default: gearshift)"
    )
    parser.add_argument("--precision", type=precisions, metavar="P,P", help="precisions (default: the fastest)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the table (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the trace (default: 0)")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="S", help="length of the trace (default: 120)")


def simulate(options: argparse.Namespace) -> int:
    """Simulate policies on a trace, or a decision log, with a device's latency table."""
    from gearshift.runtime import open_bundle
    from gearshift.runtime.inference.providers import CPU
    from gearshift.runtime.profiles.store import tables_for
    from gearshift.runtime.simulate.policies import POLICIES
    from gearshift.runtime.simulate.simulator import Ladder, Machine
    from gearshift.runtime.simulate.traces import Scale, make_trace, read_log

    unknown = [name for name in options.policy if name not in POLICIES]
    if unknown:
        raise InputError(f"--policy: expected some of {', '.join(POLICIES)}, got {', '.join(unknown)}")
    bundle = open_bundle(options.bundle)
    latencies = tables_for(
        options.profile,
        bundle,
        precisions=bundle.precisions if options.precision is None else options.precision,
        threads=options.threads,
        provider=CPU[0],
    )[0]
    entries = bundle.entries(latencies.precision)
    ladder = Ladder.of(
        {name: entry.choosing_accuracy for name, entry in entries.items()},
        latencies,
        rows=bundle.manifest.dev_rows,
        reported={name: entry.accuracy for name, entry in entries.items()},
        dan=None if bundle.dan is None else bundle.dan.name,
    )
    if Path(options.trace).exists():
        trace = read_log(Path(options.trace))
    else:
        trace = make_trace(options.trace, Scale(latencies, ladder.names[0], options.seed, options.seconds))
    found = _play({name: Machine(trace, ladder) for name in ("static-small", *options.policy)}, options.policy)
    result = {
        "bundle": str(bundle.origin),
        "precision": latencies.precision,
        "trace": trace.name,
        "seed": options.seed,
        "requests": len(trace.arrivals),
        "ladder": list(ladder.names),
        "policies": found,
    }
    header = ("policy", "deadlines met", "where smallest does", "goodput-accuracy", "switches a minute")
    rows = [
        (name, *(percent(value) for value in list(measures.values())[:3]), f"{measures['switches_per_minute']:.0f}")
        for name, measures in found.items()
    ]
    lines = [f"{trace.name}: {len(trace.arrivals)} requests, {latencies.precision}, {len(ladder.names)} subnets"]
    show(options, result, [*lines, *table(header, rows)])
    return 0


def _play(machines: dict[str, Machine], policies: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Measure each policy; the baseline is `static-small`, the smallest subnet for all requests."""
    from gearshift.runtime.simulate.policies import POLICIES
    from gearshift.runtime.simulate.simulator import simulate as play

    outcomes = {name: play(POLICIES[name](machine), machine) for name, machine in machines.items()}
    smallest = outcomes["static-small"]
    return {
        name: {
            "deadlines_met": sum(outcomes[name].met) / len(outcomes[name].met),
            "met_where_smallest_does": outcomes[name].met_where(smallest),
            "goodput_accuracy": outcomes[name].goodput_accuracy,
            "switches_per_minute": outcomes[name].switches_per_minute,
        }
        for name in policies
    }
