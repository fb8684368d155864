"""The best fixed subnets in hindsight: of a whole trace, and of each state of its machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gearshift.runtime.simulate.rivals import Rival, Static
from gearshift.runtime.simulate.simulator import Ladder, Machine, Outcome, Turn, simulate
from gearshift.runtime.simulate.traces import Trace

WIDTH = 0.3
"""Width of a state: machines whose log slow-downs round to the same multiple of it are in one state."""


def states_of(trace: Trace) -> list[int]:
    """Return the state of the machine at the arrival of each request: log slow-down / WIDTH, rounded."""
    return [state_at(trace, arrival) for arrival in trace.arrivals]


def state_at(trace: Trace, now: float) -> int:
    """Return the state of the machine."""
    return round(math.log(trace.level(now)) / WIDTH)


def gained(outcome: Outcome) -> list[float]:
    """Return what each request gave: the accuracy of its subnet if it was in time, else 0."""
    reported = outcome.ladder.reported
    return [reported[rung] if met else 0.0 for rung, met in zip(outcome.rungs, outcome.met, strict=True)]


def by_state(outcome: Outcome, states: Sequence[int]) -> dict[int, float]:
    """Return the sum of what requests gave, by the state in which they came."""
    sums = dict.fromkeys(states, 0.0)
    for state, gain in zip(states, gained(outcome), strict=True):
        sums[state] += gain
    return sums


class ByState(Rival):
    """A rung for each state of the machine, which it knows."""

    def __init__(self, machine: Machine, rungs: dict[int, int]) -> None:
        super().__init__(machine)
        self.rungs = rungs

    def pick(self, turn: Turn) -> int:
        return max(turn.cap, self.rungs.get(state_at(self.machine.trace, turn.now), self.last))


def all_static(trace: Trace, ladder: Ladder) -> list[Outcome]:
    """Return the outcome of each rung if it is used throughout."""
    machines = [Machine(trace, ladder) for _ in ladder.names]
    return [simulate(Static(machine, rung=rung), machine) for rung, machine in enumerate(machines)]


def best_by_state(trace: Trace, ladder: Ladder, static: Sequence[Outcome], states: Sequence[int]) -> Outcome:
    """Return the outcome of using, in each state, the rung that gives the most in that state if used throughout."""
    sums = [by_state(outcome, states) for outcome in static]
    rungs = {state: max(range(len(sums)), key=lambda rung: sums[rung][state]) for state in sums[0]}
    machine = Machine(trace, ladder)
    return simulate(ByState(machine, rungs), machine)
