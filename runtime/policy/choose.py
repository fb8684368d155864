"""Which subnet a request gets: pure functions of their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import InputError, UnknownSubnetError

REJECTED = "rejected"


CONFIDENT = "confident"


PROBE = "probe"


@dataclass(frozen=True)
class Candidate:
    """A subnet that could run a request."""

    name: str
    accuracy: float
    expected_ms: float
    """Median time of the graph for this request on the unloaded device."""


@dataclass(frozen=True)
class Decision:
    """The subnet for a request, and why."""

    name: str
    expected_ms: float
    """Median time of the graph on the unloaded device, as the table has it."""
    predicted_ms: float
    """Time that the graph is to stay under with the target's probability: expected_ms x tail factor."""
    reason: str
    """`fits`: the most accurate that keeps the deadline. `best_effort`: none keeps it, this is the fastest.
    `rejected`: none keeps it, and such requests are to be refused. `no_deadline`: the most accurate.
    `accuracy_floor`: the fastest that is accurate enough. `cpu_share`: the most accurate within the share of the
    CPUs. `pinned`: the caller named it. `confident`: of a cascade, the DAN was sure.
    `probe`: the DAN would have answered; the subnet above it is tried, as it was not heard from for a while."""


def choose(
    candidates: Sequence[Candidate],
    *,
    slack_ms: float | None,
    factor: float,
    cap: str | None = None,
    pinned: str | None = None,
) -> Decision:
    """The subnet for one request: the most accurate whose tail latency fits, else the fastest.

    `slack_ms` is the time left (None: no deadline), `factor` the tail of the slow-down: a candidate fits
    when expected_ms x factor <= slack_ms. Of equal accuracy the faster is taken. More slack never gives
    a less accurate subnet. `cap` names the slowest candidate that may be used; `pinned` overrides all.
    """
    if pinned is not None:
        return _decision(_named(candidates, pinned), factor, "pinned")
    if cap is not None:
        limit = _named(candidates, cap).expected_ms
        candidates = [candidate for candidate in candidates if candidate.expected_ms <= limit]
    if slack_ms is None:
        return _decision(_most_accurate(candidates), factor, "no_deadline")
    feasible = [candidate for candidate in candidates if candidate.expected_ms * factor <= slack_ms]
    if feasible:
        return _decision(_most_accurate(feasible), factor, "fits")
    return _decision(_fastest(candidates), factor, "best_effort")


def pareto(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates worth using, most accurate (and slowest) first: each next one is strictly faster.

    A candidate is left out when another is at least as fast and at least as accurate.
    """
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: (-one.accuracy, one.expected_ms)):
        if not front or candidate.expected_ms < front[-1].expected_ms:
            front.append(candidate)
    return tuple(front)


def _decision(candidate: Candidate, factor: float, reason: str) -> Decision:
    return Decision(candidate.name, candidate.expected_ms, candidate.expected_ms * factor, reason)


def _most_accurate(candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda one: (-one.accuracy, one.expected_ms))


def _fastest(candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda one: (one.expected_ms, -one.accuracy))


def _named(candidates: Sequence[Candidate], name: str) -> Candidate:
    for candidate in candidates:
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in candidates)
    raise UnknownSubnetError(f"unknown subnet {name!r}; expected one of {names}")


def clears(
    behind: Sequence[tuple[Sequence[float], float]],
    rung: int,
    last: int,
    costs: Sequence[float],
    factor: float,
    usual: float,
) -> bool:
    """Whether those behind are in time if this request and they all run on this rung.

    One that would be late on the fastest rung as well counts for nothing.
    """
    mine, fastest = costs[rung] * factor, costs[last] * factor
    for those, slack in behind:
        mine += those[rung] * usual
        fastest += those[last] * usual
        if mine > slack >= fastest:
            return False
    return True


def ladder_of(accuracies: Mapping[str, float], table: LatencyTable) -> tuple[str, ...]:
    """The subnets worth switching between: the Pareto front of accuracy and of median time over the lengths."""
    front = pareto(Candidate(name, accuracy, sum(table.median_ms[name])) for name, accuracy in accuracies.items())
    return tuple(candidate.name for candidate in front)


def last_rung(accuracies: Mapping[str, float], ladder: Sequence[str], least: float | None) -> int:
    """The fastest rung that is accurate enough."""
    if least is None:
        return len(ladder) - 1
    enough = [rung for rung, name in enumerate(ladder) if accuracies[name] >= least]
    if not enough:
        raise InputError(f"min_accuracy: expected at most {accuracies[ladder[0]]}, the best there is, got {least}")
    return enough[-1]
