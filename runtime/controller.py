"""Picks the subnet of each request and learns from how it went; without threads, clocks and files."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.backoff import Backoff
from gearshift.runtime.caps import NO_CAPS, Caps
from gearshift.runtime.latency import SlowDown, predict
from gearshift.runtime.policy import Candidate, Decision, choose, pareto

KEPT_SHAPES = 1024
"""Shapes of texts (length and batch) whose medians are kept: a decision then takes a quarter of the time."""


class Controller:
    """Decides, from what the table says and from what was seen so far.

        decision = controller.decide(length=16, batch=1, slack_ms=9.3, now=now)
        ...                                       # run decision.name
        controller.record(decision, run_ms=7.1, met=True, now=now)

    The engine and the simulator drive the same one. `accuracies`: those of the pool, by name. Time is passed
    in, in seconds from any fixed moment. Not safe for several threads by itself. Raises InputError for a
    target that is no share.
    """

    def __init__(self, accuracies: Mapping[str, float], table: LatencyTable, *, target: float = 0.95) -> None:
        self._accuracies = dict(accuracies)
        self._table = table
        self._ladder = _ladder(self._accuracies, table)
        self._candidates = functools.lru_cache(KEPT_SHAPES)(self._priced)
        # Lists have a slow-down of their own: several texts at once take less than n times one.
        self._slow_downs = {single: SlowDown(target=target) for single in (True, False)}
        self._backoff = Backoff(len(self._ladder))
        self._level = 0

    @property
    def ladder(self) -> tuple[str, ...]:
        """Names of the subnets that are worth switching between, the most accurate first."""
        return self._ladder

    @property
    def slow_down(self) -> float:
        """Observed / expected latency of single texts: 1 is the machine as it was when it was timed."""
        return self._slow_downs[True].value

    @property
    def level(self) -> int:
        """First rung of the ladder that caps and back-off left to the last decision."""
        return self._level

    def decide(
        self,
        *,
        length: int,
        batch: int = 1,
        slack_ms: float | None,
        now: float,
        caps: Caps = NO_CAPS,
        pinned: str | None = None,
    ) -> Decision:
        """The subnet for `batch` texts padded to `length` tokens that have `slack_ms` left (None: no deadline)."""
        names = self._ladder if pinned is None else (pinned,)
        candidates = self._candidates(names, length, batch)
        factor = self._slow_downs[batch == 1].tail_factor(now)
        level = caps.rung(len(self._ladder))
        if slack_ms is not None:
            level = max(level, self._backoff.level(now))
        self._level = level
        cap = self._ladder[level] if pinned is None else None
        return choose(candidates, slack_ms=slack_ms, factor=factor, cap=cap, pinned=pinned)

    def record(self, decision: Decision, *, run_ms: float, met: bool | None, now: float, batch: int = 1) -> None:
        """Take in how long the graph took, and whether the deadline was met (None: there was none)."""
        self._slow_downs[batch == 1].update(run_ms / decision.expected_ms, now)
        if decision.reason == "fits" and met is not None:
            self._backoff.record(self._ladder.index(decision.name), met=met, now=now)

    def _priced(self, names: tuple[str, ...], length: int, batch: int) -> tuple[Candidate, ...]:
        """The subnets of those names with their medians for such texts."""
        return tuple(
            Candidate(name, self._accuracies[name], predict(self._table, name, length, batch)) for name in names
        )


def _ladder(accuracies: Mapping[str, float], table: LatencyTable) -> tuple[str, ...]:
    """The Pareto front of accuracy and of median time, taken over the measured lengths."""
    front = pareto(Candidate(name, accuracy, sum(table.median_ms[name])) for name, accuracy in accuracies.items())
    return tuple(candidate.name for candidate in front)
