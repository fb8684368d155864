"""The engine, and the simulator's rivals in its place, for requests that are really run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from benchmarks.policies import TUNED
from gearshift.runtime import Engine
from gearshift.runtime.rivals import POLICIES
from gearshift.runtime.sensors import Snapshot
from gearshift.runtime.simulator import Ladder, Turn


@dataclass(frozen=True)
class Frame:
    """What a rival is told of the machine: what is switched between."""

    ladder: Ladder


class Rival:
    """Another policy in the engine's place: it pins what it picks, just before each request."""

    def __init__(self, engine: Engine, policy: Any) -> None:
        self._engine, self._policy = engine, policy
        self._ladder = ladder_of(engine)
        self._index = 0

    def before(self, length: int, slack_ms: float, deadline_ms: float, now: float, sensed: Snapshot | None) -> None:
        """Pick for a request of that many tokens."""
        if sensed is not None:
            self._policy.sense(sensed, now)
        self._turn = Turn(
            index=self._index,
            length=length,
            costs=self._ladder.costs(length),
            slack_ms=slack_ms,
            deadline_ms=deadline_ms,
            now=now,
            cap=0,
            waiting=(),
            backlog=(),
        )
        self._rung, _ = self._policy.decide(self._turn)
        self._engine.pin(self._ladder.names[self._rung])

    def after(self, took_ms: float, met: bool, now: float) -> None:
        """Learn from how it went."""
        self._index += 1
        self._policy.record(self._turn, self._rung, took_ms, met, now)


class Ours:
    """The engine itself."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def before(self, length: int, slack_ms: float, deadline_ms: float, now: float, sensed: Snapshot | None) -> None:
        """The engine decides."""
        self._engine.pin(None)

    def after(self, took_ms: float, met: bool, now: float) -> None:
        """The engine has learnt already."""


def ladder_of(engine: Engine) -> Ladder:
    """What the engine switches between."""
    accuracies = tuple(engine.pool[name].accuracy for name in engine.ladder)
    return Ladder(engine.ladder, accuracies, engine.table)


def policies(engine: Engine) -> dict[str, Ours | Rival]:
    """The engine, and every rival that needs to know nothing that only a simulator knows, as they were tuned."""
    ladder = ladder_of(engine)
    tuned = json.loads(TUNED.read_text())
    rivals = {name: make for name, make in POLICIES.items() if name != "gearshift" and not name.startswith("oracle")}
    return {
        "gearshift": Ours(engine),
        **{name: Rival(engine, make(Frame(ladder), **tuned.get(name, {}))) for name, make in rivals.items()},
    }
