"""Simulator: runs a trace through a policy on a simulated machine, without real time and reproducibly.

One server answers one request at a time, the earliest deadline first. Under every policy, a request whose deadline
passes before its turn is shed. A run takes

    table median (subnet, length) x slow-down at its start x noise of the request x first-call factor

or, with a recorded pace, as long as that machine took for this work. The first-call factor is FIRST_CALL for the first
call and for any after a pause, else 1.
Machine and policies count in rungs of the ladder: 0 is the most accurate.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gearshift.device_profiles.latency_table import predict
from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.batches import Work, one
from gearshift.runtime.policy.ladder import expected, ladder_of, smoothed
from gearshift.runtime.policy.slow_down import IDLE_S
from gearshift.runtime.sensors.snapshot import Snapshot
from gearshift.runtime.serving.worker import MOST_URGENT
from gearshift.runtime.simulate.traces import Trace

FIRST_CALL = 1.15
"""Factor on the time of the first call, and of any after a pause of IDLE_S."""

DROPPED = -1
"""Rung that stands for a request that was shed."""


@dataclass(frozen=True)
class Ladder:
    """Ladder of subnets, the most accurate first, with their accuracies and latency table."""

    names: tuple[str, ...]
    accuracies: tuple[float, ...]
    """Accuracies that policies choose by."""
    table: LatencyTable
    reported: tuple[float, ...]
    """Accuracies that outcomes are measured by."""
    dan: str | None = None
    """Name of the rung that is a DAN, if there is one."""

    @classmethod
    def of(
        cls,
        accuracies: Mapping[str, float],
        table: LatencyTable,
        *,
        rows: int = 0,
        reported: Mapping[str, float] | None = None,
        dan: str | None = None,
    ) -> Ladder:
        """Return the ladder that the controller uses, over a pool of these accuracies on `rows` rows.

        `reported`: accuracies of the pool on other rows, for the outcomes; default the same. `dan`: name of the pool's
        DAN, if there is one.
        """
        chosen_by = smoothed(accuracies, expected(table), rows)
        names, shown = ladder_of(chosen_by, table), accuracies if reported is None else reported
        return cls(names, tuple(chosen_by[name] for name in names), table, tuple(shown[name] for name in names), dan)

    def costs(self, length: int) -> tuple[float, ...]:
        """Return the median ms of each rung for one text of `length` tokens."""
        return tuple(predict(self.table, name, length) for name in self.names)

    @functools.cached_property
    def costs_of(self) -> Callable[[Work], tuple[float, ...]]:
        """Function from a work of one text to the median ms of each rung."""
        return functools.lru_cache(None)(lambda work: self.costs(work[0][0]))


@dataclass(frozen=True)
class Turn:
    """Input of a policy: the request whose turn it is, and the waiting ones, earliest deadline first."""

    index: int
    work: Work
    costs: tuple[float, ...]
    """Median ms of each rung for this request."""
    slack_ms: float
    """Time left until the deadline."""
    deadline_ms: float
    """Deadline from the arrival on."""
    now: float
    cap: int
    """First rung that may be used."""
    waiting: Sequence[int]
    """Indices of the waiting requests."""
    backlog: Sequence[tuple[Work, float]]
    """Work and slack in ms of each waiting request."""
    queue: Sequence[tuple[float, int]] = ()
    """(moment of the deadline in s, index) of all that wait, the most urgent first and beyond that in no order, for
    oracles."""


class Policy(Protocol):
    """Policy that chooses a rung, and learns from the outcome."""

    def sense(self, snapshot: Snapshot, now: float) -> None:
        """Take in the signals."""

    def decide(self, turn: Turn) -> tuple[int, float]:
        """Return the rung, and the ms that it is predicted to stay under; NaN without a prediction."""

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        """Learn from the time of the run, and from whether the deadline was met."""

    def shed(self, work: Work, arrival_s: float, deadline_ms: float) -> None:
        """Take in a request that was shed."""


@dataclass
class Outcome:
    """Outcome of each request, in the order of the trace."""

    trace: Trace
    ladder: Ladder
    rungs: list[int]
    """Rung of each request; DROPPED if it was shed."""
    met: list[bool]
    run_ms: list[float]
    predicted_ms: list[float]
    order: list[int]
    """Indices of the requests that ran, in the order of their runs."""

    @property
    def goodput_accuracy(self) -> float:
        """Mean reported accuracy over all requests; a missed deadline counts 0."""
        accuracies = self.ladder.reported
        right = sum(accuracies[rung] for rung, met in zip(self.rungs, self.met, strict=True) if met)
        return right / len(self.rungs)

    def met_where(self, possible: Outcome) -> float:
        """Return the share of deadlines met out of those that another outcome met."""
        both = sum(mine and its for mine, its in zip(self.met, possible.met, strict=True))
        return both / max(1, sum(possible.met))

    @property
    def coverage(self) -> float:
        """Share of the runs that took no longer than predicted; NaN without predictions."""
        known = [i for i in self.order if self.predicted_ms[i] == self.predicted_ms[i]]
        return sum(self.run_ms[i] <= self.predicted_ms[i] for i in known) / len(known) if known else float("nan")

    @property
    def switches_per_minute(self) -> float:
        """Changes of the rung between successive runs, per minute."""
        ran = [self.rungs[i] for i in self.order]
        changes = sum(a != b for a, b in itertools.pairwise(ran))
        return 60 * changes / self.trace.duration_s


class Machine:
    """Simulated machine that determines the times of runs; only it and the oracles know the true slow-down."""

    def __init__(self, trace: Trace, ladder: Ladder) -> None:
        self.trace, self.ladder = trace, ladder
        self._costs = {length: ladder.costs(length) for length in set(trace.lengths)}
        self._free_at = -IDLE_S

    def costs(self, index: int) -> tuple[float, ...]:
        """Return the median ms of each rung for a request of the trace."""
        return self._costs[self.trace.lengths[index]]

    def factor(self, now: float) -> float:
        """Return true time / median at `now`, without the noise of the request."""
        return self.trace.level(now) * self._first_call(now)

    def took_ms(self, index: int, rung: int, now: float, *, first: bool = True) -> float:
        """Return the milliseconds that a request takes if it runs at `now`; `first`: as the next run of all."""
        cost = self.costs(index)[rung] * self.trace.noises[index]
        return self.trace.took_ms(now, cost * self._first_call(now) if first else cost)

    def _first_call(self, now: float) -> float:
        return FIRST_CALL if now - self._free_at >= IDLE_S else 1.0

    def run(self, index: int, rung: int, now: float) -> float:
        """Run a request at `now`; return the milliseconds that it takes."""
        took = self.took_ms(index, rung, now)
        self._free_at = now + took / 1e3
        return took


def simulate(policy: Policy, machine: Machine) -> Outcome:
    """Run the machine's trace through a policy; the machine must be a new one."""
    trace = machine.trace
    count = len(trace.arrivals)
    arrivals, lengths, deadlines = trace.arrivals, trace.lengths, trace.deadlines_ms
    works = {length: one(length) for length in set(lengths)}
    due = [arrival + deadline / 1e3 for arrival, deadline in zip(arrivals, deadlines, strict=True)]
    outcome = Outcome(
        trace, machine.ladder, [DROPPED] * count, [False] * count, [0.0] * count, [float("nan")] * count, []
    )
    waiting: list[tuple[float, int]] = []
    senses, sensed, arrived, now = trace.senses, 0, 0, 0.0
    while arrived < count or waiting:
        if not waiting:
            now = max(now, arrivals[arrived])
        while arrived < count and arrivals[arrived] <= now:
            heapq.heappush(waiting, (due[arrived], arrived))
            arrived += 1
        end, index = heapq.heappop(waiting)
        if end <= now:
            policy.shed(works[lengths[index]], arrivals[index], deadlines[index])
            continue
        while sensed < len(senses) and senses[sensed][0] <= now:
            policy.sense(senses[sensed][1], senses[sensed][0])
            sensed += 1
        behind = heapq.nsmallest(MOST_URGENT, waiting) if waiting else ()
        turn = Turn(
            index,
            works[lengths[index]],
            machine.costs(index),
            (end - now) * 1e3,
            deadlines[index],
            now,
            min(trace.cap(now), len(machine.ladder.names) - 1),
            [other for _, other in behind],
            [(works[lengths[other]], (its_end - now) * 1e3) for its_end, other in behind],
            waiting,
        )
        rung, outcome.predicted_ms[index] = policy.decide(turn)
        took = machine.run(index, rung, now)
        now += took / 1e3
        met = now <= end
        outcome.rungs[index], outcome.met[index], outcome.run_ms[index] = rung, met, took
        outcome.order.append(index)
        policy.record(turn, rung, took, met, now)
    return outcome
