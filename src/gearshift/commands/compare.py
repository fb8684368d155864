"""`gearshift bench --compare dedicated`: every subnet beside a graph of the same operators for it alone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gearshift.errors import InputError
from gearshift.runtime.startup import usable_precisions
from gearshift.terminal.output import progress_line, show, table

if TYPE_CHECKING:
    from gearshift.runtime import Bundle
    from gearshift.runtime.bench.dedicated import BenchReport


DEDICATED = "dedicated"
"""Name by which `--compare` selects graphs of one subnet each."""


def beside_dedicated(options: argparse.Namespace, bundle: Bundle) -> int:
    """Time every subnet in turns with a dedicated graph, and show the ratios."""
    if len(options.compare) > 1:
        raise InputError(f"--compare: expected {DEDICATED} alone, or devices, got {' '.join(options.compare)}")
    from gearshift.export.dedicated import dedicated_graphs
    from gearshift.runtime.bench.dedicated import run_bench

    precisions = usable_precisions(bundle, options.precision)
    with progress_line() as progress:
        report = run_bench(
            bundle,
            dedicated_graphs(bundle),
            precisions=precisions,
            lengths=options.lengths,
            rounds=options.rounds,
            threads=options.threads[0] if options.threads else 1,
            progress=progress,
        )
    show(options, report.to_dict(), _lines(report))
    return 0


def _lines(report: BenchReport) -> list[str]:
    """Tabulate median and ratio to the dedicated graph by length in tokens, for each precision."""
    from gearshift.runtime.bench.dedicated import granularity
    from gearshift.runtime.bench.plan import threads_text

    cores = ", ".join(map(str, report.cores)) or "not pinned"
    lines = [
        f"{report.bundle.origin}: a stage per {granularity(report.bundle.manifest.space)}, "
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
        lines += ["", *table(header, rows)]
    return lines
