"""The choice of a subnet for one request: a pure function of predicted times, request and objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gearshift.runtime.policy.latency_model import Prediction
from gearshift.runtime.policy.objective import REJECT, Objective
from gearshift.runtime.policy.restraint import LEAST_MS, LONGEST_S, MARGIN, Late
from gearshift.runtime.policy.slow_down import IDLE_S

FITS, BEST_EFFORT, REJECTED, PROBE = "fits", "best_effort", "rejected", "probe"
NO_DEADLINE, ACCURACY_FLOOR, CPU_SHARE = "no_deadline", "accuracy_floor", "cpu_share"
PINNED, CONFIDENT, LIKELY = "pinned", "confident", "likely"
"""Reasons of a decision, as `Decision.reason` explains them."""


NONE_MS = 1e-6
"""Slack in ms up to which nothing is in time."""

HOPELESS = 1e-3
"""Largest probability of being in time at which a request counts as late on every rung."""

SURE = 2.0
"""Multiple of its bound within which a run is in time for certain, to save time."""


class Decision(NamedTuple):
    """The subnet for a request, and the reason for it."""

    name: str
    expected_ms: float
    """Median time of the graph on the unloaded device, by the latency table, in ms."""
    predicted_ms: float
    """Bound in ms that the graph stays under with the target's probability: expected_ms x bias x factor."""
    reason: str
    """Reason of the choice:

    `fits`: the subnet of the highest expected value; it keeps the deadline.
    `likely`: the same, but it is less sure to keep the deadline than a faster one that fits.
    `best_effort`: no subnet is sure to keep it; this is the one of the highest expected value, mostly the fastest.
    `rejected`: no subnet keeps it, and the objective refuses such requests (load shedding).
    `no_deadline`: the most accurate subnet.
    `accuracy_floor`: the fastest subnet that is accurate enough.
    `cpu_share`: the most accurate subnet within the share of the CPUs.
    `pinned`: the caller named it.
    `confident`: the DAN of a cascade was sure of its answer.
    `probe`: exploration. The DAN would have answered; the subnet above it is tried, as it did not run for a while."""
    level: int
    """First rung of the ladder that caps and back-off allowed for this request."""


NO_ONE = Late()


class Asked(NamedTuple):
    """A request as `choose` sees it: its slack, the requests that wait behind it, and the rungs that it may use.

    Rungs count from 0, the most accurate subnet of the ladder.
    """

    slack_ms: float | None
    """Time left for the graph in ms; None without a deadline."""
    first: int
    """First rung that caps allow."""
    last: int
    """Last and fastest rung that the accuracy floor allows."""
    limit_ms: float = math.inf
    """Shortest median in ms that back-off holds back; the last rung is never held back."""
    behind: Sequence[tuple[Sequence[float], float]] = ()
    """(median ms of each rung, slack in ms) of the most urgent requests that wait behind this one."""
    late: Late = NO_ONE
    """Expected number of later requests that runs make late."""
    budget_ms: float = math.inf
    """Longest median in ms that keeps requests without a deadline within the share of the CPUs."""
    dan: int | None = None
    """Rung of the DAN if the subnet above it is due for exploration; else None."""
    below: frozenset[int] = frozenset()
    """Rungs before the last one that the accuracy floor does not allow."""


class Chosen(NamedTuple):
    """A rung of the ladder, the reason for it, and the first rung that could have been chosen."""

    rung: int
    reason: str
    level: int


def choose(accuracies: Sequence[float], times: Prediction, asked: Asked, objective: Objective) -> Chosen:
    """Choose the rung of the ladder that answers a request.

    1. Without a deadline: the most accurate subnet that the objective allows.
    2. With a deadline: the subnet of the highest expected value. The value is the accuracy x the probability of being
       in time, with `late_value` for the rest; plus the same for the requests that wait; less the expected loss from
       later requests that the run makes late. With a `target`, among those that keep the deadline with this
       probability.
    3. If no subnet does, or none has a chance: the fastest one, or a refusal (load shedding) if the objective asks for
       it.
    4. Exploration: now and then the subnet above the DAN in place of the DAN. Without a try it could never be found to
       be fast again.

    `accuracies`: accuracy of each rung, falling.
    """
    if asked.slack_ms is None:
        rung, reason = _without_deadline(times, asked, objective)
        return Chosen(rung, reason, asked.first)
    level, best = _worthiest(accuracies, times, asked, asked.slack_ms, objective)
    if best is not None and times.bound_ms(best) <= asked.slack_ms:
        rung, reason = best, FITS
    else:
        rung, reason = _fastest(times, asked, asked.slack_ms, objective)
        if best is not None and reason != REJECTED:
            rung, reason = best, LIKELY if reason == FITS else reason
    if rung == asked.dan and _may_try(rung - 1, times, asked, asked.slack_ms):
        return Chosen(rung - 1, PROBE, level)
    return Chosen(rung, reason, level)


