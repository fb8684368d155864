"""Policies that the simulator compares: ours, published ones, and two oracles.

All but the oracles have the same inputs as ours: latency table, length, slack, waiting requests, and signals.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

from gearshift.errors import InputError
from gearshift.runtime.batches import Work
from gearshift.runtime.policy.choose import Decision, clears
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import Tuning
from gearshift.runtime.sensors.caps import Caps
from gearshift.runtime.sensors.snapshot import Snapshot
from gearshift.runtime.simulate.simulator import Ladder, Machine, Turn

NORMAL = NormalDist()


class Ours:
    """Policy of the engine: its controller."""

    def __init__(self, machine: Machine, **settings: Any) -> None:
        ladder = machine.ladder
        accuracies = dict(zip(ladder.names, ladder.accuracies, strict=True))
        self.controller = Controller(accuracies, ladder.table, tuning=Tuning(**settings))
        if self.controller.ladder != ladder.names:
            raise InputError(f"ladder: expected {self.controller.ladder}, got {ladder.names}")
        self._rungs = {name: rung for rung, name in enumerate(ladder.names)}
        self._caps = tuple(Caps(rung) for rung in range(len(ladder.names)))
        self._decision: Decision | None = None

    def sense(self, snapshot: Snapshot, now: float) -> None:
        self.controller.sense(snapshot, now)

    def decide(self, turn: Turn) -> tuple[int, float]:
        decision = self.controller.decide(
            work=turn.work,
            slack_ms=turn.slack_ms,
            now=turn.now,
            caps=self._caps[turn.cap],
            backlog=turn.backlog,
            deadline_ms=turn.deadline_ms,
        )
        self._decision = decision
        return self._rungs[decision.name], decision.predicted_ms

    def shed(self, work: Work, arrival_s: float, deadline_ms: float) -> None:
        self.controller.shed(work=work, arrival_s=arrival_s, deadline_ms=deadline_ms)

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        assert self._decision is not None
        self.controller.record(self._decision, run_ms=run_ms, met=met, now=now)


class Rival(ABC):
    """Base of the other policies: it ignores signals and outcomes."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ladder: Ladder = machine.ladder
        self.last = len(machine.ladder.names) - 1

    def sense(self, snapshot: Snapshot, now: float) -> None:
        """Ignore the signals."""

    def shed(self, work: Work, arrival_s: float, deadline_ms: float) -> None:
        """Ignore a request that was shed."""

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        """Ignore the outcome."""

    def decide(self, turn: Turn) -> tuple[int, float]:
        return self.pick(turn), math.nan

    @abstractmethod
    def pick(self, turn: Turn) -> int:
        """Return the rung for this turn."""

    def within(self, turn: Turn, factor: float) -> int:
        """Return the most accurate rung whose median x factor fits the slack, else the fastest."""
        return next(
            (rung for rung in range(turn.cap, self.last) if turn.costs[rung] * factor <= turn.slack_ms), self.last
        )


class Static(Rival):
    """One rung for every request: `share` of the ladder, from 0 the most accurate to 1 the fastest, or `rung`."""

    def __init__(self, machine: Machine, *, share: float | None = None, rung: int = 0) -> None:
        super().__init__(machine)
        self.rung = rung if share is None else round(share * self.last)

    def pick(self, turn: Turn) -> int:
        return max(self.rung, turn.cap)


class CpuStepper(Rival):
    """Dynamic-OFA (Lou et al. 2021): one rung down if the mean of `window` latencies is above the constraint or other
    processes use more than the share `high` of the CPU; one rung up if they use less than `low`."""

    def __init__(self, machine: Machine, *, window: int = 20, high: float = 0.7, low: float = 0.3) -> None:
        super().__init__(machine)
        self.window, self.high, self.low = window, high, low
        self.rung, self.cpu = 0, 0.0
        self.shares: list[float] = []

    def sense(self, snapshot: Snapshot, now: float) -> None:
        value = snapshot.others_cpu.value
        self.cpu = value if value is not None and math.isfinite(value) else 0.0

    def pick(self, turn: Turn) -> int:
        return max(self.rung, turn.cap)

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        self.shares.append(run_ms / turn.slack_ms)
        if len(self.shares) < self.window:
            return
        mean = sum(self.shares) / len(self.shares)
        self.shares.clear()
        if mean > 1 or self.cpu > self.high:
            self.rung = min(self.last, self.rung + 1)
        elif self.cpu < self.low:
            self.rung = max(0, self.rung - 1)


class Schmitt(Rival):
    """INFaaS (Romero et al. 2021): interference is flagged if observed / profiled time exceeds `on`, and cleared after
    `votes` in a row below `off`. While it is flagged, profiled times are multiplied by `on`."""

    def __init__(self, machine: Machine, *, on: float = 2.5, off: float = 1.5, votes: int = 10) -> None:
        super().__init__(machine)
        self.on, self.off, self.votes = on, off, votes
        self.flagged, self.calm = False, 0

    def pick(self, turn: Turn) -> int:
        return self.within(turn, self.on if self.flagged else 1.1)

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        ratio = run_ms / turn.costs[rung]
        self.calm = self.calm + 1 if ratio < self.off else 0
        if ratio > self.on:
            self.flagged = True
        elif self.calm >= self.votes:
            self.flagged = False


