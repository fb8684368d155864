"""Charts of the profile of a bundle."""

from __future__ import annotations

from collections.abc import Sequence

from gearshift.drawing.svg import Chart, Series
from gearshift.runtime.bench.result import Calibration, Measured
from gearshift.runtime.policy.ladder import Candidate, pareto, smoothed

SHOWN = 6
"""Number of subnets of a ladder that get a line of their own."""

LABELLED = 5
"""Number of points of a Pareto front that get a name."""


def ladder(calibration: Calibration, measured: Measured, place: int) -> list[tuple[str, float, float]]:
    """Return name, median ms and reported accuracy of the subnets worth choosing at one length, the fastest first."""
    timed = measured.timed(calibration.bundle)
    chosen_by = choosing_accuracies(calibration, measured, place)
    front = pareto(Candidate(name, chosen_by[name], one.ms[50][place]) for name, one in timed.items())
    return [(one.name, one.expected_ms, timed[one.name].accuracy) for one in reversed(front)]


def choosing_accuracies(calibration: Calibration, measured: Measured, place: int) -> dict[str, float]:
    """Return name -> accuracy by which an engine chooses, for texts of one length."""
    timed = measured.timed(calibration.bundle)
    return smoothed(
        {name: one.choosing_accuracy for name, one in timed.items()},
        {name: one.ms[50][place] for name, one in timed.items()},
        calibration.bundle.manifest.dev_rows,
    )


def charts(calibration: Calibration, threads: int, *, deadline_ms: float | None = None) -> list[Chart]:
    """Draw Pareto front, latency by length, ladder and check of all that was measured with this number of threads."""
    shown = [m for m in calibration.measured if m.conditions.threads == threads]
    found: list[Chart] = []
    if shown:
        place = len(shown[0].stages.lengths) // 2
        marks = () if deadline_ms is None else ((deadline_ms, f"deadline {deadline_ms:g} ms"),)
        found.append(_pareto(calibration, shown, place, marks))
        found += [_by_length(calibration, measured) for measured in shown]
        found += [_ladder(calibration, measured, place, marks) for measured in shown]
        if any(measured.checked for measured in shown):
            found.append(_check(shown))
    return found


def _pareto(
    calibration: Calibration, shown: Sequence[Measured], place: int, marks: tuple[tuple[float, str], ...]
) -> Chart:
    series = []
    for colour, measured in enumerate(shown):
        precision = measured.conditions.precision
        timed = measured.timed(calibration.bundle).values()
        points = tuple((one.ms[50][place], 100 * one.accuracy) for one in timed)
        front = ladder(calibration, measured, place)
        every = max(1, -(-len(front) // LABELLED))
        labels = tuple(name if n % every == 0 else "" for n, (name, _, _) in enumerate(front))
        line = tuple((milliseconds, 100 * accuracy) for _, milliseconds, accuracy in front)
        series.append(Series(precision, points, "points", colour=colour))
        series.append(Series(precision, line, "steps", labels if colour == len(shown) - 1 else (), colour=colour))
    tokens = shown[0].stages.lengths[place]
    return Chart(
        f"Accuracy and latency, {tokens} tokens",
        "median, ms",
        f"{calibration.bundle.manifest.metric}, %",
        tuple(series),
        x_log=True,
        x_marks=marks,
    )


def spread(front: Sequence[tuple[str, float, float]], count: int = SHOWN) -> list[str]:
    """Return at most `count` names of a ladder, evenly spaced from the fastest to the most accurate."""
    if len(front) <= count:
        return [name for name, _, _ in front]
    step = (len(front) - 1) / (count - 1)
    return [front[round(place * step)][0] for place in range(count)]


def _by_length(calibration: Calibration, measured: Measured) -> Chart:
    lengths = measured.stages.lengths
    tokens = [float(length) for length in lengths]
    timed = measured.timed(calibration.bundle)
    names = spread(ladder(calibration, measured, len(lengths) // 2))
    series = tuple(
        Series(name, tuple(zip(tokens, timed[name].ms[50], strict=True)), "line", colour=colour)
        for colour, name in enumerate(names)
    )
    return Chart(f"Latency by length, {measured.conditions.precision}", "tokens", "median, ms", series, from_zero=True)


def _ladder(calibration: Calibration, measured: Measured, place: int, marks: tuple[tuple[float, str], ...]) -> Chart:
    front = ladder(calibration, measured, place)
    names = spread(front)
    front = [row for row in front if row[0] in names]
    length = measured.stages.lengths[place]
    timed = measured.timed(calibration.bundle)
    bars = tuple(
        Series("", ((0.0, float(row)), (milliseconds, float(row))), "line", colour=0)
        for row, (_, milliseconds, _) in enumerate(front)
    )
    medians = tuple((milliseconds, float(row)) for row, (_, milliseconds, _) in enumerate(front))
    tails = tuple((timed[name].ms[95][place], float(row)) for row, (name, _, _) in enumerate(front))
    labels = tuple(f"{100 * accuracy:.1f} %" for _, _, accuracy in front)
    return Chart(
        f"Ladder, {measured.conditions.precision}, {length} tokens",
        "ms",
        "",
        (*bars, Series("median", medians, "points", colour=0), Series("p95", tails, "points", labels, colour=1)),
        x_marks=marks,
        y_names=tuple(f"{name}" for name, _, _ in front),
    )


def _check(shown: Sequence[Measured]) -> Chart:
    series = [
        Series(
            measured.conditions.precision,
            tuple((one.measured_ms, one.predicted_ms) for one in measured.checked),
            "points",
            colour=colour,
        )
        for colour, measured in enumerate(shown)
    ]
    ends = [value for one in series for point in one.points for value in point]
    diagonal = Series("", ((min(ends), min(ends)), (max(ends), max(ends))), "dashes", colour=6)
    return Chart(
        "Predicted and measured",
        "measured, ms",
        "predicted, ms",
        (diagonal, *series),
        x_log=True,
        y_log=True,
    )
