"""Engines of a fleet over the real graph: in turns, and each decision counts who waits at the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.errors import BundleError, InputError
from gearshift.runtime import Engine, EngineClosedError, Fleet
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.serving.turns import Turns
from gearshift.runtime.startup import Loaded
from tests.runtime.serving.test_together import Hold

TEXT = "turn the lights off"


class Clock:
    """Clock that stands still but for what a test adds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def table_of(bundle: Bundle) -> LatencyTable:
    """Return a table by which the subnets take 1000 ms down to some 80, by their MACs."""
    entries = bundle.entries("fp32")
    most = max(entry.macs for entry in entries.values())
    times: dict[str, tuple[float, ...]] = {name: (1e3 * entry.macs / most,) for name, entry in entries.items()}
    hash_, provider, date = "0" * 64, "CPUExecutionProvider", "2026-01-01"
    return LatencyTable(hash_, "fp32", provider, 1, (8,), times, times, 1, "made up", date)


class Two:
    """Two engines that share turns and a clock, and the session of each held back."""

    def __init__(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, priorities: tuple[int, int]) -> None:
        turns, self.clock = Turns(), Clock()
        self.turns = turns
        self.engines = []
        for priority in priorities:
            loaded = Loaded.of(bundle, ElasticSession(bundle, "fp32", threads=1), table_of(bundle))
            self.engines.append(Engine(loaded, clock=self.clock, share=turns.share(priority)))
        self.first, self.second = self.engines
        self.holds = [Hold(engine, monkeypatch) for engine in self.engines]

    def until_in_line(self) -> None:
        """Wait until the worker of an engine waits for its turn."""
        for _ in range(30_000):
            if self.turns._line:
                return
            time.sleep(0.001)
        raise AssertionError("no worker came to wait for its turn")

    def close(self) -> None:
        for hold in self.holds:
            hold.let()
        for engine in self.engines:
            engine.close()


@pytest.fixture
def equals(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    two = Two(bundle, monkeypatch, (0, 0))
    yield two
    two.close()


def subnet_beside_a_burst(two: Two, burst: int) -> str:
    """Return the subnet of a request at the second engine, while requests wait at the first."""
    running = two.first.submit(TEXT)  # holds the turn
    two.holds[0].until(1)
    waiting = [two.first.submit(TEXT, deadline_ms=5100) for _ in range(burst)]
    asked = two.second.submit(TEXT, deadline_ms=5000)  # its turn is next, but for priorities
    two.until_in_line()
    two.holds[0].let()
    two.holds[1].let()
    answer = asked.result(30)
    for future in (running, *waiting):
        future.result(30)
    return str(answer.subnet)


def test_without_a_burst_elsewhere_the_largest_subnet_answers(equals: Two) -> None:
    assert subnet_beside_a_burst(equals, 0) == equals.second.ladder[0]


def test_a_burst_at_one_engine_makes_the_subnet_of_the_other_smaller(equals: Two) -> None:
    assert subnet_beside_a_burst(equals, 4) in equals.second.ladder[1:]


def test_a_burst_of_a_lower_priority_does_not(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Two(bundle, monkeypatch, (0, 1))
    assert subnet_beside_a_burst(two, 4) == two.second.ladder[0]
    two.close()


def test_the_calls_of_two_engines_take_turns_the_earliest_deadline_first(equals: Two) -> None:
    running = equals.first.submit(TEXT)
    equals.holds[0].until(1)
    late = equals.first.submit(TEXT, deadline_ms=9000)
    soon = threading.Thread(target=equals.second.run, args=(TEXT,), kwargs={"deadline_ms": 8000})
    soon.start()
    equals.holds[0].let(1)
    equals.holds[1].until(1)
    assert running.result(30).label and not late.done()
    assert len(equals.holds[0].shapes) == 1  # its second call waits for the turn
    equals.holds[1].let()
    soon.join(30)
    equals.holds[0].let()
    assert late.result(30).label


def test_an_engine_learns_whom_its_runs_make_late_at_the_other(equals: Two) -> None:
    for hold in equals.holds:
        hold.let(1000)
    for _ in range(60):  # the second engine is asked right after each run of the first began
        equals.first.run(TEXT, deadline_ms=5000)
        equals.clock.now += 0.001
        equals.second.run(TEXT, deadline_ms=300)
        equals.clock.now += 10.0
    made_late = equals.first._controller._arrivals.made_late
    assert made_late(False, 900.0) > 0.5 > made_late(False, 50.0)


def test_a_call_that_fails_leaves_its_turn_to_the_other(equals: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **named: Any) -> None:
        raise BundleError("no memory")

    monkeypatch.setattr(equals.first._opened.session, "run", fails)
    equals.holds[1].let()
    with pytest.raises(BundleError, match="no memory"):
        equals.first.run(TEXT)
    assert equals.second.run(TEXT).label


def test_an_engine_that_is_closed_leaves_the_turns_to_the_other(equals: Two) -> None:
    equals.first.close()
    equals.holds[1].let()
    assert equals.second.submit(TEXT, deadline_ms=5000).result(30).label


def test_a_callback_may_wait_for_the_other_engine(equals: Two) -> None:
    for hold in equals.holds:
        hold.let(10)
    found = list[str]()
    done = threading.Event()

    def ask(_: object) -> None:
        found.append(equals.second.submit(TEXT, deadline_ms=60_000).result(30).label)
        done.set()

    equals.first.submit(TEXT, deadline_ms=60_000).add_done_callback(ask)
    assert done.wait(30) and found


def test_a_fleet_loads_engines_with_its_threads_and_closes_them_all(tiny_bundle: Path) -> None:
    with Fleet(threads=1) as fleet:
        high = fleet.load(tiny_bundle, priority=1, precision="fp32")
        low = fleet.load(tiny_bundle, precision="int8", target=0.9)
        assert fleet.engines == (high, low)
        assert {engine.threads for engine in fleet.engines} == {1}
        assert low.objective.target == 0.9
        assert high.run(TEXT, deadline_ms=5000).label == low.submit(TEXT, deadline_ms=5000).result(30).label
    for engine in (high, low):
        with pytest.raises(EngineClosedError):
            engine.run(TEXT)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, 10**9])
def test_threads_that_are_none_are_refused(threads: Any) -> None:
    with pytest.raises(InputError, match="threads: expected a whole number from 1 to"):
        Fleet(threads=threads)


@pytest.mark.parametrize("option", ["threads", "share"])
def test_what_all_engines_share_is_no_option_of_one(tiny_bundle: Path, option: str) -> None:
    with Fleet(threads=1) as fleet, pytest.raises(InputError, match=f"{option}: expected none, as all engines"):
        fleet.load(tiny_bundle, **{option: 1})


def test_a_priority_that_is_none_is_refused_before_anything_is_loaded() -> None:
    with Fleet() as fleet, pytest.raises(InputError, match="priority: expected a whole number"):
        fleet.load("nowhere", priority=-1)
