"""Picks the subnet of each request and learns from how it went; without threads, clocks and files."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

from gearshift.device_profiles.latency_table import predict
from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import UnknownSubnetError
from gearshift.runtime.batches import Work, is_single
from gearshift.runtime.policy.arrivals import Arrivals
from gearshift.runtime.policy.backoff import LONGEST_S, MARGIN, Backoff, Probing
from gearshift.runtime.policy.choose import CONFIDENT, PROBE, REJECTED, Decision, clears, ladder_of, last_rung
from gearshift.runtime.policy.feed_forward import FeedForward
from gearshift.runtime.policy.latency_model import Biases, Hysteresis
from gearshift.runtime.policy.slow_down import IDLE_S, SlowDown
from gearshift.runtime.policy.steering import DEFAULT_STEERING, Steering
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.sensors.snapshot import Snapshot

KEPT_SHAPES = 1024
"""Works whose medians are kept: a decision then takes a quarter of the time."""


GAP_MEMORY = 0.1
"""Weight of the newest pause between two requests in the mean that a share of the CPU is worked out from."""


class Controller:
    """Decides, from what the table says and from what was seen so far.

        decision = controller.decide(work=one(16), slack_ms=9.3, now=now)
        ...                                       # run decision.name
        controller.record(decision, run_ms=7.1, met=True, now=now)

    The engine and the simulator drive the same one. `accuracies`: those of the pool, by name. `cpus`: how many
    calls at once would take all of the machine (CPUs / threads of a call). `dan`: the gear that is no subnet of the
    graph; what it takes, some microseconds of the interpreter, says nothing about the slow-down of the others. Time is
    passed in, in seconds from any fixed moment. Not safe for several threads by itself. Raises InputError for a target
    that is no share.

    More slack never gives a less accurate subnet, and where a subnet fits one that fits is taken.
    """

    def __init__(
        self,
        accuracies: Mapping[str, float],
        table: LatencyTable,
        steering: Steering = DEFAULT_STEERING,
        *,
        cpus: float = 1.0,
        dan: str | None = None,
    ) -> None:
        self._accuracies = dict(accuracies)
        self._table = table
        self._steering = steering
        self._cpus = cpus
        self._ladder = ladder_of(self._accuracies, table)
        self._values = [self._accuracies[name] for name in self._ladder]
        self._rungs = {name: rung for rung, name in enumerate(self._ladder)}
        self._dan = dan
        self._last_rung = last_rung(self._accuracies, self._ladder, steering.min_accuracy)
        self._costs = functools.lru_cache(KEPT_SHAPES)(self._priced)
        # Lists have a slow-down of their own: several texts at once take less than n times one.
        self._slow_downs = {
            single: SlowDown(target=steering.target, adaptation=steering.adaptation) for single in (True, False)
        }
        self._hysteresis = {
            single: Hysteresis(margin=steering.margin, tolerance=steering.tolerance) for single in (True, False)
        }
        self._ahead = FeedForward()
        self._biases = Biases(len(self._ladder))
        self._backoff = Backoff()
        self._probing = Probing()
        self._arrivals = Arrivals()
        self._gap_s: float | None = None
        self._decided_at: float | None = None
        self._level = 0

    @property
    def steering(self) -> Steering:
        """What it steers by."""
        return self._steering

    def steer(self, steering: Steering) -> None:
        """Steer by something else from now on; what was learnt stays. Raises InputError, and nothing changes."""
        self._last_rung = last_rung(self._accuracies, self._ladder, steering.min_accuracy)
        for single, slow_down in self._slow_downs.items():
            slow_down.aim(steering.target, adaptation=steering.adaptation)
            self._hysteresis[single].set(margin=steering.margin, tolerance=steering.tolerance)
        self._steering = steering

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

    def sense(self, snapshot: Snapshot, now: float) -> None:
        """Take in the signals of the machine, as often as they are read."""
        self._ahead.sense(snapshot, now, self._slow_downs[True].updated_at)

    def decide(
        self,
        *,
        work: Work,
        slack_ms: float | None,
        now: float,
        caps: Caps = NO_CAPS,
        pinned: str | None = None,
        backlog: Sequence[tuple[Work, float]] = (),
        deadline_ms: float | None = None,
    ) -> Decision:
        """The subnet for texts that have `slack_ms` left together (None: no deadline).

        `backlog`: (work, slack in ms) of the most urgent requests that wait behind this one, earliest
        deadline first; the subnet is one with which these can be answered in time as well, where one is.
        `deadline_ms`: the slack it had when it came; by default it has not waited.
        """
        single = is_single(work)
        slow_down = self._slow_downs[single]
        first_call = self._biases.idle_factor(_gap(slow_down, now))
        raw = slow_down.tail_factor(now, self._ahead.ahead) * first_call
        factor = max(self._hysteresis[single].smooth(raw, now), slow_down.suspected * first_call)
        costs, factors = self._costs(work), self._biases.factors
        self._note_pause(now)
        if pinned is not None:
            return self._pinned(pinned, work, factor)
        self._level = first = min(caps.rung(len(costs)), self._last_rung)
        if slack_ms is None:
            rung, reason = self._without_deadline(costs, first)
        else:
            rung, reason = self._within(slack_ms, costs, first, factor, now, backlog, slow_down.value)
            if reason != "fits":
                rung = min(range(first, self._last_rung + 1), key=lambda one: costs[one] * factors[one])
                if costs[rung] * factors[rung] * factor <= slack_ms:
                    reason = "fits"
                elif self._steering.reject and _gap(slow_down, now) < IDLE_S:  # else it is tried, to learn from it
                    reason = REJECTED
            if not backlog and self._may_probe(rung, first, slack_ms, costs, slow_down, now):
                self._probing.begins(now)
                rung, reason = rung - 1, PROBE
            waited_ms = 0.0 if deadline_ms is None else deadline_ms - slack_ms
            self._arrivals.came(now - waited_ms / 1e3, slack_ms + waited_ms, costs[self._last_rung] * slow_down.value)
            if reason != REJECTED:
                self._arrivals.begins(now, queued=bool(backlog))
        cost = costs[rung]
        return Decision(self._ladder[rung], cost, cost * factors[rung] * factor, reason)

    def _may_probe(
        self, rung: int, first: int, slack_ms: float, costs: Sequence[float], slow_down: SlowDown, now: float
    ) -> bool:
        """Whether to try the rung above the DAN in its place.

        What was believed before a long silence keeps nothing from being tried: it could never be found wrong.
        """
        usual = slow_down.value if _gap(slow_down, now) < LONGEST_S else min(slow_down.value, 1.0)
        return (
            self._ladder[rung] == self._dan
            and rung > first
            and costs[rung - 1] * usual * MARGIN <= slack_ms
            and self._probing.due(now)
        )

    def _within(
        self,
        slack_ms: float,
        costs: Sequence[float],
        first: int,
        factor: float,
        now: float,
        backlog: Sequence[tuple[Work, float]],
        usual: float,
    ) -> tuple[int, str]:
        """The best rung that keeps this deadline, and those behind it, with its reason.

        The best is the most accurate, less what it is expected to cost those that come while it runs.
        """
        best, chosen = -math.inf, None
        limit_ms = self._backoff.limit_ms(now)
        factors, last = self._biases.factors, self._last_rung
        self._level = next((rung for rung in range(first, last) if costs[rung] < limit_ms), last)
        behind = [(self._costs(its_work), slack) for its_work, slack in backlog]
        least = self._arrivals.made_late(costs[last] * usual, queued=bool(backlog))
        for rung in range(first, last + 1):
            cost = costs[rung]
            if cost * factors[rung] * factor > slack_ms or (cost >= limit_ms and rung != last):
                continue
            if behind and not clears(behind, rung, last, costs, factor, usual):
                continue
            made_late = self._arrivals.made_late(cost * usual, queued=bool(backlog)) - least
            value = self._values[rung] - made_late * self._values[last]
            if value > best:
                best, chosen = value, rung
            if made_late <= 0:  # the next ones are faster and less accurate
                break
        if chosen is not None:
            return chosen, "fits"
        return last, "best_effort"

    def _without_deadline(self, costs: Sequence[float], first: int) -> tuple[int, str]:
        steering = self._steering
        if steering.max_cpu_share is not None:
            budget_ms = math.inf if self._gap_s is None else steering.max_cpu_share * self._cpus * self._gap_s * 1e3
            fitting = (rung for rung in range(first, self._last_rung + 1) if costs[rung] <= budget_ms)
            return next(fitting, self._last_rung), "cpu_share"
        if steering.min_accuracy is not None:
            return self._last_rung, "accuracy_floor"
        return first, "no_deadline"

    def _note_pause(self, now: float) -> None:
        if self._decided_at is not None:
            gap = max(0.0, now - self._decided_at)
            self._gap_s = gap if self._gap_s is None else self._gap_s + GAP_MEMORY * (gap - self._gap_s)
        self._decided_at = now

    def confident(self, name: str, work: Work, now: float) -> Decision:
        """That a DAN was sure and has answered already, with the time that it was to take."""
        slow_down = self._slow_downs[is_single(work)]
        found = self._pinned(name, work, slow_down.tail_factor(now, self._ahead.ahead))
        return dataclasses.replace(found, reason=CONFIDENT)

    def _pinned(self, name: str, work: Work, factor: float) -> Decision:
        if name not in self._accuracies:
            raise UnknownSubnetError(f"unknown subnet {name!r}; expected one of {', '.join(self._accuracies)}")
        cost = self._price(name, work)
        rung = self._rungs.get(name)
        return Decision(name, cost, cost * factor * (1.0 if rung is None else self._biases.factors[rung]), "pinned")

    def shed(self, *, work: Work, arrival_s: float, deadline_ms: float) -> None:
        """Take in a request whose deadline went by before its turn."""
        fastest_ms = self._costs(work)[self._last_rung] * self._slow_downs[is_single(work)].value
        self._arrivals.came(arrival_s, deadline_ms, fastest_ms)

    def record(self, decision: Decision, *, run_ms: float, met: bool | None, now: float, single: bool = True) -> None:
        """Take in how long the graph took, and whether the deadline was met (None: there was none)."""
        ratio = run_ms / decision.expected_ms
        if not (math.isfinite(ratio) and ratio > 0):
            return
        if decision.name == self._dan:
            return
        if decision.reason == PROBE:
            self._probing.ended(met=met is True)
        if decision.reason == "fits" and met is not None:
            self._backoff.record(decision.expected_ms, met=met, now=now)
        slow_down = self._slow_downs[single]
        rung = self._rungs.get(decision.name)
        gap = _gap(slow_down, now - run_ms / 1e3)
        known = self._biases.idle_factor(gap) * (1.0 if rung is None else self._biases.factors[rung])
        ahead = self._ahead.ahead
        innovation = math.log(ratio / known / slow_down.value) - ahead
        slow_down.update(ratio / known, now, ahead=ahead, late=run_ms > decision.predicted_ms)
        self._ahead.learn(innovation)
        if rung is not None:
            self._biases.learn(rung, innovation, gap)

    def _priced(self, work: Work) -> tuple[float, ...]:
        """Median ms of each rung for such texts."""
        return tuple(self._price(name, work) for name in self._ladder)

    def _price(self, name: str, work: Work) -> float:
        return sum(predict(self._table, name, length, count) for length, count in work)


def _gap(slow_down: SlowDown, now: float) -> float:
    """Seconds since the last request; endless before the first."""
    return math.inf if slow_down.updated_at is None else now - slow_down.updated_at
