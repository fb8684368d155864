"""A calibration as tables of text: for a terminal and for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gearshift.drawing.bench_charts import ladder, spread
from gearshift.runtime.bench.other_devices import DeviceRow
from gearshift.runtime.bench.result import Calibration, Measured
from gearshift.runtime.bench.scenarios import ScenarioResult
from gearshift.runtime.bench.soak import Soak

DEADLINES_MS = (5, 10, 20, 50, 100, 200, 500, 1000)
"""Where nobody says a deadline, these are looked at as far as they tell sizes apart."""


ESTIMATED = "estimated"


COMPARED = 3
"""Sizes that devices are compared with, from the most accurate to the fastest."""


LISTED = 24
"""Largest pool that a terminal shows whole."""


@dataclass(frozen=True)
class Table:
    """A title, a header and rows of text; the first column is to the left."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    wrapped: bool = False
    """Whether its cells are texts that may take several lines."""


def milliseconds(value: float) -> str:
    """As one reads it: 0.45, 4.5, 45."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Of a share; a dash where it is unknown."""
    return "-" if share is None or share != share else f"{100 * share:.{digits}f} %"


def subnet_table(calibration: Calibration, measured: Measured, *, front: bool = False) -> Table:
    """Median and 95th percentile of the pool, or of its ladder alone, by tokens."""
    conditions, stages = measured.conditions, measured.stages
    gears = measured.gears(calibration.bundle)
    best = [name for name, _, _ in ladder(calibration, measured, len(stages.lengths) // 2)]
    rows = []
    for name in best[::-1] if front else gears:
        columns = zip(gears[name].ms[50], gears[name].ms[95], strict=True)
        cells = [milliseconds(ms) for pair in columns for ms in pair]
        rows.append((name, percent(gears[name].accuracy), *cells))
    batch = "" if conditions.batch == 1 else f", batch {conditions.batch}"
    header = [conditions.precision, calibration.bundle.manifest.metric]
    header += [f"{what}, {length}" for length in stages.lengths for what in ("p50 ms", "p95")]
    what = "Ladder" if front else "All sizes"
    title = f"{what}: {conditions.precision}, {threads_text(conditions.threads)}{batch}"
    return Table(title, tuple(header), tuple(rows))


def quality_table(calibration: Calibration) -> Table:
    """How far to trust each set of figures."""
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
        "error: |predicted / measured - 1| of subnets and lengths that the fit never saw. operators alone: the same of "
        "a prediction from this device's operators, without any call of this bundle"
    )
    return Table("How far to trust it", header, tuple(rows), note)


def effects_table(calibration: Calibration) -> Table:
    """What a median does not show."""
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
    note = "calls of the largest size and the shortest text, against calls that follow each other"
    return Table("Loading, memory, pauses", header, tuple(rows), note)


def deadline_table(calibration: Calibration, threads: int, deadline_ms: float | None) -> Table:
    """The most accurate subnet whose 95th percentile keeps a deadline, by tokens."""
    shown = [m for m in calibration.measured if m.conditions.threads == threads]
    lengths = shown[0].stages.lengths if shown else ()
    deadlines = DEADLINES_MS if deadline_ms is None else (deadline_ms,)
    rows: list[tuple[str, ...]] = []
    enough = tuple(_best(calibration, shown, place, math.inf) for place in range(len(lengths)))
    for deadline in deadlines:
        cells = tuple(_best(calibration, shown, place, deadline) for place in range(len(lengths)))
        rows.append((f"{deadline:g} ms", *cells))
        if cells == enough:  # longer ones tell nothing more
            break
    header = ("deadline", *(f"{length} tokens" for length in lengths))
    note = f"by the 95th percentile of calls on the unloaded device, {threads_text(threads)}"
    return Table("What fits a deadline", header, tuple(rows), note, wrapped=True)


def _best(calibration: Calibration, shown: Sequence[Measured], place: int, deadline: float) -> str:
    fitting = [
        (gear.accuracy, -gear.ms[50][place], gear.name, m.conditions.precision)
        for m in shown
        for gear in m.gears(calibration.bundle).values()
        if gear.ms[95][place] <= deadline
    ]
    if not fitting:
        return "none"
    accuracy, _, name, precision = max(fitting)
    return f"{name} {precision}, {percent(accuracy)}"


def compare_table(
    calibration: Calibration, rows: Sequence[DeviceRow], precision: str, threads: int, tokens: int
) -> Table:
    """Devices below each other, some sizes of the ladder beside each other, at one precision, threads and length."""
    mine = calibration.find(precision, threads)
    chosen = [r for r in rows if (r.precision, r.threads, r.tokens) == (precision, threads, tokens)]
    pool = calibration.bundle.pool(precision)
    names = list(pool)
    if mine is not None:
        front = [gear for gear in ladder(calibration, mine, mine.stages.lengths.index(tokens)) if gear[0] in pool]
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
        "measured: calls of this bundle there. predicted: from operators measured there. estimated: nothing was "
        "measured there, a roofline from published constants, from its floor to what one device took beyond it",
    )


def span(row: DeviceRow) -> str:
    """One number, or a range of an estimate."""
    if row.low_ms == row.high_ms:
        return milliseconds(row.low_ms)
    return f"{milliseconds(row.low_ms)} to {milliseconds(row.high_ms)}"


def scenario_table(result: ScenarioResult) -> Table:
    """What a scenario gave."""
    header = ("scenario", result.metric, "valid", "queries", *result.latency_ms)
    row = (
        result.scenario,
        f"{result.value:.4g}",
        "yes" if result.valid else "no",
        str(result.queries),
        *map(milliseconds, result.latency_ms.values()),
    )
    what = f"{result.subnet}, {result.precision}, {result.tokens} tokens, {threads_text(result.threads)}"
    note = f"as MLPerf's, for {result.seconds:.0f} s: no MLPerf result; percentiles of latency in ms"
    return Table(f"{result.scenario}: {what}", header, (row,), note)


def soak_table(soak: Soak) -> Table:
    """The ends of a soak, and how far they are apart."""
    first, last = soak.points[0], soak.points[-1]
    heat = [point.temperature_c for point in soak.points if point.temperature_c is not None]
    row = (
        f"{last.seconds / 60:.1f} min",
        milliseconds(first.median_ms),
        milliseconds(last.median_ms),
        f"{soak.drift:+.1%}",
        f"{max(heat):.0f} C" if heat else "no sensor",
        {None: "no sensor", True: "yes", False: "no"}[soak.throttled],
    )
    header = ("lasted", "first median ms", "last", "drift", "hottest", "throttled")
    return Table("Under lasting load", header, (row,))


def threads_text(threads: int) -> str:
    """As one says it."""
    return "1 thread" if threads == 1 else f"{threads} threads"
