"""The choice of how many waiting texts run in one call, and of their subnet: dynamic batching by what it is worth.

Short texts leave most of a core's arithmetic unused: a call of eight takes less than half the time of eight calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gearshift.runtime.batches import Work
from gearshift.runtime.policy.latency_model import Prediction
from gearshift.runtime.policy.objective import Objective
from gearshift.runtime.policy.restraint import LEAST_MS, Late

COUNTS = (1, 2, 4, 8)
MOST_TOGETHER = COUNTS[-1]
"""Numbers of texts of a call that are compared, and the largest of them: a call of more saves little on top."""

AROUND_MS = 0.3
"""Time in ms that a call takes besides the graph: the decision, the arrays and the answers of its texts. A two-core x86
machine took .25 to .5 ms."""

LEAST_GAIN = 1e-3
"""Number of right answers in time that a call of several texts must give beyond calls of one."""


class Queued(NamedTuple):
    """Texts that wait, the earliest deadline first; those of one call are padded to the longest of them."""

    lengths: Sequence[int]
    """Number of tokens of each text."""
    slacks_ms: Sequence[float]
    """Time left for each text in ms."""
    more: int = 0
    """Number of texts that wait behind those, with later deadlines."""
    others: Sequence[tuple[Sequence[float], float]] = ()
    """(median ms on each rung, slack in ms) of requests elsewhere that have their turn after the first call."""


class Allowed(NamedTuple):
    """Rungs that a call may use, the most accurate first, and what its time costs."""

    rungs: Sequence[int]
    limit_ms: float
    """Shortest median in ms that back-off holds back; the last rung is never held back."""
    late: Late
    """Expected number of later requests that runs make late."""


class Together(NamedTuple):
    """The first waiting texts, so many, in one call on one rung."""

    rung: int
    texts: int


def choose_together(
    accuracies: Sequence[float],
    times: Prediction,
    medians: Callable[[Work], Sequence[float]],
    queued: Queued,
    allowed: Allowed,
    objective: Objective,
) -> Together | None:
    """Choose the rung and the number of texts of the next call; None if calls of one text are worth as much.

    A choice is followed for all waiting texts: calls of so many texts, one after another, on this rung. Its value is
    the number of right answers in time, with `late_value` for the rest, less the later requests that all of it makes
    late, each of which loses an answer of the fastest rung. Of texts behind those that are looked at, as many are in
    time as go on at this pace until the last known deadline. With a `target`, the first call keeps its deadline with
    this probability.

    `times`: prediction for the first text alone. `medians`: median ms of each rung for a work.
    """
    waiting, last = len(queued.lengths), allowed.rungs[-1]
    everyone, timely = waiting + queued.more + len(queued.others), 1 - objective.late_value
    plans = {count: _calls(medians, queued.lengths, count) for count in sorted({*COUNTS, waiting}) if count <= waiting}
    lost = allowed.late.scale * accuracies[last] * timely
    pace = _Pace.of(times, queued)
    first_ms = plans[1][0][1][last] * times.biases[last]
    rest_ms = sum(call[last] for _, call in plans[1][1:]) * times.biases[last]
    least = allowed.late.sum_at(_log(first_ms, times.usual))
    best, alone, chosen = -math.inf, -math.inf, None
    for rung in allowed.rungs:
        bias = times.biases[rung]
        for count, calls in plans.items():
            if best >= accuracies[rung] * everyone:  # neither these nor those below can give more
                break
            first = calls[0][1][rung]
            if rung != last and first >= allowed.limit_ms:
                continue
            if objective.target is not None and first * bias * times.factor > queued.slacks_ms[0]:
                continue
            in_time, run_ms = pace.in_time(calls, rung, bias)
            if queued.others:
                in_time += pace.others_in_time(queued.others, first * bias, rung)
            value = accuracies[rung] * (objective.late_value * everyone + timely * in_time)
            if lost:
                value -= lost * max(0.0, allowed.late.sum_at(_log(run_ms - rest_ms, times.usual)) - least)
            if count == 1:
                alone = max(alone, value)
            if value > best:
                best, chosen = value, Together(rung, count)
    return chosen if chosen is not None and chosen.texts > 1 and best > alone + LEAST_GAIN else None


class _Pace(NamedTuple):
    """Times that waiting texts have left, by the straight line in place of their probabilities (`Outlook.ramp`)."""

    slacks_ms: Sequence[float]
    more: int
    low: float
    high: float
    slope: float
    usual: float

    @classmethod
    def of(cls, times: Prediction, queued: Queued) -> _Pace:
        """Take a first call after a pause as a shorter deadline."""
        low, high, slope = times.outlook.ramp()
        slacks_ms = [slack_ms / times.first_call for slack_ms in queued.slacks_ms]
        return cls(slacks_ms, queued.more, low, high, slope, times.usual)

    def in_time(self, calls: Sequence[tuple[int, Sequence[float]]], rung: int, bias: float) -> tuple[float, float]:
        """Return the expected number of texts in time, and the median ms of all calls that were looked at."""
        slacks_ms, low, high, slope, usual = self.slacks_ms, self.low, self.high, self.slope, self.usual
        longest_ms = slacks_ms[-1]
        run_ms, in_time, place = 0.0, 0.0, 0
        for size, call in calls:
            run_ms += call[rung] * bias + AROUND_MS / usual
            if run_ms * low >= longest_ms:  # neither these nor any behind them
                return in_time, run_ms * len(slacks_ms) / (place + size)
            for slack_ms in slacks_ms[place : place + size]:
                if slack_ms >= run_ms * high:
                    in_time += 1
                elif slack_ms > run_ms * low:
                    in_time += (slack_ms / run_ms - low) * slope
            place += size
        if self.more:
            in_time += min(self.more, max(0.0, longest_ms * place / (run_ms * usual) - place))
        return in_time, run_ms

    def others_in_time(self, others: Sequence[tuple[Sequence[float], float]], run_ms: float, rung: int) -> float:
        """Return the expected number of requests elsewhere that are in time after a first call of `run_ms`."""
        in_time = 0.0
        for those, slack_ms in others:
            run_ms += those[rung]
            in_time += min(1.0, max(0.0, (slack_ms / run_ms - self.low) * self.slope))
        return in_time


def _calls(
    medians: Callable[[Work], Sequence[float]], lengths: Sequence[int], count: int
) -> list[tuple[int, Sequence[float]]]:
    """Return (number of texts, median ms of each rung) of the calls of `count` texts, the last of what is left."""
    texts = [lengths[place : place + count] for place in range(0, len(lengths), count)]
    return [(len(one), medians(((max(one), len(one)),))) for one in texts]


def _log(run_ms: float, usual: float) -> float:
    """Return the log of the time of a run over LEAST_MS, for `Late.sum_at`."""
    return math.log(max(run_ms * usual, LEAST_MS) / LEAST_MS)
