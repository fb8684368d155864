"""Tables of the profile of a bundle, for a terminal and for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gearshift.drawing.bench_charts import charts, choosing_accuracies, ladder, spread
from gearshift.drawing.numbers import milliseconds, percent
from gearshift.drawing.svg import Chart
from gearshift.runtime.bench.other_devices import DeviceRow
from gearshift.runtime.bench.plan import threads_text
from gearshift.runtime.bench.result import Calibration, Measured

DEADLINES_MS = (5, 10, 20, 50, 100, 200, 500, 1000)
"""Deadlines in ms that are tabulated unless one is given, up to the first that the most accurate subnet keeps at all
lengths."""

ESTIMATED = "estimated"

COMPARED = 3
"""Number of subnets shown in a comparison of devices, from the most accurate to the fastest."""

LISTED = 24
"""Size of the largest pool that a terminal shows whole."""


@dataclass(frozen=True)
class Table:
    """A table of texts: title, header and rows; the first column is left-aligned."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    wrapped: bool = False
    """Whether its cells are texts that may take several lines."""


@dataclass(frozen=True)
class Findings:
    """A profile with rows of other devices, for display."""

    calibration: Calibration
    devices: tuple[DeviceRow, ...] = ()
    deadline_ms: float | None = None

    def tables(self, *, front: bool) -> list[Table]:
        """Return the tables, the answer first; `front`: only the ladder of subnets, as always for a long pool."""
        calibration, threads = self.calibration, self.calibration.shown_threads
        shown = [m for m in calibration.measured if m.conditions.threads == threads]
        return [
            deadline_table(calibration, threads, self.deadline_ms),
            *(subnet_table(calibration, measured, front=front or self._long(measured)) for measured in shown),
            *self._compared(),
            effects_table(calibration),
            quality_table(calibration),
        ]

    def charts(self) -> list[Chart]:
        """Return the charts for the number of threads that is shown."""
        return charts(self.calibration, self.calibration.shown_threads, deadline_ms=self.deadline_ms)

    def all_subnets(self) -> list[Table]:
        """Return tables of every subnet under all conditions."""
        return [subnet_table(self.calibration, measured) for measured in self.calibration.measured]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        compared = {"compare": [row.to_dict() for row in self.devices]} if self.devices else {}
        return {**self.calibration.to_dict(), **compared}

    def _long(self, measured: Measured) -> bool:
        return len(self.calibration.bundle.pool(measured.conditions.precision)) > LISTED

    def _compared(self) -> list[Table]:
        lengths, threads = self.calibration.measured[0].stages.lengths, self.calibration.shown_threads
        tokens = lengths[len(lengths) // 2]
        precisions = dict.fromkeys(row.precision for row in self.devices)
        return [compare_table(self.calibration, self.devices, p, threads, tokens) for p in precisions]


def subnet_table(calibration: Calibration, measured: Measured, *, front: bool = False) -> Table:
    """Tabulate median and 95th percentile of the pool, or of its ladder alone, by length in tokens."""
    conditions, stages = measured.conditions, measured.stages
    timed, chosen_by = measured.timed(calibration.bundle), calibration.bundle.manifest.chosen_by
    best = [name for name, _, _ in ladder(calibration, measured, len(stages.lengths) // 2)]
    rows = []
    for name in best[::-1] if front else timed:
        columns = zip(timed[name].ms[50], timed[name].ms[95], strict=True)
        cells = [milliseconds(ms) for pair in columns for ms in pair]
        accuracies = [timed[name].accuracy, *([timed[name].choosing_accuracy] if chosen_by else [])]
        rows.append((name, *map(percent, accuracies), *cells))
    batch = "" if conditions.batch == 1 else f", batch {conditions.batch}"
    header = [conditions.precision, calibration.bundle.manifest.metric, *(["dev"] if chosen_by else [])]
    header += [f"{what}, {length}" for length in stages.lengths for what in ("p50 ms", "p95")]
    what = "Ladder" if front else "All subnets"
    title = f"{what}: {conditions.precision}, {threads_text(conditions.threads)}{batch}"
    return Table(title, tuple(header), tuple(rows))


def quality_table(calibration: Calibration) -> Table:
    """Tabulate prediction errors and disturbances, which show how far to trust each set of figures."""
    rows = []
    for m in calibration.measured:
        costs = next(
            (
                o
                for o in calibration.operators
                if (o.precision, o.threads) == (m.conditions.precision, m.conditions.threads)
            ),
            None,
        )
        operators = "-" if costs is None else percent(costs.error_median)
        rows.append(
            (
                f"{m.conditions.precision}, {threads_text(m.conditions.threads)}",
                percent(m.error_median),
                percent(m.error_p95),
                str(len(m.checked)),
                operators,
                str(m.stages.calls),
                percent(m.disturbed, 0),
            )
        )
    header = ("", "error, median", "p95", "checked", "operators alone", "calls", "disturbed")
    note = (
        "error: |predicted / measured - 1| for subnets and lengths left out of the fit. operators alone: the same "
        "error for a prediction from this device's operators, without any call of this bundle"
    )
    return Table("How far to trust it", header, tuple(rows), note)


def effects_table(calibration: Calibration) -> Table:
    """Tabulate loading, memory, first calls and pauses, which a median does not show."""
    rows = []
    for m in calibration.measured:
        gaps = {gap.gap_s: gap for gap in m.gaps}
        memory = "-" if m.memory is None else f"{m.memory.pss_mb:.0f} MB"
        cells = [
            f"{gap.median_ratio:.1f} x (p95 {gap.p95_ratio:.1f})" if gap else "-" for gap in map(gaps.get, (0.1, 1.0))
        ]
        name = f"{m.conditions.precision}, {threads_text(m.conditions.threads)}"
        rows.append((name, f"{m.load_ms:.0f} ms", memory, f"{m.first_call_ratio:.1f} x", *cells))
    header = ("", "load", "memory", "first call", "after 0.1 s", "after 1 s")
    note = "calls of the largest subnet with the shortest text, relative to calls without a pause"
    return Table("Loading, memory, pauses", header, tuple(rows), note)


def deadline_table(calibration: Calibration, threads: int, deadline_ms: float | None) -> Table:
    """Tabulate the most accurate subnet whose 95th percentile keeps a deadline, by length in tokens."""
    shown = [m for m in calibration.measured if m.conditions.threads == threads]
    lengths = shown[0].stages.lengths if shown else ()
    deadlines = DEADLINES_MS if deadline_ms is None else (deadline_ms,)
    rows: list[tuple[str, ...]] = []
    enough = tuple(_best(calibration, shown, place, math.inf) for place in range(len(lengths)))
    for deadline in deadlines:
        cells = tuple(_best(calibration, shown, place, deadline) for place in range(len(lengths)))
        rows.append((f"{deadline:g} ms", *cells))
        if cells == enough:  # longer deadlines add nothing
            break
    header = ("deadline", *(f"{length} tokens" for length in lengths))
    note = f"by the 95th percentile of calls on the unloaded device, {threads_text(threads)}"
    return Table("What fits a deadline", header, tuple(rows), note, wrapped=True)


def _best(calibration: Calibration, shown: Sequence[Measured], place: int, deadline: float) -> str:
    fitting = []
    for m in shown:
        chosen_by = choosing_accuracies(calibration, m, place)
        fitting += [
            (chosen_by[one.name], -one.ms[50][place], one.name, m.conditions.precision, one.accuracy)
            for one in m.timed(calibration.bundle).values()
            if one.ms[95][place] <= deadline
        ]
    if not fitting:
        return "none"
    *_, name, precision, accuracy = max(fitting)
    return f"{name} {precision}, {percent(accuracy)}"


def compare_table(
    calibration: Calibration, rows: Sequence[DeviceRow], precision: str, threads: int, tokens: int
) -> Table:
    """Tabulate devices side by side with some subnets of the ladder, at one precision, number of threads and length."""
    mine = calibration.find(precision, threads)
    chosen = [r for r in rows if (r.precision, r.threads, r.tokens) == (precision, threads, tokens)]
    pool = calibration.bundle.pool(precision)
    names = list(pool)
    if mine is not None:
        front = [one for one in ladder(calibration, mine, mine.stages.lengths.index(tokens)) if one[0] in pool]
        names = spread(front, COMPARED)[::-1]
    lines = []
    if mine is not None:
        times = [mine.subnet_ms(pool[name])[mine.stages.lengths.index(tokens)] for name in names]
        lines.append(("this device", "measured", *map(milliseconds, times)))
    for device, kind in dict.fromkeys((row.device, row.kind) for row in chosen):
        cells = {row.subnet: span(row) for row in chosen if (row.device, row.kind) == (device, kind)}
        lines.append((device, kind, *(cells[name] for name in names)))
    header = (f"{precision}, {tokens} tokens", "how", *(f"{name}, {percent(pool[name].accuracy)}" for name in names))
    return Table(
        f"Side by side: median ms, {threads_text(threads)}",
        header,
        tuple(lines),
        "measured: calls of this bundle there. predicted: from operators measured there. estimated: not measured, a "
        "roofline from published constants, from its floor to the excess over it that one device showed",
    )


def span(row: DeviceRow) -> str:
    """Format a single number, or the range of an estimate."""
    if row.low_ms == row.high_ms:
        return milliseconds(row.low_ms)
    return f"{milliseconds(row.low_ms)} to {milliseconds(row.high_ms)}"
