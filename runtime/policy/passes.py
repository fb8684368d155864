"""Two passes over a list that is to be ranked: all texts by one subnet, the best of them again by a more accurate one.

A ranking is worth the accuracy of the subnets that read its places. Places count less the further down they are, as in
nDCG: place p counts 1 / log2(p + 1) (Järvelin and Kekäläinen 2002, Cumulated gain-based evaluation of IR techniques).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gearshift.runtime.policy.latency_model import Prediction

LEAST = 2
"""Least number of texts of a second pass: it cannot change the order of a single one."""


class Allowed(NamedTuple):
    """Rungs that a request may use, and what its time costs."""

    rungs: Sequence[int]
    """Rungs that caps, back-off and the accuracy floor allow, the most accurate first."""
    slack_ms: float
    made_late: Callable[[float], float]
    """Function from the time of a run in ms to the expected number of later requests that it makes late."""
    least: float
    """Accuracy that such a later request loses."""


@functools.lru_cache(64)
def shares(texts: int) -> tuple[float, ...]:
    """Return the share of a ranking's worth that its first 0, 1, ... `texts` places have; none for fewer than LEAST."""
    sums = list(itertools.accumulate(1 / math.log2(place + 1) for place in range(1, texts + 1)))
    return (*(0.0 for _ in range(min(LEAST, texts + 1))), *(one / sums[-1] for one in sums[LEAST - 1 :]))


def first_pass(accuracies: Sequence[float], times: Prediction, allowed: Allowed, best: int, texts: int) -> int:
    """Return the rung to read all texts by, so that the ranking is worth most with what is left for a second pass.

    `best`: the rung for one pass, which keeps the deadline. Any other keeps it as well. Which texts the second pass
    will read is not known yet: they are taken to be as long as the others.
    """
    share, usual = shares(texts), times.usual

    def worth(quality: float, run_ms: float) -> float:
        return quality - allowed.made_late(run_ms * usual) * allowed.least

    highest, chosen = worth(accuracies[best], times.medians[best]), best
    for rung in (rung for rung in allowed.rungs if rung >= best):
        left_ms = allowed.slack_ms - times.bound_ms(rung)
        if left_ms < 0:
            continue
        for close in (close for close in allowed.rungs if close < rung):
            count = min(texts, int(texts * left_ms / times.bound_ms(close)))
            quality = accuracies[rung] + share[count] * (accuracies[close] - accuracies[rung])
            run_ms = times.medians[rung] + times.medians[close] * count / texts
            if worth(quality, run_ms) > highest:
                highest, chosen = worth(quality, run_ms), rung
    return chosen


def second_pass(
    accuracies: Sequence[float], bounds: Sequence[Sequence[float]], allowed: Allowed, first: int, texts: int
) -> tuple[int, int] | None:
    """Return the rung of a second pass, and the number of texts, the best ones, that it reads in time; None for no such
    pass.

    `bounds`: for each rung the bound in ms for the best 1, 2, ... texts.
    """
    share = shares(texts)
    best, chosen = 0.0, None
    for rung in (rung for rung in allowed.rungs if rung < first):
        fitting = [count for count, bound_ms in enumerate(bounds[rung], start=1) if bound_ms <= allowed.slack_ms]
        count = max(fitting, default=0)
        if count < LEAST:
            continue
        worth = share[count] * (accuracies[rung] - accuracies[first])
        worth -= allowed.made_late(bounds[rung][count - 1]) * allowed.least
        if worth > best:
            best, chosen = worth, (rung, count)
    return chosen
