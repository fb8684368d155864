"""The ladder: the subnets of a pool that are worth switching between on this device, its Pareto front.

Accuracies are smoothed first (`smoothed`), or the luck of a few rows would decide which subnets stay: a quarter-width
net that some rows happened to favour would pass for more accurate than a half-width one, and hide it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.errors import InputError


@dataclass(frozen=True)
class Candidate:
    """A subnet with its accuracy and its median time in ms, for `pareto`."""

    name: str
    accuracy: float
    expected_ms: float


def pareto(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return the Pareto front, the most accurate (and slowest) candidate first; each next one is strictly faster.

    A candidate is dominated, and left out, if another is at least as fast and at least as accurate.
    """
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: (-one.accuracy, one.expected_ms)):
        if not front or candidate.expected_ms < front[-1].expected_ms:
            front.append(candidate)
    return tuple(front)


def smoothed(accuracies: Mapping[str, float], expected_ms: Mapping[str, float], rows: int) -> dict[str, float]:
    """Return the accuracies of a pool, made to rise with time where rows are too few to tell.

    1. A subnet that a faster one beats by more than noise keeps its accuracy: it is worse, and on no ladder.
    2. Those of the others become the rising sequence that is nearest to them (`isotonic`); of equally fast ones the
       best stands for all.

    `expected_ms`: time of each, as in `expected`. `rows`: number of rows that each was measured on, the same for all;
    with 0, not known, nothing changes.
    """
    if not rows:
        return dict(accuracies)
    best, left, as_fast = -math.inf, list[str](), dict[str, str]()
    for name in sorted(accuracies, key=lambda name: (expected_ms[name], -accuracies[name])):
        if left and expected_ms[name] == expected_ms[left[-1]]:
            as_fast[name] = left[-1]
        elif best - accuracies[name] <= noise(best, rows):
            left.append(name)
            best = max(best, accuracies[name])
    risen = dict(zip(left, isotonic([accuracies[name] for name in left]), strict=True))
    below = {name: min(accuracies[name], risen[better]) for name, better in as_fast.items()}
    return {**accuracies, **risen, **below}


def noise(accuracy: float, rows: int) -> float:
    """Return the difference of two accuracies on the same rows that luck alone hardly makes: two standard errors.

    The standard error of a share stands for that of the difference, as if half of what varies were common to both;
    subnets of one supernet agree on more, and other metrics vary less. As by Agresti and Coull (1998), four rows are
    added, half of them right, or a share of 1 would have no error.
    """
    share = (min(max(accuracy, 0.0), 1.0) * rows + 2) / (rows + 4)
    return 2 * math.sqrt(share * (1 - share) / (rows + 4))


def isotonic(values: Sequence[float]) -> list[float]:
    """Return the rising sequence that is nearest to the values (least squares): pool adjacent violators.

    Barlow, Bartholomew, Bremner and Brunk 1972, Statistical Inference under Order Restrictions, chapter 1. All weights
    are equal: every subnet of a pool is measured on the same rows.
    """
    blocks = list[tuple[float, int]]()  # (mean, count), rising
    for value in values:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] >= mean - 1e-12:  # the mean of equal values may be rounded below them
            before, size = blocks.pop()
            mean, count = (before * size + mean * count) / (size + count), size + count
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]


def ladder_of(accuracies: Mapping[str, float], table: LatencyTable) -> tuple[str, ...]:
    """Return the names of the ladder: the Pareto front of accuracy and `expected` time."""
    times = expected(table)
    front = pareto(Candidate(name, accuracy, times[name]) for name, accuracy in accuracies.items())
    return tuple(candidate.name for candidate in front)


def expected(table: LatencyTable) -> dict[str, float]:
    """Return name -> the time that subnets of a pool are compared by: the sum of the medians over the lengths, in
    ms."""
    return {name: sum(medians) for name, medians in table.median_ms.items()}


def rungs_above(stated: Mapping[str, float], ladder: Sequence[str], least: float | None) -> tuple[int, ...]:
    """Return the rungs whose accuracy is at least `least`; raise InputError if none is that accurate.

    `stated`: accuracies that the bundle states, and `inspect` shows, not the smoothed ones: these depend on the times
    of a device, and nobody who asks for a floor has seen them. The two may disagree on the order of neighbours, so that
    a rung may be left out above one that stays.
    """
    if least is None:
        return tuple(range(len(ladder)))
    enough = tuple(rung for rung, name in enumerate(ladder) if stated[name] >= least)
    if not enough:
        best = max(ladder, key=lambda name: stated[name])
        raise InputError(
            f"min_accuracy: expected at most {stated[best]}, that of {best}, the best on this device's ladder, "
            f"got {least}"
        )
    return enough
