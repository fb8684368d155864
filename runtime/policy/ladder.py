"""The ladder: the subnets of a pool that are worth switching between on this device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.errors import InputError


@dataclass(frozen=True)
class Candidate:
    """A subnet with its accuracy and its median time, for `pareto`."""

    name: str
    accuracy: float
    expected_ms: float


def pareto(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Keep the candidates worth using, most accurate (and slowest) first: each next one is strictly faster.

    A candidate is left out when another is at least as fast and at least as accurate.
    """
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: (-one.accuracy, one.expected_ms)):
        if not front or candidate.expected_ms < front[-1].expected_ms:
            front.append(candidate)
    return tuple(front)


def ladder_of(accuracies: Mapping[str, float], table: LatencyTable) -> tuple[str, ...]:
    """Names of the ladder: the Pareto front of accuracy and of median time over the lengths."""
    front = pareto(Candidate(name, accuracy, sum(table.median_ms[name])) for name, accuracy in accuracies.items())
    return tuple(candidate.name for candidate in front)


def last_rung(accuracies: Mapping[str, float], ladder: Sequence[str], least: float | None) -> int:
    """The fastest rung that is accurate enough; raises InputError where none is."""
    if least is None:
        return len(ladder) - 1
    enough = [rung for rung, name in enumerate(ladder) if accuracies[name] >= least]
    if not enough:
        raise InputError(f"min_accuracy: expected at most {accuracies[ladder[0]]}, the best there is, got {least}")
    return enough[-1]
