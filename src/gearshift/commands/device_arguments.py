"""The arguments of the commands that run on the device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gearshift.commands import bench, device_commands
from gearshift.commands.options import command, names, precisions, whole_numbers
from gearshift.runtime.bench.plan import BUDGET_S
from gearshift.runtime.bench.scenarios import SCENARIOS
from gearshift.runtime.bundle.manifest import PRECISIONS


def add_device(listed: Any) -> None:
    """Add these commands to those that are listed."""
    _add_run(listed)
    _add_plot(listed)
    _add_bench(listed)
    _add_simulate(listed)
    _add_doctor(listed)


def _add_run(listed: Any) -> None:
    parser = command(listed, "run", device_commands.run, "answer texts with a bundle")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts; - (or none) reads one a line from standard input"
    )
    parser.add_argument(
        "--pair", action="store_true", help="texts come two by two, or as lines with a tab; a question comes first"
    )
    parser.add_argument(
        "--deadline-ms", type=float, metavar="MS", help="time that an answer may take (default: no limit)"
    )
    parser.add_argument(
        "--target", type=float, default=0.99, metavar="SHARE", help="share of deadlines to keep (default: .99)"
    )
    parser.add_argument("--min-accuracy", type=float, metavar="A", help="use no subnet that is less accurate")
    parser.add_argument(
        "--max-cpu-share", type=float, metavar="SHARE", help="without a deadline: share of the CPUs to take on average"
    )
    parser.add_argument("--subnet", metavar="ID", help="use this subnet whatever the deadline; `inspect` lists them")
    parser.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="auto (default): the fastest that is right on this CPU",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of one call (default: half of the CPUs)")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="latency table to use instead of measuring one")
    parser.add_argument("--save-profile", type=Path, metavar="FILE", help="keep the latency table for --profile")
    parser.add_argument(
        "--no-cache", action="store_false", dest="cache", help="neither use nor make packed weights on disk"
    )
    parser.add_argument(
        "--cascade",
        type=float,
        metavar="SHARE",
        help="let the DAN answer where it is sure, to agree with the most accurate size on this share, such as .99",
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="append one line of JSON for each request")
    parser.add_argument(
        "--live", action="store_true", help="on a terminal: show rate, latency, deadlines, subnets and load as it goes"
    )


def _add_plot(listed: Any) -> None:
    parser = command(
        listed, "plot", device_commands.plot, "draw a decision log: latency, deadlines, subnet and load over time"
    )
    parser.add_argument("log", type=Path, metavar="LOG", help="what `run --log` wrote")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="picture to write, .png or .svg"
    )


def _add_bench(listed: Any) -> None:
    parser = command(listed, "bench", bench.bench, "measure this device, and predict every subnet of a bundle")
    _add_bench_arguments(parser)


def _add_simulate(listed: Any) -> None:
    parser = command(
        listed,
        "simulate",
        device_commands.simulate,
        "try policies on made-up or logged requests, with measured latencies",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "--profile", type=Path, required=True, metavar="FILE", help="what `run --save-profile` wrote on the device"
    )
    parser.add_argument(
        "--trace", required=True, metavar="TRACE", help="a decision log, or a name such as contention or bursts-4"
    )
    parser.add_argument(
        "--policy", type=names, default=("gearshift",), metavar="NAME,NAME", help="policies (default: gearshift)"
    )
    parser.add_argument("--precision", type=precisions, metavar="P,P", help="precisions (default: the fastest)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the table (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another trace for another seed (default: 0)")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="S", help="length (default: 120)")


def _add_doctor(listed: Any) -> None:
    parser = command(listed, "doctor", device_commands.doctor, "show what this device has, and what to change")
    parser.add_argument("--clear-cache", action="store_true", help="remove what `run` and the engine keep on disk")


def _add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PROFILE", help="profile to write (default: where the engine finds it)"
    )
    parser.add_argument(
        "--budget", type=bench.seconds, default=BUDGET_S, metavar="TIME", help="time for it all (default: 60s)"
    )
    parser.add_argument(
        "--lengths", "--seq", type=whole_numbers, metavar="N,N", help="tokens of a text (default: 16,64,128)"
    )
    parser.add_argument(
        "--threads", type=whole_numbers, metavar="N,N", help="threads (default: 1, 2, 4 ... up to the CPUs)"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="texts of a call (default: 1)")
    parser.add_argument("--precision", type=precisions, metavar="P,P", help="precisions to time (default: all)")
    parser.add_argument("--deadline-ms", type=float, metavar="MS", help="deadline to look at, and a server's bound")
    parser.add_argument("--report", type=Path, metavar="FILE", help="page to write, HTML with everything in it")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="pictures to write, .svg or (needs matplotlib) .png")
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="DEVICE",
        help="side by side with devices: profile files, names of boards, or `boards` for all that ship, which are "
        f"estimated; or `{bench.DEDICATED}`: with a graph of the same operators for each subnet alone",
    )
    parser.add_argument(
        "--scenario", choices=SCENARIOS, help="run one subnet under a load as MLPerf defines it, instead"
    )
    parser.add_argument("--soak", type=bench.seconds, metavar="TIME", help="then run one subnet for so long, as 30m")
    parser.add_argument("--subnet", metavar="ID", help="subnet of --scenario and --soak (default: the largest)")
    parser.add_argument(
        "--rounds", type=int, default=20, metavar="N", help=f"timed calls of --compare {bench.DEDICATED} (default: 20)"
    )
