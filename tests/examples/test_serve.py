"""The demo's stream: what is planned, what is served, and how it is counted. No test looks at how fast it went."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from examples.demo import serve as module
from examples.demo.commands import Utterance, generate
from examples.demo.load import Burners, Schedule
from examples.demo.serve import LEAST_DEADLINE_MS, Plan, Served, ends, make_plan, serve, summary
from gearshift.runtime import Engine, open_bundle

PLAN = Plan(
    largest_ms=1.0,
    smallest_ms=0.5,
    deadline_ms=60_000,
    rate=40.0,
    burners=1,
    seconds=0.5,
    load=Schedule(off_s=0.1, on_s=0.1),
)


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine.load(tiny_bundle, threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def requests() -> list[Utterance]:
    return generate(train=30, dev=30, test=30)["test"]


def test_the_ends_are_the_subnets_with_most_and_fewest_operations(engine: Engine, tiny_bundle: Path) -> None:
    macs = {entry.name: entry.macs for entry in open_bundle(tiny_bundle).manifest.pool}
    largest, smallest = ends(engine)
    assert macs[largest] == max(macs.values())
    assert macs[smallest] == min(macs.values())


def test_the_plan_follows_from_the_medians_by_its_formulas(
    engine: Engine, requests: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    medians = dict(zip(ends(engine), (4.0, 0.5), strict=True))
    monkeypatch.setattr(module, "_median_ms", lambda engine, name, requests: medians[name])
    plan = make_plan(engine, requests, seconds=20, cpus=3)
    assert (plan.largest_ms, plan.smallest_ms, plan.seconds) == (4.0, 0.5, 20)
    assert plan.deadline_ms == 2.0 * 4.0
    assert plan.rate == 0.5 / 4.0e-3
    assert plan.burners == 1 * 3
    assert plan.load == Schedule(off_s=3.0, on_s=5.0)


def test_the_medians_are_measured_on_the_ends_of_the_real_engine(engine: Engine, requests: list[Utterance]) -> None:
    before = engine.stats()
    plan = make_plan(engine, requests, seconds=1, cpus=1)
    assert plan.largest_ms > 0
    assert plan.smallest_ms > 0
    now = engine.stats()
    ran = {name: now["subnets"][name] - before["subnets"][name] for name in engine.subnets}
    assert {name for name, count in ran.items() if count} == set(ends(engine))
    assert engine.run("hello").reason == "no_deadline"  # nothing stays pinned


def test_every_request_is_served_at_its_own_time_and_judged(engine: Engine, requests: list[Utterance]) -> None:
    seen: list[Served] = []
    served = serve(engine, requests, PLAN, pin=None, live=seen.append)
    assert seen == served
    assert [one.arrived_s for one in served] == [index / 40 for index in range(20)]
    assert [one.loaded for one in served] == [PLAN.load.on_at(one.arrived_s) for one in served]
    assert {one.loaded for one in served} == {True, False}
    assert all(one.latency_ms > 0 for one in served)
    assert [one.met for one in served] == [one.latency_ms <= PLAN.deadline_ms for one in served]
    for one, request in zip(served, itertools.cycle(requests)):
        engine.pin(one.subnet)
        assert one.right == (engine.run(request.text).label == request.intent)
    engine.pin(None)


def test_a_stream_longer_than_the_requests_begins_again(engine: Engine, requests: list[Utterance]) -> None:
    texts: list[str] = []
    recording = Recording(engine, texts)
    serve(recording, requests[:3], PLAN, pin=None, live=lambda one: None)
    assert texts == [requests[index % 3].text for index in range(20)]


def test_a_pinned_stream_runs_that_subnet_alone_and_lets_go_of_it(engine: Engine, requests: list[Utterance]) -> None:
    name = engine.subnets[5]
    served = serve(engine, requests, PLAN, pin=name, live=lambda one: None)
    assert {one.subnet for one in served} == {name}
    assert engine.run("hello").reason == "no_deadline"


def test_the_load_comes_and_goes_and_ends_with_the_stream(
    engine: Engine, requests: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    switched: list[bool] = []
    pids: list[int] = []

    class Watched(Burners):
        def switch(self, *, on: bool) -> None:
            switched.append(on)
            pids.extend(self.pids)
            super().switch(on=on)

    monkeypatch.setattr(module, "Burners", Watched)
    serve(engine, requests, PLAN, pin=None, live=lambda one: None)
    assert [on for on, _ in itertools.groupby(switched)][:3] == [False, True, False]
    assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


class Recording(Engine):
    """A loaded engine that keeps the texts that it is given, and may take its time."""

    def __init__(self, engine: Engine, texts: list[str], *, least_s: float = 0) -> None:
        self.__dict__.update(vars(engine))
        self.texts = texts
        self.deadlines: list[float] = []
        self.least_s = least_s

    def run(self, text: Any, *, deadline_ms: float | None = None, **options: Any) -> Any:
        self.texts.append(text)
        self.deadlines.append(math.inf if deadline_ms is None else deadline_ms)
        time.sleep(self.least_s)
        return super().run(text, deadline_ms=deadline_ms, **options)


def test_a_request_that_waited_has_less_of_its_deadline_left(engine: Engine, requests: list[Utterance]) -> None:
    """Each takes 30 ms at least and they come every 10 ms: number n waits 20 ms x n or more."""
    slow = Recording(engine, [], least_s=0.03)
    plan = dataclasses.replace(PLAN, rate=100.0, seconds=0.2, deadline_ms=100.0, burners=0)
    served = serve(slow, requests, plan, pin=None, live=lambda one: None)
    assert len(served) == 20
    for index, (one, deadline_ms) in enumerate(zip(served, slow.deadlines, strict=True)):
        assert one.latency_ms >= 20 * index + 29
        assert deadline_ms <= max(100.0 - 20 * index, LEAST_DEADLINE_MS)
    assert slow.deadlines[-1] == LEAST_DEADLINE_MS
    assert not served[-1].met


def outcome(index: int, latency_ms: float, subnet: str, *, met: bool, right: bool, loaded: bool) -> Served:
    return Served(index / 10, latency_ms, subnet, met, right, loaded, slow_down=1.0)


def test_the_summary_counts_every_request() -> None:
    served = [
        outcome(0, 1.0, "a", met=True, right=True, loaded=False),
        outcome(1, 2.0, "a", met=True, right=False, loaded=False),
        outcome(2, 9.0, "b", met=False, right=True, loaded=True),
        outcome(3, 4.0, "a", met=True, right=True, loaded=True),
        outcome(4, 3.0, "a", met=True, right=False, loaded=False),
    ]
    assert dataclasses.asdict(summary(served)) == {
        "requests": 5,
        "deadlines_met": 4 / 5,
        "deadlines_met_under_load": 1 / 2,
        "accuracy": 3 / 5,
        "goodput_accuracy": 2 / 5,
        "p50_ms": 3.0,
        "p95_ms": 9.0,
        "switches": 2,
    }


def test_percentiles_are_those_of_the_sorted_latencies() -> None:
    served = [outcome(i, float((i * 37) % 100), "a", met=True, right=True, loaded=False) for i in range(100)]
    assert (summary(served).p50_ms, summary(served).p95_ms) == (50.0, 95.0)


def test_a_stream_without_load_says_nothing_about_deadlines_under_load() -> None:
    assert summary([outcome(0, 1.0, "a", met=True, right=True, loaded=False)]).deadlines_met_under_load is None
