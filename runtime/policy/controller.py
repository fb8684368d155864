"""The controller: decides the subnet of each request and learns from its outcome; no threads, clocks or files."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.errors import UnknownSubnetError
from gearshift.runtime.batches import Work, one, work_of
from gearshift.runtime.policy import together
from gearshift.runtime.policy.choose import CONFIDENT, FITS, LIKELY, PINNED, PROBE, REJECTED, Asked, Decision, choose
from gearshift.runtime.policy.ladder import expected, ladder_of, rungs_above, smoothed
from gearshift.runtime.policy.latency_model import LatencyModel, Prediction
from gearshift.runtime.policy.objective import DEFAULT_OBJECTIVE, DEFAULT_TUNING, Objective, Tuning
from gearshift.runtime.policy.passes import LEAST, Allowed, first_pass, second_pass
from gearshift.runtime.policy.restraint import Arrivals, Backoff, Probing
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.sensors.snapshot import Snapshot

GAP_MEMORY = 0.1
"""Weight of the newest pause between two requests in the running mean that the CPU budget is computed from."""

FAR = 4.0
"""Multiple of the usual time of the fastest subnet beyond which no deadline is looked at for being hopeless."""

Behind = tuple[Sequence[float], float]
"""Time in ms on each rung, and slack in ms, of a request that waits behind another."""


class Controller:
    """Controller of one engine: combines the latency model and the restraints, and applies the rule `choose`.

        decision = controller.decide(work=one(16), slack_ms=9.3, now=now)
        ...                                       # run decision.name
        controller.record(decision, run_ms=7.1, met=True, now=now)

    The engine and the simulator use the same class.

    `accuracies`: accuracy of every subnet of the pool, by name, each on the same `rows` rows; 0 if their number is not
    known, and the accuracies are to be taken as they are.
    `stated`: accuracies that a floor is compared with; by default `accuracies`, as they are before smoothing.
    `cpus`: number of concurrent calls that would use the whole machine (CPUs / threads of a call).
    `dan`: name of the DAN, if there is one. Its time, some microseconds of the interpreter, tells nothing about the
    slow-down of the subnets.

    The caller passes in the time, in seconds from any fixed moment. Not safe for several threads by itself. Raises
    InputError for an accuracy floor that no subnet reaches.
    """

    def __init__(
        self,
        accuracies: Mapping[str, float],
        table: LatencyTable,
        objective: Objective = DEFAULT_OBJECTIVE,
        *,
        rows: int = 0,
        stated: Mapping[str, float] | None = None,
        tuning: Tuning = DEFAULT_TUNING,
        cpus: float = 1.0,
        dan: str | None = None,
    ) -> None:
        self.accuracies = smoothed(accuracies, expected(table), rows)
        """Accuracy of every subnet of the pool, by which it is chosen."""
        self.stated = dict(accuracies if stated is None else stated)
        """Accuracy of every subnet of the pool that the bundle states."""
        self.ladder = ladder_of(self.accuracies, table)
        """Names of the subnets that are worth switching between, the most accurate first."""
        self.tuning, self.dan = tuning, dan
        self.latency = LatencyModel(table, self.ladder, objective, tuning)
        self.backoff = Backoff()
        self._objective = objective
        self._cpus = cpus
        self._values = [self.accuracies[name] for name in self.ladder]
        self._keep_floor(objective)
        self._dan_rung = self.ladder.index(dan) if dan in self.ladder else None
        self._probing = Probing()
        self._arrivals = Arrivals()
        self._made_late = functools.partial(self._arrivals.made_late, False)
        self._gap_s: float | None = None
        self._decided_at: float | None = None

    @property
    def objective(self) -> Objective:
        """Service objective of the decisions."""
        return self._objective

    def steer(self, objective: Objective) -> None:
        """Decide by another objective from now on and keep what was learnt. On InputError nothing changes."""
        self._keep_floor(objective)
        self.latency.aim(objective)
        self._objective = objective

    def _keep_floor(self, objective: Objective) -> None:
        enough = rungs_above(self.stated, self.ladder, objective.min_accuracy)
        self._last_rung, self._below = enough[-1], frozenset(range(enough[-1])) - frozenset(enough)

    @property
    def joins(self) -> bool:
        """Whether texts that wait may run in one call: the times of such calls are known, and no DAN is on the ladder.

        A DAN answers each of them in less time than it takes to find out how many to join.
        """
        return self.latency.knows_batches and self._dan_rung is None

    @property
    def slow_down(self) -> float:
        """Slow-down: observed / expected latency of single texts; 1 is the machine as it was when it was timed."""
        return self.latency.slow_down

    def sense(self, snapshot: Snapshot, now: float) -> None:
        """Take in the signals of the machine as they were at `now`."""
        self.latency.sense(snapshot, now)

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
        ranked: int = 0,
        others: Sequence[Behind] = (),
    ) -> Decision:
        """Decide the subnet for a request that has `slack_ms` left for all of its texts (None: no deadline).

        `backlog`: (work, slack in ms) of the most urgent requests that wait behind this one, earliest deadline first.
        If possible, the subnet is one with which these can be answered in time as well.
        `deadline_ms`: slack of the request at its arrival; by default it has not waited.
        `ranked`: number of texts that are ranked: the subnet may be a faster one than fits, so that `decide_again` has
        time to read the best texts more closely.
        `others`: (ms now on each rung of its ladder, slack in ms) of requests that wait for the same CPUs elsewhere.
        """
        times = self.latency.predict(work, now)
        self._note_pause(now)
        first = min(caps.largest, self._last_rung)
        if pinned is not None:
            return self._named(pinned, work, times.factor, PINNED, first)
        asked = self._asked(slack_ms, now, first, backlog)
        if others and slack_ms is not None:
            asked = asked._replace(behind=self._with(others, asked.behind, times.usual))
        rung, reason, level = choose(self._values, times, asked, self._objective)
        if ranked and reason in (FITS, LIKELY) and slack_ms is not None and not asked.behind:
            allowed = self._allowed(level, slack_ms, self._made_late)
            # A list in two passes is planned by bounds: what is merely likely in time would leave none for the second.
            surest = next((one for one in allowed.rungs if one >= rung and times.bound_ms(one) <= slack_ms), None)
            if surest is not None:
                rung, reason = first_pass(self._values, times, allowed, surest, ranked), FITS
        if slack_ms is not None:
            self._note_turn(times, reason, slack_ms, now, deadline_ms, queued=bool(backlog))
        return Decision(self.ladder[rung], times.medians[rung], times.bound_ms(rung), reason, level)

    def _with(
        self,
        others: Sequence[tuple[Sequence[float], float]],
        behind: Sequence[tuple[Sequence[float], float]],
        usual: float,
    ) -> list[tuple[Sequence[float], float]]:
        """Return the requests behind one with those that wait elsewhere, the earliest deadline first.

        As all that wait here are taken to run on the rung of this one, those elsewhere are taken to run as far down
        their own ladders: the load makes all of them smaller alike.
        """
        found, steps = list[Behind](behind), max(1, len(self.ladder) - 1)
        for ms, slack_ms in others:
            last = len(ms) - 1
            found.append(([ms[round(rung * last / steps)] / usual for rung in range(len(self.ladder))], slack_ms))
        return sorted(found, key=lambda one: one[1])

    def times_now(self, work: Work) -> list[float]:
        """Return the time in ms that a work takes on each rung now; safe beside other calls."""
        slow_down = self.latency.slow_down
        return [median * slow_down for median in self.latency.medians(work)]

    def hear(self, arrival_s: float, deadline_ms: float, fastest_ms: float) -> None:
        """Take in the turn of a request elsewhere, which runs on the same CPUs: a long run here makes such ones late.

        `fastest_ms`: its time on the fastest subnet of its own ladder.
        """
        self._arrivals.came(arrival_s, deadline_ms, fastest_ms)

    def hopeless(self, work: Work, slack_ms: float, now: float) -> bool:
        """Return whether a request will be late even on the fastest subnet, and a late answer is worth nothing."""
        if self._objective.late_value:
            return False
        last = self._last_rung
        median = self.latency.medians(work)[last]
        if slack_ms > FAR * median * self.latency.slow_down:  # mostly, and without the time of a prediction
            return False
        times = self.latency.predict(work, now)
        low, _, _ = times.outlook.ramp()
        return slack_ms <= median * times.biases[last] * times.first_call * low

    def decide_together(
        self,
        lengths: Sequence[int],
        deadlines_ms: Sequence[float],
        slacks_ms: Sequence[float],
        *,
        now: float,
        more: int = 0,
        caps: Caps = NO_CAPS,
        others: Sequence[Behind] = (),
    ) -> tuple[Decision, int] | None:
        """Decide whether several texts that wait run in one call, and how many; None if the first runs alone.

        All have deadlines, and the earliest is the first. `lengths`: their tokens. `deadlines_ms`: their slacks at
        their arrival. `slacks_ms`: what is left of them. `more`: number of texts that wait behind these. `others` as in
        `decide`.
        """
        times, first = self.latency.predict(one(lengths[0]), now), min(caps.largest, self._last_rung)
        late = self._arrivals.late(True)
        allowed = together.Allowed(self._rungs_from(first), self.backoff.limit_ms(now), late)
        queued = together.Queued(lengths, slacks_ms, more, self._with(others, (), times.usual))
        found = together.choose_together(self._values, times, self.latency.medians, queued, allowed, self._objective)
        if found is None:
            return None
        rung, count = found
        expected_ms = self.latency.medians(((max(lengths[:count]), count),))[rung]
        predicted_ms = expected_ms * times.biases[rung] * times.factor
        reason = FITS if predicted_ms <= slacks_ms[0] else LIKELY
        self._note_pause(now)
        for deadline_ms, slack_ms in zip(deadlines_ms[:count], slacks_ms, strict=False):
            waited_s = (deadline_ms - slack_ms) / 1e3
            self._arrivals.came(now - waited_s, deadline_ms, times.medians[self._last_rung] * times.usual)
        self._arrivals.begins(now, queued=count < len(lengths) + more)
        return Decision(self.ladder[rung], expected_ms, predicted_ms, reason, first), count

    def decide_again(
        self,
        first: Decision,
        *,
        lengths: Sequence[int],
        beside: Sequence[int],
        batch: bool,
        slack_ms: float,
        run_ms: float,
        now: float,
    ) -> tuple[Decision, int] | None:
        """Decide the subnet of a second pass, and the number of texts that it reads, in the order given; None for none.

        `first`: decision of the first pass, which read all texts in `run_ms`. `lengths`: tokens of the texts, the best
        first. `beside`: tokens of rows that every pass reads beside them. `batch`: whether texts run together.
        """
        if first.reason != FITS or first.name not in self.ladder:
            return None
        times = self.latency.predict(work_of([*beside, *lengths], batch=batch), now)
        scale = [bias * times.factor for bias in times.biases]
        medians = [self.latency.medians(one(length)) for length in (*beside, *lengths)]
        bounds = [
            list(itertools.accumulate(row[rung] * scale[rung] for row in medians))[len(beside) :]
            for rung in range(len(self.ladder))
        ]
        late = self._made_late
        allowed = self._allowed(first.level, slack_ms, lambda ms: late(run_ms + ms) - late(run_ms))
        found = second_pass(self._values, bounds, allowed, self.ladder.index(first.name), len(lengths))
        while found is not None:  # a call pads its texts to the longest of them
            rung, count = found
            expected_ms = self.latency.medians(work_of([*beside, *lengths[:count]], batch=batch))[rung]
            if expected_ms * scale[rung] <= slack_ms:
                return Decision(self.ladder[rung], expected_ms, expected_ms * scale[rung], FITS, first.level), count
            count = min(count - 1, int(count * slack_ms / (expected_ms * scale[rung])))
            found = (rung, count) if count >= LEAST else None
        return None

    def _allowed(self, level: int, slack_ms: float, made_late: Callable[[float], float]) -> Allowed:
        """Return the rungs that a pass over a list may use, from `level` on."""
        return Allowed(self._rungs_from(level), slack_ms, made_late, self._values[self._last_rung])

    def _rungs_from(self, level: int) -> list[int]:
        """Return the rungs from `level` on that the accuracy floor allows."""
        return [rung for rung in range(level, self._last_rung + 1) if rung not in self._below]

    def _asked(self, slack_ms: float | None, now: float, first: int, backlog: Sequence[tuple[Work, float]]) -> Asked:
        """Return the request as `choose` sees it, with the restraints of this moment."""
        if slack_ms is None:
            return Asked(None, first, self._last_rung, budget_ms=self._budget_ms(), below=self._below)
        medians = self.latency.medians
        return Asked(
            slack_ms,
            first,
            self._last_rung,
            self.backoff.limit_ms(now),
            [(medians(work), slack) for work, slack in backlog] if backlog else (),
            self._arrivals.late(bool(backlog)),
            math.inf,
            self._dan_rung if self._dan_rung is not None and self._probing.due(now) else None,
            self._below,
        )

    def _budget_ms(self) -> float:
        """Return the median in ms that keeps requests as frequent as the last ones within the share of the CPUs."""
        share = self._objective.max_cpu_share
        return math.inf if share is None or self._gap_s is None else share * self._cpus * self._gap_s * 1e3

    def _note_pause(self, now: float) -> None:
        if self._decided_at is not None:
            gap = max(0.0, now - self._decided_at)
            self._gap_s = gap if self._gap_s is None else self._gap_s + GAP_MEMORY * (gap - self._gap_s)
        self._decided_at = now

    def _note_turn(
        self, times: Prediction, reason: str, slack_ms: float, now: float, deadline_ms: float | None, *, queued: bool
    ) -> None:
        """Record the turn of a request with a deadline, for the decisions that follow."""
        if reason == PROBE:
            self._probing.begins(now)
        waited_ms = 0.0 if deadline_ms is None else deadline_ms - slack_ms
        self._arrivals.came(now - waited_ms / 1e3, slack_ms + waited_ms, times.medians[self._last_rung] * times.usual)
        if reason != REJECTED:
            self._arrivals.begins(now, queued=queued)

    def confident(self, name: str, work: Work, now: float, caps: Caps = NO_CAPS) -> Decision:
        """Return the decision for a request that the DAN of a cascade already answered with enough confidence."""
        factor = self.latency.tail_factor(work, now)
        return self._named(name, work, factor, CONFIDENT, min(caps.largest, self._last_rung))

    def _named(self, name: str, work: Work, factor: float, reason: str, first: int) -> Decision:
        if name not in self.accuracies:
            raise UnknownSubnetError(f"unknown subnet {name!r}; expected one of {', '.join(self.accuracies)}")
        return Decision(name, *self.latency.times_of(name, work, factor), reason, first)

    def shed(self, *, work: Work, arrival_s: float, deadline_ms: float) -> None:
        """Take in a request that was shed: its deadline passed before its turn, and it took no time."""
        self._arrivals.came(arrival_s, deadline_ms, 0.0)
        self._arrivals.settle()

    def record(self, decision: Decision, *, run_ms: float, met: bool | None, now: float, single: bool = True) -> None:
        """Learn from the time of the graph and from whether the deadline was met (None: the request had none)."""
        self._arrivals.settle()
        ratio = run_ms / decision.expected_ms
        if not (math.isfinite(ratio) and ratio > 0) or decision.name == self.dan:
            return
        if decision.reason == PROBE:
            self._probing.ended(met=met is True)
        if decision.reason == FITS and met is not None:
            self.backoff.record(decision.expected_ms, met=met, now=now)
        self.latency.learn(
            decision.name,
            run_ms=run_ms,
            expected_ms=decision.expected_ms,
            predicted_ms=decision.predicted_ms,
            now=now,
            single=single,
        )