def _allowed(asked: Asked) -> Sequence[int]:
    """Return the rungs that caps and the accuracy floor allow, the most accurate first."""
    rungs = range(asked.first, asked.last + 1)
    return [rung for rung in rungs if rung not in asked.below] if asked.below else rungs


def _without_deadline(times: Prediction, asked: Asked, objective: Objective) -> tuple[int, str]:
    if objective.max_cpu_share is not None:
        fitting = (rung for rung in _allowed(asked) if times.medians[rung] <= asked.budget_ms)
        return next(fitting, asked.last), CPU_SHARE
    if objective.min_accuracy is not None:
        return asked.last, ACCURACY_FLOOR
    return asked.first, NO_DEADLINE


def _worthiest(
    accuracies: Sequence[float], times: Prediction, asked: Asked, slack_ms: float, objective: Objective
) -> tuple[int, int | None]:
    """Return the first rung that is not held back, and the rung of the highest expected value.

    With a target, rungs whose bound is above the slack are left out. None if none is left, or if none has a chance.
    """
    medians, biases, factor, usual = times.medians, times.biases, times.factor, times.usual
    limit_ms, last, behind, late_value = asked.limit_ms, asked.last, asked.behind, objective.late_value
    level = first = asked.first
    if medians[first] >= limit_ms:  # seldom, and the search takes its time
        level = next((rung for rung in range(first, last) if medians[rung] < limit_ms), last)
    best, chosen, most = -math.inf, None, late_value
    sum_at, outlook = asked.late.sum_at, times.outlook
    longest = math.inf if objective.target is None else slack_ms / factor
    sure, left_ms = slack_ms / (SURE * factor), slack_ms / times.first_call
    log_left = math.log(left_ms) if left_ms > NONE_MS else -math.inf
    timely = 1 - late_value
    everyone = 1 + timely * len(behind)
    scale = math.log(usual / LEAST_MS)
    least, lost = sum_at(math.log(medians[last] * biases[last]) + scale), asked.late.scale * accuracies[last]
    ramp = outlook.ramp() if behind else (0.0, 0.0, 0.0)
    for rung in _allowed(asked):
        median = medians[rung]
        run_ms = median * biases[rung]
        if run_ms > longest or (median >= limit_ms and rung != last):
            continue
        log_run = math.log(run_ms)
        chance = 1.0 if run_ms <= sure else outlook.within(log_left - log_run)
        if chance < HOPELESS and rung != last and not late_value:  # a faster one gives more to the others
            continue
        made_late = sum_at(log_run + scale) - least
        waiting = _waiting_value(behind, rung, accuracies[rung], median, ramp) if behind else 0.0
        value = accuracies[rung] * (late_value + timely * chance) + timely * (waiting - lost * made_late)
        if value > best:
            best, chosen = value, rung
        if chance > most:
            most = chance
        if rung < last and best >= accuracies[rung + 1] * everyone:  # those below cannot give more
            break
    return level, chosen if most >= HOPELESS else None


def _waiting_value(
    behind: Sequence[tuple[Sequence[float], float]],
    rung: int,
    accuracy: float,
    median: float,
    ramp: tuple[float, float, float],
) -> float:
    """Return the expected accuracy, summed, of the waiting requests if this request, of this median ms, and all of them
    run on one rung.

    `ramp`: `Outlook.ramp`, in place of the exact probabilities, which take too long for a queue.
    """
    low, high, slope = ramp
    run_ms, in_time = median, 0.0
    for those, slack_ms in behind:
        run_ms += those[rung]
        if slack_ms >= run_ms * high:
            in_time += 1
        elif slack_ms > run_ms * low:
            in_time += (slack_ms / run_ms - low) * slope
    return in_time * accuracy


def _fastest(times: Prediction, asked: Asked, slack_ms: float, objective: Objective) -> tuple[int, str]:
    rung = min(_allowed(asked), key=lambda one: times.medians[one] * times.biases[one])
    if times.bound_ms(rung) <= slack_ms:
        return rung, FITS
    if objective.on_miss == REJECT and times.silence_s < IDLE_S:  # else it is tried, to learn from it
        return rung, REJECTED
    return rung, BEST_EFFORT


def _may_try(rung: int, times: Prediction, asked: Asked, slack_ms: float) -> bool:
    """Return whether to try a subnet in place of the DAN below it.

    After a long silence the estimated slow-down does not prevent a try: nothing else could correct it.
    """
    usual = times.usual if times.silence_s < LONGEST_S else min(times.usual, 1.0)
    return not asked.behind and rung in _allowed(asked) and times.medians[rung] * usual * MARGIN <= slack_ms
