"""Rivals of the simulator: published policies for choosing a subnet, and fixed ones.

All have the same inputs as ours: latency table, length, slack, waiting requests, and signals. Each uses the queue as
its own rule allows: it keeps those that wait in time as well (`queue`), if that serves it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from statistics import NormalDist

from gearshift.runtime.batches import Work
from gearshift.runtime.sensors.snapshot import Snapshot
from gearshift.runtime.simulate.simulator import Ladder, Machine, Turn

NORMAL = NormalDist()


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

    def behind(self, turn: Turn) -> list[tuple[tuple[float, ...], float]]:
        """Return (median ms of each rung, slack in ms) of those that wait."""
        costs = self.machine.ladder.costs_of
        return [(costs(work), slack) for work, slack in turn.backlog]

    def within(self, turn: Turn, factor: float, *, slack_ms: float | None = None, queue: bool = False) -> int:
        """Return the most accurate rung whose median x factor fits the slack, else the fastest.

        `queue`: it must leave those that wait enough time too.
        """
        slack = turn.slack_ms if slack_ms is None else slack_ms
        behind = self.behind(turn) if queue and turn.backlog else ()
        for rung in range(turn.cap, self.last):
            if turn.costs[rung] * factor <= slack and (
                not behind or clears(behind, rung, self.last, turn.costs, factor, factor)
            ):
                return rung
        return self.last


class Static(Rival):
    """One rung for every request: `share` of the ladder, from 0 the most accurate to 1 the fastest, or `rung`."""

    def __init__(self, machine: Machine, *, share: float | None = None, rung: int = 0) -> None:
        super().__init__(machine)
        self.rung = rung if share is None else round(share * self.last)

    def pick(self, turn: Turn) -> int:
        return max(self.rung, turn.cap)


class CpuStepper(Rival):
    """Dynamic-OFA (Lou et al. 2021): one rung down if the mean of `window` latencies is above the share `limit` of the
    constraint or other processes use more than the share `high` of the CPU; one rung up if they use less than `low`.

    Its latencies count from what waiting has left of each deadline, so that it steps down for a queue as well."""

    def __init__(
        self, machine: Machine, *, window: int = 20, high: float = 0.7, low: float = 0.3, limit: float = 1.0
    ) -> None:
        super().__init__(machine)
        self.window, self.high, self.low, self.limit = window, high, low, limit
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
        if mean > self.limit or self.cpu > self.high:
            self.rung = min(self.last, self.rung + 1)
        elif self.cpu < self.low:
            self.rung = max(0, self.rung - 1)


class Schmitt(Rival):
    """INFaaS (Romero et al. 2021): interference is flagged if observed / profiled time exceeds `on`, and cleared after
    `votes` in a row below `off`. Profiled times are multiplied by `on` while it is flagged, else by 1.1."""

    def __init__(
        self, machine: Machine, *, on: float = 2.5, off: float = 1.5, votes: int = 10, queue: bool = True
    ) -> None:
        super().__init__(machine)
        self.on, self.off, self.votes, self.queue = on, off, votes, queue
        self.flagged, self.calm = False, 0

    def pick(self, turn: Turn) -> int:
        return self.within(turn, self.on if self.flagged else 1.1, queue=self.queue)

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

    def __init__(self, machine: Machine, *, safety: float = 1.1, buckets: int = 32, queue: bool = True) -> None:
        super().__init__(machine)
        self.safety, self.buckets, self.queue = safety, buckets, queue

    def pick(self, turn: Turn) -> int:
        step = turn.costs[0] * self.safety / self.buckets
        slack = math.floor(turn.slack_ms / step) * step + 1e-9
        return self.within(turn, self.safety, slack_ms=slack, queue=self.queue)


class Filter(Rival):
    """Base of policies with a normal distribution of the slow-down: the rung of the highest expected accuracy, which is
    accuracy x probability of being in time; with `queue`, that of those that wait as well, if they run on the fastest
    rung after this one."""

    def __init__(self, machine: Machine, *, queue: bool) -> None:
        super().__init__(machine)
        self.queue = queue
        self.mean, self.deviation = 1.0, 0.1

    def pick(self, turn: Turn) -> int:
        accuracies = self.ladder.accuracies
        behind = self.behind(turn) if self.queue else ()
        best, chosen = 1e-6, self.last
        for rung in range(turn.cap, self.last + 1):
            cost = turn.costs[rung]
            value = accuracies[rung] * self.chance(turn.slack_ms / cost)
            for those, slack_ms in behind:
                cost += those[self.last]
                value += accuracies[self.last] * self.chance(slack_ms / cost)
            if value > best + 1e-12:
                best, chosen = value, rung
        return chosen

    def chance(self, ratio: float) -> float:
        """Return the probability that the slow-down is at most this."""
        return 0.5 * math.erfc((self.mean - ratio) / (self.deviation * math.sqrt(2)))


class Alert(Filter):
    """ALERT (Wan et al. 2020) to the letter: its Kalman filter of the slow-down, with its constants (initial gain .5,
    deviation .1, noise of observations .001, least process noise .1, weight .3 of the old process noise)."""

    GAIN, DEVIATION, NOISE, LEAST, MEMORY = 0.5, 0.1, 1e-3, 0.1, 0.3

    def __init__(self, machine: Machine, *, queue: bool = True) -> None:
        super().__init__(machine, queue=queue)
        self.gain, self.deviation, self.process, self.innovation = self.GAIN, self.DEVIATION, self.LEAST, 0.0
        self.variance = self.DEVIATION**2

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        surprise = (self.gain * self.innovation) ** 2
        self.process = max(self.LEAST, self.MEMORY * self.process + (1 - self.MEMORY) * surprise)
        before = (1 - self.gain) * self.variance + self.process
        self.gain = before / (before + self.NOISE)
        self.innovation = run_ms / turn.costs[rung] - self.mean
        self.mean += self.gain * self.innovation
        self.variance = before
        self.deviation = math.sqrt(self.variance)


class Kalman(Filter):
    """ALERT's idea with a filter that is tuned: noise of observations, least process noise, and `memory`, the weight of
    the newest innovation in the process noise."""

    def __init__(
        self, machine: Machine, *, noise: float = 1e-3, memory: float = 0.3, least: float = 1e-6, queue: bool = True
    ) -> None:
        super().__init__(machine, queue=queue)
        self.noise, self.memory, self.least = noise, memory, least
        self.variance = self.process = 0.01
        self.deviation = math.sqrt(self.variance + self.process + noise)

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        innovation = run_ms / turn.costs[rung] - self.mean
        before = self.variance + self.process
        gain = before / (before + self.noise)
        self.mean += gain * innovation
        self.variance = (1 - gain) * before
        self.process = max(self.least, (1 - self.memory) * self.process + self.memory * (gain * innovation) ** 2)
        self.deviation = math.sqrt(self.variance + self.process + self.noise)


class Bandit(Rival):
    """Bandit over subnets: discounted UCB (Garivier and Moulines 2011), with an arm for each rung. Its context is the
    slack over the time of the largest subnet, less what the queue needs on the fastest, in `steps` bins an octave.

    `discount`: what counts remain of an answer at the next one. `width`: weight of the bonus for what is little tried.
    """

    def __init__(
        self, machine: Machine, *, discount: float = 0.995, width: float = 0.1, steps: int = 4, queue: bool = True
    ) -> None:
        super().__init__(machine)
        self.discount, self.width, self.steps, self.queue = discount, width, steps, queue
        self.arms: dict[int, list[list[float]]] = {}
        self.place = 0

    def pick(self, turn: Turn) -> int:
        slack = turn.slack_ms
        if self.queue:
            needed = 0.0
            for those, slack_ms in self.behind(turn):
                needed += those[self.last]
                slack = min(slack, max(slack_ms - needed, turn.costs[self.last]))
        self.place = round(self.steps * max(-3.0, min(4.0, math.log2(max(slack, 1e-9) / turn.costs[0]))))
        arms = self.arms.setdefault(self.place, [[0.0, 0.0] for _ in self.ladder.names])
        total = math.log(1 + sum(count for count, _ in arms))

        def bound(rung: int) -> float:
            count, reward = arms[rung]
            return math.inf if count < 1e-3 else reward / count + self.width * math.sqrt(total / count)

        return max(range(turn.cap, self.last + 1), key=bound)

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        arms = self.arms[self.place]
        for arm in arms:
            arm[0] *= self.discount
            arm[1] *= self.discount
        arms[rung][0] += 1
        arms[rung][1] += self.ladder.accuracies[rung] * met


def clears(
    behind: Sequence[tuple[Sequence[float], float]],
    rung: int,
    last: int,
    medians: Sequence[float],
    factor: float,
    usual: float,
) -> bool:
    """Return whether the waiting requests are in time if this request and all of them run on this rung.

    A request that would be late even on the fastest rung is not counted.
    """
    mine, fastest = medians[rung] * factor, medians[last] * factor
    for those, slack_ms in behind:
        mine += those[rung] * usual
        fastest += those[last] * usual
        if mine > slack_ms >= fastest:
            return False
    return True
