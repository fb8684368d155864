"""`gearshift bench`: what a bundle costs on this device, on others, and beside dedicated graphs."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gearshift.commands.output import show
from gearshift.commands.output import table as table_lines
from gearshift.commands.progress_line import progress_line
from gearshift.drawing import bench_tables as tables
from gearshift.drawing.bench_charts import charts
from gearshift.drawing.bench_tables import Table, threads_text
from gearshift.drawing.html import emulated_text, html_report
from gearshift.drawing.svg import Chart, svg_file
from gearshift.errors import GearshiftError
from gearshift.runtime import Bundle, InputError, StorageError, UnknownSubnetError, open_bundle
from gearshift.runtime.bench.dedicated import BenchReport, run_bench
from gearshift.runtime.bench.dedicated import granularity as stage_size
from gearshift.runtime.bench.other_devices import DeviceRow, device_rows, find_subjects
from gearshift.runtime.bench.plan import Plan
from gearshift.runtime.bench.profiling import calibrate
from gearshift.runtime.bench.result import Calibration, Measured
from gearshift.runtime.bench.scenarios import Case, run_scenario
from gearshift.runtime.bench.soak import Soak, soak
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.own import own_path
from gearshift.runtime.profiles.store import require_writable, save_measured
from gearshift.runtime.profiles.timing import pinned
from gearshift.runtime.serving.request import checked_deadline
from gearshift.runtime.startup import default_threads

DEDICATED = "dedicated"
"""What `--compare` calls a graph of one subnet alone."""


PICTURES = (".svg", ".png")


UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def bench(options: argparse.Namespace) -> int:
    """Calibrate and show; or run a scenario, or every subnet beside a dedicated graph."""
    checked_deadline(options.deadline_ms)
    bundle = open_bundle(options.bundle)
    if options.scenario is not None:
        return _scenario(options, bundle)
    if DEDICATED in options.compare:
        return _beside_dedicated(options, bundle)
    return _calibrate(options, bundle)


def seconds(text: str) -> float:
    """A duration such as 90, 90s, 30m or 1h, in seconds."""
    factor = UNITS.get(text[-1:], 0.0)
    number = text[:-1] if factor else text
    try:
        value = float(number) * (factor or 1.0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 30m or 1h, got {text!r}") from error
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a time above 0, got {text!r}")
    return value


@dataclass(frozen=True)
class _Found:
    """Everything that was asked for."""

    calibration: Calibration
    threads: int
    """That the pictures and the first tables are of."""
    rows: tuple[DeviceRow, ...]
    soak: Soak | None
    profile: Path | None
    deadline_ms: float | None

    @property
    def lengths(self) -> tuple[int, ...]:
        return self.calibration.measured[0].stages.lengths

    def tables(self, *, front: bool) -> list[Table]:
        """What is shown, the answer first; `front`: of sizes the ladder alone, as of a long pool in any case."""
        shown = [m for m in self.calibration.measured if m.conditions.threads == self.threads]
        sizes = [
            tables.subnet_table(self.calibration, measured, front=front or self._long(measured)) for measured in shown
        ]
        return [
            tables.deadline_table(self.calibration, self.threads, self.deadline_ms),
            *sizes,
            *self._compared(),
            *([] if self.soak is None else [tables.soak_table(self.soak)]),
            tables.effects_table(self.calibration),
            tables.quality_table(self.calibration),
        ]

    def _long(self, measured: Measured) -> bool:
        return len(self.calibration.bundle.pool(measured.conditions.precision)) > tables.LISTED

    def _compared(self) -> list[Table]:
        if not self.rows:
            return []
        tokens = self.lengths[len(self.lengths) // 2]
        precisions = dict.fromkeys(row.precision for row in self.rows)
        return [tables.compare_table(self.calibration, self.rows, p, self.threads, tokens) for p in precisions]

    def charts(self) -> list[Chart]:
        return charts(self.calibration, self.threads, deadline_ms=self.deadline_ms, soak=self.soak)

    def all_sizes(self) -> list[Table]:
        return [tables.subnet_table(self.calibration, measured) for measured in self.calibration.measured]

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        extra: dict[str, Any] = {"profile": None if self.profile is None else str(self.profile)}
        if self.rows:
            extra["compare"] = [row.to_dict() for row in self.rows]
        if self.soak is not None:
            extra["soak"] = self.soak.to_dict()
        return {**self.calibration.to_dict(), **extra}


def _calibrate(options: argparse.Namespace, bundle: Bundle) -> int:
    plan = Plan.of(
        bundle,
        lengths=options.lengths,
        threads=options.threads,
        precisions=options.precision,
        batch=options.batch,
        budget_s=options.budget,
    )
    if options.soak is not None:
        _subnet(options, bundle, plan.precisions[-1])
    subjects = find_subjects(options.compare)
    draw_plot = _plot_writer(options.plot)
    for path in (options.plot, options.report):
        _require_writable(path)
    if options.output is not None:
        require_writable(options.output)
    with progress_line(" s") as progress:
        calibration = calibrate(bundle, plan, progress=progress)
        if not calibration.measured:
            raise GearshiftError("; ".join(calibration.refused) + "; nothing was written")
        threads = _shown_threads(calibration)
        rows: list[DeviceRow] = []
        if subjects:
            lengths = calibration.measured[0].stages.lengths
            for precision in plan.precisions:
                rows += device_rows(bundle, subjects, precision, lengths, threads)
        profile = _save(options, calibration)  # before the long load, which may be interrupted
        soaked = None if options.soak is None else _soak(options, bundle, plan, threads, progress)
    found = _Found(calibration, threads, tuple(rows), soaked, profile, options.deadline_ms)
    if draw_plot is not None:
        draw_plot(found.charts())
    if options.report is not None:
        page = html_report(calibration, found.tables(front=True), found.charts(), found.all_sizes())
        replace_file(options.report, page.encode())
    show(options, found.to_dict(), _lines(options, found))
    return 0


def _shown_threads(calibration: Calibration) -> int:
    measured = [m.conditions.threads for m in calibration.measured]
    return default_threads() if default_threads() in measured else measured[0]


def _save(options: argparse.Namespace, calibration: Calibration) -> Path | None:
    """Write the profile; None where its figures are none of this device as the engine uses it."""
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


def _lines(options: argparse.Namespace, found: _Found) -> list[str]:
    calibration = found.calibration
    device = calibration.device
    lines = [
        f"{calibration.bundle.origin}: a stage per {stage_size(calibration.bundle.manifest.space)}, "
        f"on {device.cpu_model}, {calibration.seconds:.0f} s"
    ]
    lines += [] if device.emulator is None else [f"note: {emulated_text(device.emulator)}"]
    lines += [f"note: {line}" for line in calibration.warnings]
    for table in found.tables(front=False):
        lines += ["", table.title, *table_lines(table.header, table.rows)]
        lines += [f"({table.note})"] if table.note else []
    written = [found.profile, options.report, options.plot]
    lines += ["", *(f"{path}: written" for path in written if path is not None)]
    return lines


def _soak(
    options: argparse.Namespace, bundle: Bundle, plan: Plan, threads: int, progress: Callable[[str, float, float], None]
) -> Soak:
    precision = plan.precisions[-1]
    subnet = _subnet(options, bundle, precision)
    choice = bundle.pool(precision)[subnet].choice
    with pinned(threads), contextlib.closing(ElasticSession(bundle, precision, threads=threads)) as session:
        call = partial(session.run, random_inputs(bundle, plan.lengths[-1]), choice)
        what = f"{subnet} {precision}, lasting load"
        return soak(call, options.soak, progress=lambda done, planned: progress(what, done, planned))


def _subnet(options: argparse.Namespace, bundle: Bundle, precision: str) -> str:
    """The subnet that was asked for, by default the largest; of those that the graph makes."""
    pool = bundle.pool(precision)
    if options.subnet is None:
        return max(pool.values(), key=lambda entry: entry.macs).name
    if options.subnet not in pool:
        raise UnknownSubnetError(f"unknown subnet {options.subnet!r}; the graph of this bundle has {', '.join(pool)}")
    return str(options.subnet)


def _scenario(options: argparse.Namespace, bundle: Bundle) -> int:
    plan = Plan.of(bundle, lengths=options.lengths, threads=options.threads, precisions=options.precision)
    threads = options.threads[0] if options.threads else default_threads()
    precision = plan.precisions[-1]
    subnet = _subnet(options, bundle, precision)
    with (
        pinned(threads),
        contextlib.closing(ElasticSession(bundle, precision, threads=threads)) as session,
        progress_line(" s") as progress,
    ):
        result = run_scenario(
            options.scenario,
            Case(bundle, session, subnet, plan.lengths[len(plan.lengths) // 2]),
            seconds=options.budget,
            bound_ms=options.deadline_ms,
            **({"batch": options.batch} if options.batch > 1 else {}),
            progress=lambda done, planned: progress(options.scenario, done, planned),
        )
    table = tables.scenario_table(result)
    show(options, result.to_dict(), [table.title, *table_lines(table.header, table.rows), f"({table.note})"])
    return 0


def _beside_dedicated(options: argparse.Namespace, bundle: Bundle) -> int:
    if len(options.compare) > 1:
        raise InputError(f"--compare: expected {DEDICATED} alone, or devices, got {' '.join(options.compare)}")
    from gearshift.export.dedicated import dedicated_graphs

    with progress_line() as progress:
        report = run_bench(
            bundle,
            dedicated_graphs(bundle),
            precisions=options.precision,
            lengths=options.lengths,
            rounds=options.rounds,
            threads=options.threads[0] if options.threads else 1,
            progress=progress,
        )
    show(options, report.to_dict(), _dedicated_lines(report))
    return 0


def _dedicated_lines(report: BenchReport) -> list[str]:
    """A table per precision: median and ratio to the dedicated graph, by tokens."""
    cores = ", ".join(map(str, report.cores)) or "not pinned"
    lines = [
        f"{report.bundle.origin}: a stage per {stage_size(report.bundle.manifest.space)}, "
        f"{threads_text(report.threads)} (cores: {cores}), batch 1, {report.rounds} rounds"
    ]
    for precision in dict.fromkeys(row.precision for row in report.rows):
        means = report.mean_ratios[precision]
        header = [precision, *(f"{cell}, {n}" for n in report.lengths for cell in ("p50 ms", "/ dedicated"))]
        by_subnet: dict[str, list[str]] = {}
        for row in sorted((row for row in report.rows if row.precision == precision), key=lambda row: row.tokens):
            cells = by_subnet.setdefault(f"{row.subnet} ({row.segments} segments)", [])
            cells += [f"{row.times.median_ms:.2f}", f"{row.ratio:.2f}"]
        rows = [[name, *cells] for name, cells in by_subnet.items()]
        rows.append(["mean", *(cell for n in report.lengths for cell in ("", f"{means[n]:.2f}"))])
        lines += ["", *table_lines(header, rows)]
    return lines


def _plot_writer(path: Path | None) -> Callable[[Sequence[Chart]], None] | None:
    """What writes the pictures; refuses a form that it cannot write before anything is measured."""
    if path is None:
        return None
    if path.suffix.lower() == ".svg":
        return lambda pictures: replace_file(path, svg_file(pictures).encode())
    if path.suffix.lower() == ".png":
        from gearshift.drawing.log import plot_charts

        return lambda pictures: plot_charts(pictures, path)
    raise InputError(f"{path}: expected a name that ends in {' or '.join(PICTURES)}")


def _require_writable(path: Path | None) -> None:
    if path is None:
        return
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise StorageError(f"{path}: could not be written ({error.strerror}); name another file") from error
