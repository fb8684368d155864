"""Oracles of the simulator: policies that know what no program can know. They bound what a policy can reach."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Sequence

from gearshift.runtime.simulate.rivals import NORMAL, Rival, clears
from gearshift.runtime.simulate.simulator import Machine, Turn


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
        behind = self.behind(turn)
        for rung in range(turn.cap, self.last):
            factor = self.machine.factor(turn.now) * self.tail
            if turn.costs[rung] * factor <= turn.slack_ms and clears(
                behind, rung, self.last, turn.costs, factor, usual
            ):
                return rung
        return self.last


class Future(Rival):
    """Oracle that knows each run and all arrivals. It takes the rung that gives the most, with the next `ahead`
    requests on the fastest rung after it, the earliest deadline first. It plans for one request at a time: not optimal,
    but close."""

    def __init__(self, machine: Machine, *, ahead: int = 24) -> None:
        super().__init__(machine)
        self.ahead = ahead
        trace = machine.trace
        self.due = [came + left / 1e3 for came, left in zip(trace.arrivals, trace.deadlines_ms, strict=True)]

    def pick(self, turn: Turn) -> int:
        accuracies = self.ladder.accuracies
        waiting = heapq.nsmallest(self.ahead, turn.queue)
        arrived = bisect_right(self.machine.trace.arrivals, turn.now)
        best, chosen = -1.0, self.last
        for rung in range(turn.cap, self.last + 1):
            end = turn.now + self.machine.took_ms(turn.index, rung, turn.now) / 1e3
            mine, others = end <= turn.now + turn.slack_ms / 1e3, self._in_time(end, waiting, arrived)
            value = accuracies[rung] * mine + accuracies[self.last] * others
            if value > best + 1e-12:
                best, chosen = value, rung
            if mine and others == len(waiting) + self.ahead:
                break
        return chosen

    def _in_time(self, now: float, waiting: Sequence[tuple[float, int]], arrived: int) -> int:
        """Return how many of the next requests are in time if the server is free from `now` on."""
        arrivals, machine = self.machine.trace.arrivals, self.machine
        queue, last = list(waiting), min(len(arrivals), arrived + self.ahead)
        found = 0
        while queue or arrived < last:
            if not queue:
                now = max(now, arrivals[arrived])
            while arrived < last and arrivals[arrived] <= now:
                heapq.heappush(queue, (self.due[arrived], arrived))
                arrived += 1
            due, index = heapq.heappop(queue)
            if now < due:
                now += machine.took_ms(index, self.last, now, first=False) / 1e3
                found += now <= due
        return found