class SlackFit(Rival):
    """SuperServe (Khare et al. 2025) for batches of one: the slack of the most urgent request is rounded down to one of
    `buckets` equal steps, and the most accurate rung whose profiled time x `safety` fits is chosen."""

    def __init__(self, machine: Machine, *, safety: float = 1.1, buckets: int = 32) -> None:
        super().__init__(machine)
        self.safety, self.buckets = safety, buckets

    def pick(self, turn: Turn) -> int:
        step = turn.costs[0] * self.safety / self.buckets
        slack = math.floor(turn.slack_ms / step) * step
        fits = (rung for rung in range(turn.cap, self.last) if turn.costs[rung] * self.safety <= slack + 1e-9)
        return next(fits, self.last)


class Kalman(Rival):
    """ALERT (Wan et al. 2020): a Kalman filter of the slow-down, whose innovations set its process noise. The rung of
    the highest expected accuracy is chosen: accuracy x probability of being in time."""

    def __init__(self, machine: Machine, *, noise: float = 1e-3, memory: float = 0.3, first: float = 0.1) -> None:
        super().__init__(machine)
        self.noise, self.memory = noise, memory
        self.mean, self.variance, self.process = 1.0, first**2, first**2
        self.innovations: deque[float] = deque(maxlen=50)

    def pick(self, turn: Turn) -> int:
        deviation = math.sqrt(self.variance + self.process + self.noise)
        best, chosen = -1.0, self.last
        for rung in range(turn.cap, self.last + 1):
            chance = NORMAL.cdf((turn.slack_ms / turn.costs[rung] - self.mean) / deviation)
            value = self.ladder.accuracies[rung] * chance
            if value > best + 1e-12:
                best, chosen = value, rung
        return chosen if best > 1e-6 else self.last

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        innovation = run_ms / turn.costs[rung] - self.mean
        before = self.variance + self.process
        gain = before / (before + self.noise)
        self.mean += gain * innovation
        self.variance = (1 - gain) * before
        self.process = max(1e-6, (1 - self.memory) * self.process + self.memory * (gain * innovation) ** 2)


class Present(Rival):
    """Oracle that knows the slow-down of this moment, first calls and the distribution of runs, but no single run."""

    def __init__(self, machine: Machine, *, share: float = 0.99) -> None:
        super().__init__(machine)
        self.tail = math.exp(NORMAL.inv_cdf(share) * machine.trace.noise)

    def decide(self, turn: Turn) -> tuple[int, float]:
        rung = self.pick(turn)
        return rung, turn.costs[rung] * self.machine.factor(turn.now) * self.tail

    def pick(self, turn: Turn) -> int:
        usual = self.machine.trace.level(turn.now)
        behind = [
            (self.machine.costs(other), slack) for other, (_, slack) in zip(turn.waiting, turn.backlog, strict=True)
        ]
        for rung in range(turn.cap, self.last):
            factor = self.machine.factor(turn.now) * self.tail
            if turn.costs[rung] * factor <= turn.slack_ms and clears(
                behind, rung, self.last, turn.costs, factor, usual
            ):
                return rung
        return self.last


class Future(Rival):
    """Oracle that knows each run and all arrivals. It chooses the most accurate rung that makes late none of the next
    `ahead` requests which the fastest rung would have answered in time. It is greedy: not optimal, but close."""

    def __init__(self, machine: Machine, *, ahead: int = 16) -> None:
        super().__init__(machine)
        self.ahead = ahead

    def pick(self, turn: Turn) -> int:
        trace, machine = self.machine.trace, self.machine
        noise = trace.noises[turn.index]
        arrived = max([turn.index, *turn.waiting]) + 1
        nexts = [*turn.waiting, *range(arrived, min(len(trace.arrivals), arrived + self.ahead))]

        def on_time(rung: int) -> list[bool]:
            now = turn.now + turn.costs[rung] * machine.factor(turn.now) * noise / 1e3
            found = [now <= turn.now + turn.slack_ms / 1e3]
            for other in nexts:
                began = max(now, trace.arrivals[other])
                end = trace.arrivals[other] + trace.deadlines_ms[other] / 1e3
                took = machine.costs(other)[self.last] * trace.level(began) * trace.noises[other] / 1e3
                in_time = began + took <= end
                found.append(in_time)
                if began < end:
                    now = began + took
            return found

        needed = on_time(self.last)
        for rung in range(turn.cap, self.last):
            if all(mine or not its for mine, its in zip(on_time(rung), needed, strict=True)) and on_time(rung)[0]:
                return rung
        return self.last


POLICIES: Mapping[str, Callable[..., Any]] = {
    "gearshift": Ours,
    "static-large": lambda machine: Static(machine, share=0.0),
    "static-medium": lambda machine: Static(machine, share=0.5),
    "static-small": lambda machine: Static(machine, share=1.0),
    "cpu-stepper": CpuStepper,
    "schmitt": Schmitt,
    "slackfit": SlackFit,
    "kalman": Kalman,
    "oracle-present": Present,
    "oracle-future": Future,
}
