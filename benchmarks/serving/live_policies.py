"""The simulator's policies in the engine's place, for requests that really run."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from benchmarks.serving.days import OURS
from benchmarks.serving.live_rows import Text
from benchmarks.serving.policies import TUNED
from gearshift.runtime import Engine
from gearshift.runtime.batches import one
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR
from gearshift.runtime.sensors.snapshot import Snapshot
from gearshift.runtime.simulate.policies import POLICIES
from gearshift.runtime.simulate.rivals import Static
from gearshift.runtime.simulate.simulator import Ladder, Machine, Turn


@dataclass(frozen=True)
class Frame:
    """The part of a machine that a policy is told: the ladder it switches between."""

    ladder: Ladder


@dataclass(frozen=True)
class Asked:
    """Facts of a request whose turn it is."""

    tokens: int
    slack_ms: float
    """Time left until the deadline."""
    deadline_ms: float
    """Deadline from the arrival on."""
    behind: Sequence[tuple[int, float]] = ()
    """Tokens and slack in ms of the requests that wait behind it, the most urgent first."""


class Rival:
    """Another policy in the engine's place, which pins its choice just before each request.

    Policies decide by a table of the graph's times alone. Therefore the time of a request besides the graph on the free
    machine, `around_ms`, is subtracted from its slack before, and from its latency after.
    """

    def __init__(self, engine: Engine, policy: Any, around_ms: float) -> None:
        self._engine, self._policy, self._around_ms = engine, policy, around_ms
        self._ladder = ladder_of(engine)
        self._index = 0

    def run(self, text: Text, asked: Asked, sensed: Snapshot | None) -> Any:
        """Return the answer for a text."""
        now = time.perf_counter()
        if sensed is not None:
            self._policy.sense(sensed, now)
        turn = Turn(
            index=self._index,
            work=one(asked.tokens),
            costs=self._ladder.costs(asked.tokens),
            slack_ms=asked.slack_ms - self._around_ms,
            deadline_ms=asked.deadline_ms,
            now=now,
            cap=0,
            waiting=range(self._index + 1, self._index + 1 + len(asked.behind)),
            backlog=[(one(tokens), left_ms - self._around_ms) for tokens, left_ms in asked.behind],
        )
        rung, _ = self._policy.decide(turn)
        self._engine.pin(self._ladder.names[rung])
        answer = self._engine.run(text, deadline_ms=asked.slack_ms)
        self._index += 1
        graph_ms = max(answer.latency_ms - self._around_ms, 0.0)
        self._policy.record(turn, rung, graph_ms, answer.deadline_met, time.perf_counter())
        return answer


def ladder_of(engine: Engine) -> Ladder:
    """Return the ladder that the engine switches between."""
    pool = engine.pool
    return Ladder.of(
        {name: entry.choosing_accuracy for name, entry in pool.items()},
        engine.table,
        rows=engine.bundle.manifest.dev_rows,
        reported={name: entry.accuracy for name, entry in pool.items()},
    )


def smallest(engine: Engine) -> str:
    """Return the name of the fastest subnet of the ladder that is no DAN."""
    return next(name for name in reversed(engine.ladder) if engine.pool[name].executor != DAN_EXECUTOR)


def rivals(engine: Engine, around_ms: float, *, every_subnet: bool) -> dict[str, Rival]:
    """Return the largest, the middle and the smallest rung of the ladder as fixed policies, or every rung; and every
    policy that needs no knowledge that only a simulator has, with its settings tuned there. `around_ms` as for
    `Rival`."""
    frame = Frame(ladder_of(engine))
    tuned = json.loads(TUNED.read_text())
    last = len(engine.ladder) - 1
    rungs = range(last + 1) if every_subnet else sorted({0, round(last / 2), last})
    found = {
        f"static {engine.ladder[rung]}": Rival(engine, Static(cast(Machine, frame), rung=rung), around_ms)
        for rung in rungs
    }
    for name, make in POLICIES.items():
        if name != OURS and not name.startswith(("oracle", "static")):
            found[name] = Rival(engine, make(frame, **tuned.get(name, {})), around_ms)
    return found
