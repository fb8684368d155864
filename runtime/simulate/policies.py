"""Policies that the simulator compares, by name: ours, published ones, and two oracles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gearshift.errors import InputError
from gearshift.runtime.batches import Work
from gearshift.runtime.policy.choose import Decision
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import DEFAULT_OBJECTIVE, Objective, Tuning
from gearshift.runtime.sensors.caps import Caps
from gearshift.runtime.sensors.snapshot import Snapshot
from gearshift.runtime.simulate.oracles import Future, Present
from gearshift.runtime.simulate.rivals import Alert, Bandit, CpuStepper, Kalman, Schmitt, SlackFit, Static
from gearshift.runtime.simulate.simulator import Machine, Turn


class Ours:
    """Policy of the engine: its controller."""

    def __init__(self, machine: Machine, objective: Objective = DEFAULT_OBJECTIVE, **settings: Any) -> None:
        ladder = machine.ladder
        accuracies = dict(zip(ladder.names, ladder.accuracies, strict=True))
        self.controller = Controller(accuracies, ladder.table, objective, tuning=Tuning(**settings), dan=ladder.dan)
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


POLICIES: Mapping[str, Callable[..., Any]] = {
    "gearshift": Ours,
    "static-large": lambda machine: Static(machine, share=0.0),
    "static-medium": lambda machine: Static(machine, share=0.5),
    "static-small": lambda machine: Static(machine, share=1.0),
    "cpu-stepper": CpuStepper,
    "schmitt": Schmitt,
    "slackfit": SlackFit,
    "alert": Alert,
    "kalman": Kalman,
    "bandit": Bandit,
    "oracle-present": Present,
    "oracle-future": Future,
}
