"""The ladder: the subnets of a pool that are worth switching between on this device."""

from __future__ import annotations

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


def ladder_of(accuracies: Mapping[str, float], table: LatencyTable) -> tuple[str, ...]:
    """Return the names of the ladder: the Pareto front of accuracy and of the sum of median times over the lengths."""
    front = pareto(Candidate(name, accuracy, sum(table.median_ms[name])) for name, accuracy in accuracies.items())
    return tuple(candidate.name for candidate in front)


def last_rung(accuracies: Mapping[str, float], ladder: Sequence[str], least: float | None) -> int:
    """Return the fastest rung whose accuracy is at least `least`; raise InputError if none is that accurate."""
    if least is None:
        return len(ladder) - 1
    enough = [rung for rung, name in enumerate(ladder) if accuracies[name] >= least]
    if not enough:
        raise InputError(f"min_accuracy: expected at most {accuracies[ladder[0]]}, the best there is, got {least}")
    return enough[-1]
