"""Picks the subnet of each request and learns from how it went; without threads, clocks and files."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.backoff import Backoff
from gearshift.runtime.biases import Biases
from gearshift.runtime.caps import NO_CAPS, Caps
from gearshift.runtime.errors import InputError, UnknownSubnetError
from gearshift.runtime.feed_forward import FeedForward
from gearshift.runtime.latency import ADAPTATION, SlowDown, predict
from gearshift.runtime.policy import Candidate, Decision, pareto
from gearshift.runtime.sensors import Snapshot

KEPT_SHAPES = 1024
"""Shapes of texts (length and batch) whose medians are kept: a decision then takes a quarter of the time."""

RECENT = 8
"""So many requests stand for those that may come while one runs."""

RATE_MEMORY = 0.99
WAITED_MS = 0.05
"""What a request takes of the counts behind the rate at which others come during runs, and the least wait."""

GAP_MEMORY = 0.1
"""Weight of the newest pause between two requests in the mean that a share of the CPU is worked out from."""


@dataclass(frozen=True)
class Steering:
    """What the controller steers by; the defaults were tuned (`benchmarks.policies`)."""

    target: float = 0.99
    """Share of the requests that take no longer than predicted."""
    margin: float = 0.8
    dwell_s: float = 0.2
    """The factor that subnets are chosen with rises with the predicted one at once, and falls to it where that
    has stayed below margin x the factor for so long: what flickers around a threshold switches nothing."""
    adaptation: float = ADAPTATION
    """Step of the tail, in deviations, at a request that took longer than predicted."""
    min_accuracy: float | None = None
    """No subnet below is used. Without a deadline the fastest from there on is."""
    max_cpu_share: float | None = None
    """Without a deadline: share of the CPUs, 0 to 1, that requests may take on average."""
    reject: bool = False
    """Whether a request that nothing fits gets the reason `rejected` in place of `best_effort`."""

    def __post_init__(self) -> None:
        for name in ("min_accuracy", "max_cpu_share"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise InputError(f"{name}: expected a share above 0 and up to 1, got {share!r}")


class Controller:
    """Decides, from what the table says and from what was seen so far.

        decision = controller.decide(length=16, batch=1, slack_ms=9.3, now=now)
        ...                                       # run decision.name
        controller.record(decision, run_ms=7.1, met=True, now=now)

    The engine and the simulator drive the same one. `accuracies`: those of the pool, by name. `cpus`: how many
    calls at once would take all of the machine (CPUs / threads of a call). Time is passed in, in seconds from any
    fixed moment. Not safe for several threads by itself. Raises InputError for a target that is no share.

    More slack never gives a less accurate subnet, and where a subnet fits one that fits is taken.
    """

    def __init__(
        self,
        accuracies: Mapping[str, float],
        table: LatencyTable,
        steering: Steering = Steering(),
        *,
        cpus: float = 1.0,
    ) -> None:
        self._accuracies = dict(accuracies)
        self._table = table
        self._steering = steering
        self._cpus = cpus
        self._ladder = ladder_of(self._accuracies, table)
        self._values = [self._accuracies[name] for name in self._ladder]
        self._rungs = {name: rung for rung, name in enumerate(self._ladder)}
        self._last_rung = _floor(self._accuracies, self._ladder, steering.min_accuracy)
        self._costs = functools.lru_cache(KEPT_SHAPES)(self._priced)
        # Lists have a slow-down of their own: several texts at once take less than n times one.
        self._slow_downs = {
            single: SlowDown(target=steering.target, adaptation=steering.adaptation) for single in (True, False)
        }
        self._held = {True: _Held(steering), False: _Held(steering)}
        self._ahead = FeedForward()
        self._biases = Biases(len(self._ladder))
        self._backoff = Backoff()
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._waited = self._busy_ms = 0.0
        self._gap_s: float | None = None
        self._decided_at: float | None = None
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

    def sense(self, snapshot: Snapshot, now: float) -> None:
        """Take in the signals of the machine, as often as they are read."""
        self._ahead.sense(snapshot, now, self._slow_downs[True].updated_at)

    def decide(
        self,
        *,
        length: int,
        batch: int = 1,
        slack_ms: float | None,
        now: float,
        caps: Caps = NO_CAPS,
        pinned: str | None = None,
        backlog: Sequence[tuple[int, float]] = (),
        deadline_ms: float | None = None,
    ) -> Decision:
        """The subnet for `batch` texts padded to `length` tokens that have `slack_ms` left (None: no deadline).

        `backlog`: (length, slack in ms) of the most urgent requests that wait behind this one, earliest
        deadline first; the subnet is one with which these can be answered in time as well, where one is.
        `deadline_ms`: the slack it had when it came; by default it has not waited.
        """
        slow_down = self._slow_downs[batch == 1]
        first_call = self._biases.idle_factor(_gap(slow_down, now))
        factor = slow_down.tail_factor(now, self._ahead.ahead) * first_call
        costs, factors = self._costs(length, batch), self._biases.factors
        self._note_pause(now)
        if pinned is not None:
            return self._pinned(pinned, length, batch, factor)
        self._level = first = min(caps.rung(len(costs)), self._last_rung)
        if slack_ms is None:
            rung, reason = self._without_deadline(costs, first)
        else:
            held = self._held[batch == 1].at(factor, now)
            given = slack_ms if deadline_ms is None else deadline_ms
            self._recent.append((given, costs[self._last_rung]))
            self._waited = self._waited * RATE_MEMORY + (given - slack_ms > WAITED_MS)
            rung, reason = self._within(slack_ms, costs, first, held, now, backlog, batch, slow_down.value)
            if reason != "fits":
                rung = min(range(first, self._last_rung + 1), key=lambda one: costs[one] * factors[one])
                if costs[rung] * factors[rung] * factor <= slack_ms:
                    reason = "fits"
        cost = costs[rung]
        return Decision(self._ladder[rung], cost, cost * factors[rung] * factor, reason)

    def _within(
        self,
        slack_ms: float,
        costs: Sequence[float],
        first: int,
        factor: float,
        now: float,
        backlog: Sequence[tuple[int, float]],
        batch: int,
        usual: float,
    ) -> tuple[int, str]:
        """The best rung that keeps this deadline, and those behind it, with its reason.

        The best is the most accurate, less what it is expected to cost those that come while it runs.
        """
        best, chosen = -math.inf, None
        limit_ms = self._backoff.limit_ms(now)
        factors, last = self._biases.factors, self._last_rung
        self._level = next((rung for rung in range(first, last) if costs[rung] < limit_ms), last)
        behind = [(self._costs(length, batch), slack) for length, slack in backlog]
        for rung in range(first, last + 1):
            cost = costs[rung]
            if cost * factors[rung] * factor > slack_ms or (cost >= limit_ms and rung != last):
                continue
            if behind and not clears(behind, rung, last, costs, factor, usual):
                continue
            made_late = self._made_late(cost * usual, usual)
            value = self._values[rung] - made_late * self._values[last]
            if value > best:
                best, chosen = value, rung
            if made_late == 0:  # the next ones are faster and less accurate
                break
        if chosen is not None:
            return chosen, "fits"
        return last, "rejected" if self._steering.reject else "best_effort"

    def _made_late(self, run_ms: float, usual: float) -> float:
        """How many requests are expected to come during such a run so early in it that they will be late.

        One with deadline d that itself takes f is late if it comes in the first run_ms + f - d of the run; the
        last ones are taken as examples, and their rate is that at which requests came during runs so far: none
        where callers wait for one answer before they ask again.
        """
        if not self._busy_ms or self._waited < 0.5:
            return 0.0
        late_ms = 0.0
        for deadline, fastest in self._recent:
            over = run_ms + fastest * usual - deadline
            if 0 < over < run_ms:  # else it is in time, or late in any case
                late_ms += over
        return late_ms / len(self._recent) * self._waited / self._busy_ms

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

    def _pinned(self, name: str, length: int, batch: int, factor: float) -> Decision:
        if name not in self._accuracies:
            raise UnknownSubnetError(f"unknown subnet {name!r}; expected one of {', '.join(self._accuracies)}")
        cost = predict(self._table, name, length, batch)
        rung = self._rungs.get(name)
        return Decision(name, cost, cost * factor * (1.0 if rung is None else self._biases.factors[rung]), "pinned")

    def record(self, decision: Decision, *, run_ms: float, met: bool | None, now: float, batch: int = 1) -> None:
        """Take in how long the graph took, and whether the deadline was met (None: there was none)."""
        ratio = run_ms / decision.expected_ms
        if not (math.isfinite(ratio) and ratio > 0):
            return
        slow_down = self._slow_downs[batch == 1]
        rung = self._rungs.get(decision.name)
        gap = _gap(slow_down, now - run_ms / 1e3)
        known = self._biases.idle_factor(gap) * (1.0 if rung is None else self._biases.factors[rung])
        ahead = self._ahead.ahead
        innovation = math.log(ratio / known / slow_down.value) - ahead
        slow_down.update(ratio / known, now, ahead=ahead, late=run_ms > decision.predicted_ms)
        self._ahead.learn(innovation)
        self._busy_ms = self._busy_ms * RATE_MEMORY + run_ms
        if rung is not None:
            self._biases.learn(rung, innovation, gap)
        if decision.reason == "fits" and met is not None:
            self._backoff.record(decision.expected_ms, met=met, now=now)

    def _priced(self, length: int, batch: int) -> tuple[float, ...]:
        """Median ms of each rung for such texts."""
        return tuple(predict(self._table, name, length, batch) for name in self._ladder)


def _gap(slow_down: SlowDown, now: float) -> float:
    """Seconds since the last request; endless before the first."""
    return math.inf if slow_down.updated_at is None else now - slow_down.updated_at


class _Held:
    """The factor that subnets are chosen with: up with the predicted one at once, down after a dwell."""

    def __init__(self, steering: Steering) -> None:
        self._margin, self._dwell_s = steering.margin, steering.dwell_s
        self._factor = 0.0
        self._above_at = -math.inf

    def at(self, factor: float, now: float) -> float:
        if factor >= self._factor * self._margin:
            if self._factor:  # the caution of the first decision ends with the first request
                self._above_at = now
            self._factor = max(factor, self._factor)
        elif now - self._above_at >= self._dwell_s:
            self._factor = factor
            self._above_at = now
        return self._factor


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


def _floor(accuracies: Mapping[str, float], ladder: Sequence[str], least: float | None) -> int:
    """The fastest rung that is accurate enough."""
    if least is None:
        return len(ladder) - 1
    enough = [rung for rung, name in enumerate(ladder) if accuracies[name] >= least]
    if not enough:
        raise InputError(f"min_accuracy: expected at most {accuracies[ladder[0]]}, the best there is, got {least}")
    return enough[-1]
