"""Streams of labelled requests that really run, under the engine and under rivals in its place, slice by slice."""

from __future__ import annotations

import functools
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from benchmarks.device.contention import CROWDED, QUOTAS_US, SECOND, STATES, Hogs, Model, Spell, Throttle, state_at
from benchmarks.serving.live_policies import Asked, Rival
from benchmarks.serving.live_rows import Labelled, Text
from gearshift.cpus import available_cpus
from gearshift.runtime import AnswerFuture, DeadlinePassedError, Engine
from gearshift.runtime.sensors.sensors import Sensors
from gearshift.runtime.serving.worker import MOST_URGENT

SENSE_EVERY_S = 0.5
DROPPED = ""
"""Name in place of the subnet, for a request whose deadline passed while it waited."""


@dataclass(frozen=True)
class Request:
    """A labelled text, or pair of texts, and its arrival, in seconds after the start of the stream."""

    arrives_s: float
    text: Text
    score: Callable[[Any], float]
    """Function from an answer to its score, from 0 to 1."""
    tokens: int


@dataclass(frozen=True)
class Served:
    """A request and its outcome."""

    arrives_s: float
    latency_ms: float
    """Time from arrival to answer in ms, waiting included; infinite if it was dropped."""
    subnet: str
    met: bool
    score: float
    """Score of the answer, from 0 to 1, late or not; 0 if it was dropped."""
    state: str
    slice_s: float = 0.0
    """Start of the slice that it was in."""

    @property
    def gain(self) -> float:
        """Score of an answer in time, 0 of another."""
        return self.score if self.met else 0.0


class OtherWork:
    """Hogs, a second model and a throttle of this machine, as far as it has them; `states` names those."""

    def __init__(self, second: Model) -> None:
        self._hogs = Hogs(len(available_cpus()), second)
        self._throttle: Throttle | None = None
        try:
            self._throttle = Throttle()
        except OSError as error:
            print(f"the states {', '.join(QUOTAS_US)} are left out: {error}")
        self.states = (*STATES, CROWDED, SECOND, *(QUOTAS_US if self._throttle else ()))

    def load(self) -> None:
        """Wait until the second model has begun to answer."""
        self._hogs.load()

    def set(self, state: str) -> None:
        """Let the work of a state run, and hold the other."""
        self._hogs.set(state)
        if self._throttle:
            self._throttle.set(state)

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.enter_context(self._hogs)
        if self._throttle:
            self._stack.enter_context(self._throttle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class Stage:
    """A slice of the stream: its clock, and the other work that goes with it."""

    def __init__(self, start_s: float, spells: tuple[Spell, ...], deadline_ms: float, work: OtherWork) -> None:
        self.deadline_ms = deadline_ms
        self._spells, self._work, self._start_s = spells, work, start_s
        self._began = time.perf_counter() - start_s

    def now(self) -> float:
        """Return the seconds since the start of the stream."""
        return time.perf_counter() - self._began

    def wait_for(self, request: Request) -> None:
        """Wait until a request arrives, and switch the other work meanwhile."""
        while (ahead := request.arrives_s - self.now()) > 0:
            self._work.set(state_at(self._spells, self.now()))
            time.sleep(min(ahead, 0.02))
        self._work.set(state_at(self._spells, self.now()))

    def left_ms(self, request: Request) -> float:
        """Return the ms left until the deadline of a request."""
        return self.deadline_ms - (self.now() - request.arrives_s) * 1e3

    def served(self, request: Request, answer: Any, done_s: float) -> Served:
        """Return the outcome of a request; without an answer it was dropped."""
        state, start = state_at(self._spells, request.arrives_s), self._start_s
        if answer is None:
            return Served(request.arrives_s, math.inf, DROPPED, met=False, score=0.0, state=state, slice_s=start)
        latency_ms = (done_s - request.arrives_s) * 1e3
        met, score = latency_ms <= self.deadline_ms, request.score(answer)
        return Served(request.arrives_s, latency_ms, answer.subnet, met, score, state, start)


def serve(policy: Rival, part: Sequence[Request], stage: Stage) -> list[Served]:
    """Serve a slice under a rival: a request waits while the previous one is answered."""
    answers: list[tuple[Request, Any, float]] = []
    sensors, sensed_s, sensed = Sensors(), -math.inf, None
    for place, request in enumerate(part):
        stage.wait_for(request)
        now_s = stage.now()
        if now_s - sensed_s >= SENSE_EVERY_S:
            sensed, sensed_s = sensors.read(), now_s
        answer = None
        if (left_ms := stage.left_ms(request)) > 0:
            later = part[place + 1 : place + 1 + MOST_URGENT]
            behind = [(one.tokens, stage.left_ms(one)) for one in later if one.arrives_s <= now_s]
            answer = policy.run(request.text, Asked(request.tokens, left_ms, stage.deadline_ms, behind), sensed)
        answers.append((request, answer, stage.now()))
    return [stage.served(*one) for one in answers]  # scored here, where no request waits


def serve_submitted(engine: Engine, part: Sequence[Request], stage: Stage) -> list[Served]:
    """Serve a slice under the engine: requests are submitted as they come."""
    answered: list[tuple[Request, AnswerFuture | None, list[float]]] = []
    for request in part:
        stage.wait_for(request)
        done: list[float] = []
        left_ms = stage.left_ms(request)
        future = engine.submit(request.text, deadline_ms=left_ms) if left_ms > 0 else None
        if future is not None:
            future.add_done_callback(functools.partial(_note, done, stage))
        answered.append((request, future, done))
    served = []
    for request, future, done in answered:
        try:
            answer = None if future is None else future.result()
        except DeadlinePassedError:
            answer = None
        served.append(stage.served(request, answer, done[0] if answer is not None else math.inf))
    return served


def _note(done: list[float], stage: Stage, _: object) -> None:
    done.append(stage.now())


def arrivals(rows: Sequence[tuple[Labelled, int]], seconds: float, rate: float, seed: int) -> list[Request]:
    """Return a Poisson stream of that many requests a second, of rows drawn at random, each with its tokens."""
    draw = random.Random(seed)
    requests, at = [], draw.expovariate(rate)
    while at < seconds:
        row, tokens = draw.choice(rows)
        requests.append(Request(at, row.text, row.score, tokens))
        at += draw.expovariate(rate)
    return requests
