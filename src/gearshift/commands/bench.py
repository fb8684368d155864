"""`gearshift bench`: profile a bundle on this device, and compare it with other devices."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.commands.compare import DEDICATED, beside_dedicated
from gearshift.errors import GearshiftError, InputError, StorageError
from gearshift.runtime import open_bundle
from gearshift.runtime.bench.plan import BUDGET_S, Plan
from gearshift.runtime.serving.request import checked_deadline
from gearshift.runtime.startup import usable_precisions
from gearshift.terminal.options import command, precisions, whole_numbers
from gearshift.terminal.output import progress_line, show, table
from gearshift.terminal.parser import SHOWN

if TYPE_CHECKING:
    from gearshift.drawing.bench_tables import Findings
    from gearshift.runtime.bench.result import Calibration


UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, bench)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PROFILE", help="profile to write (default: where the engine finds it)"
    )
    parser.add_argument(
        "--budget", type=seconds, default=BUDGET_S, metavar="TIME", help="total time, such as 90s (default: 60s)"
    )
    parser.add_argument(
        "--lengths", "--seq", type=whole_numbers, metavar="N,N", help="tokens of a text (default: 16,64,128)"
    )
    parser.add_argument(
        "--threads", type=whole_numbers, metavar="N,N", help="threads (default: 1, 2, 4 ... up to the CPUs)"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="texts of a call (default: 1)")
    parser.add_argument("--precision", type=precisions, metavar="P,P", help="precisions to time (default: all)")
    parser.add_argument("--deadline-ms", type=float, metavar="MS", help="deadline to check (default: several)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="page to write, self-contained HTML")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="charts to write, .svg")
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="DEVICE",
        help="compare with devices: profile files, names of boards, or `boards` for all that ship, which are "
        f"estimated; or with `{DEDICATED}`: a graph of the same operators for each subnet alone",
    )
    parser.add_argument(
        "--rounds", type=int, default=20, metavar="N", help=f"timed calls of --compare {DEDICATED} (default: 20)"
    )


def bench(options: argparse.Namespace) -> int:
    """Plan, measure, store the profile, draw and show; or time every subnet beside a dedicated graph."""
    from gearshift.drawing.bench_tables import Findings
    from gearshift.runtime.bench.other_devices import compare, find_subjects
    from gearshift.runtime.bench.profiling import calibrate

    checked_deadline(options.deadline_ms)
    bundle = open_bundle(options.bundle)
    if DEDICATED in options.compare:
        return beside_dedicated(options, bundle)
    asked = Plan.of(
        bundle,
        lengths=options.lengths,
        threads=options.threads,
        precisions=options.precision,
        batch=options.batch,
        budget_s=options.budget,
    )
    subjects = find_subjects(options.compare)
    _check_outputs(options)
    plan = dataclasses.replace(asked, precisions=usable_precisions(bundle, options.precision))
    with progress_line(" s") as progress:
        calibration = calibrate(bundle, plan, progress=progress)
    if not calibration.measured:
        raise GearshiftError("; ".join(calibration.refused) + "; nothing was written")
    profile = _keep(options, calibration)
    findings = Findings(calibration, compare(calibration, subjects), options.deadline_ms)
    _draw(options, findings)
    result = {**findings.to_dict(), "profile": None if profile is None else str(profile)}
    show(options, result, _lines(findings, [profile, options.report, options.plot]))
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse files that cannot be written, before anything is measured."""
    from gearshift.runtime.profiles.store import require_writable

    if options.plot is not None and options.plot.suffix.lower() != ".svg":
        raise InputError(f"{options.plot}: expected a name that ends in .svg")
    for path in filter(None, (options.plot, options.report)):
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise StorageError(f"{path}: could not be written ({error.strerror}); name another file") from error
    if options.output is not None:
        require_writable(options.output)


def _keep(options: argparse.Namespace, calibration: Calibration) -> Path | None:
    """Write the profile; return None if its figures do not apply to this device as the engine uses it."""
    from gearshift.runtime.profiles.own import own_path
    from gearshift.runtime.profiles.store import save_measured

    if calibration.measured[0].conditions.batch != 1:
        return None
    if options.output is None and calibration.device.emulator is not None:
        return None
    path: Path = own_path(calibration.device) if options.output is None else options.output
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent}: could not be made ({error.strerror}); name a file with -o") from error
    latencies = [measured.table(calibration.bundle, calibration.date) for measured in calibration.measured]
    save_measured(path, tables=latencies, operators=calibration.operators)
    return path


def _draw(options: argparse.Namespace, findings: Findings) -> None:
    """Write the requested charts and page."""
    from gearshift.drawing.html import html_report
    from gearshift.drawing.svg import svg_file
    from gearshift.runtime.files.atomic import replace_file

    if options.plot is not None:
        replace_file(options.plot, svg_file(findings.charts()).encode())
    if options.report is not None:
        page = html_report(findings.calibration, findings.tables(front=True), findings.charts(), findings.all_subnets())
        replace_file(options.report, page.encode())


def _lines(findings: Findings, written: list[Path | None]) -> list[str]:
    from gearshift.drawing.html import emulated_text
    from gearshift.runtime.bench.dedicated import granularity

    calibration = findings.calibration
    bundle, device = calibration.bundle, calibration.device
    lines = [
        f"{bundle.origin}: a stage per {granularity(bundle.manifest.space)}, "
        f"on {device.cpu_model}, {calibration.seconds:.0f} s",
        *([] if device.emulator is None else [f"note: {emulated_text(device.emulator)}"]),
        *(f"note: {line}" for line in calibration.warnings),
    ]
    for one in findings.tables(front=False):
        lines += ["", one.title, *table(one.header, one.rows)]
        lines += [f"({one.note})"] if one.note else []
    return [*lines, "", *(f"{path}: written" for path in written if path is not None)]


def seconds(text: str) -> float:
    """Read a duration such as 90, 90s, 30m or 1h, in seconds."""
    factor = UNITS.get(text[-1:], 0.0)
    number = text[:-1] if factor else text
    try:
        value = float(number) * (factor or 1.0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 30m or 1h, got {text[:SHOWN]!r}") from error
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a time above 0, got {text[:SHOWN]!r}")
    return value
