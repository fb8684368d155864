"""The slow loop on a clock that the test moves, and its thread once for real."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gearshift.runtime.background import Flag
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.runtime.sensors.slow_loop import INTERVAL_S, QUIET_LOOKS, UNREAD, SlowLoop
from gearshift.runtime.sensors.snapshot import Snapshot
from tests.runtime.sensors.test_cap_rules import snapshot


class World:
    """Clock, wait and sensors at once. `script` is called in each wait, and says when it is over."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.looks: list[float] = []
        self.sleeps = 0
        self.values: dict[str, float] = {}
        self.fail: Exception | None = None
        self.during_wait: Callable[[], object] = lambda: None
        self.during_sleep: Callable[[], object] = lambda: None

    def clock(self) -> float:
        return self.now_s

    def read(self) -> Snapshot:
        self.looks.append(self.now_s)
        if self.fail is not None:
            raise self.fail
        return snapshot(self.now_s, **self.values)

    def wait(self, event: Flag, timeout: float | None) -> bool:
        if timeout is None:
            self.sleeps += 1
            self.during_sleep()
            assert event.is_set(), "it would sleep for ever"
        else:
            self.during_wait()
            self.now_s += timeout
        return event.is_set()

    def loop(self, **options: Any) -> SlowLoop:
        return SlowLoop(self, 7, clock=self.clock, wait=self.wait, **options)


HOT = {"temperature_c": 99.0, "temperature_limit_c": 80.0}


def test_it_sleeps_without_a_timer_when_no_requests_come() -> None:
    world = World()
    loop = world.loop()
    world.during_sleep = loop.close
    loop.run()
    assert world.sleeps == 1
    assert len(world.looks) == QUIET_LOOKS


def test_a_request_wakes_it_at_once_and_again_it_falls_asleep() -> None:
    world = World()
    loop = world.loop()
    woken = []

    def sleep() -> None:
        world.now_s += 3600.0
        if world.sleeps == 2:
            loop.close()
        else:
            woken.append(world.now_s)
            loop.touch()

    world.during_sleep = sleep
    loop.run()
    assert world.looks[QUIET_LOOKS] == woken[0]
    assert len(world.looks) == 2 * QUIET_LOOKS


def test_it_never_looks_more_than_twice_a_second_whenever_requests_come() -> None:
    world = World()
    loop = world.loop()

    def sleep() -> None:
        loop.touch()  # the moment it fell asleep
        if world.sleeps == 20:
            loop.close()

    world.during_sleep = sleep
    loop.run()
    gaps = [after - before for before, after in itertools.pairwise(world.looks)]
    assert min(gaps) >= INTERVAL_S >= 0.5


def test_it_stays_awake_while_requests_come() -> None:
    world = World()
    loop = world.loop()

    def request() -> None:
        loop.touch()
        if len(world.looks) == 100:
            loop.close()

    world.during_wait = request
    loop.run()
    assert world.sleeps == 0
    assert len(world.looks) == 100


def test_caps_are_what_the_signals_ask_for() -> None:
    world = World()
    loop = world.loop()
    assert loop.caps == NO_CAPS
    loop.look()
    assert loop.caps == NO_CAPS
    world.values = HOT
    world.now_s += 1
    loop.look()
    assert loop.caps == Caps(1, ("temperature",))


def test_short_memory_gives_pages_back() -> None:
    world = World()
    world.values = {"memory_pressure": 0.5}
    released: list[float] = []
    loop = world.loop(release=lambda: released.append(world.now_s))
    loop.look()
    world.now_s += 1
    loop.look()
    assert released == [100.0]


def test_every_snapshot_is_kept_with_its_age_until_it_is_read() -> None:
    world = World()
    loop = world.loop()
    assert not loop.unread
    loop.look()
    world.now_s += 1
    loop.look()
    assert [one.taken_s for one in loop.unread] == [100.0, 101.0]
    world.now_s += 0.5
    assert [loop.age_s(one) for one in loop.unread] == [1.5, 0.5]
    loop.unread.clear()
    world.fail = OSError("gone")
    loop.look()
    assert not loop.unread


def test_snapshots_that_nobody_reads_do_not_pile_up() -> None:
    world = World()
    loop = world.loop()
    for _ in range(UNREAD + 3):
        world.now_s += 1
        loop.look()
    assert [one.taken_s for one in loop.unread] == [100.0 + number for number in range(4, UNREAD + 4)]


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("odd"), ZeroDivisionError(), MemoryError()], ids=repr)
def test_sensors_that_raise_ask_for_nothing_and_end_nothing(error: Exception) -> None:
    world = World()
    world.fail = error
    loop = world.loop()
    loop.look()
    assert loop.caps == NO_CAPS
    world.fail = None
    world.values = HOT
    loop.look()
    assert loop.caps.largest == 1


def test_a_release_that_raises_ends_nothing() -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no")

    world = World()
    world.values = {"memory_pressure": 0.5, **HOT}
    loop = world.loop(release=fail)
    loop.look()
    assert loop.caps.largest == 1


def test_a_clock_that_raises_keeps_the_caps() -> None:
    def fail() -> float:
        raise OSError("no clock")

    world = World()
    loop = SlowLoop(world, 7, clock=fail, wait=world.wait)
    loop.look()
    assert loop.caps == NO_CAPS


@pytest.mark.parametrize("asleep", [True, False])
def test_close_ends_the_thread_awake_or_asleep(asleep: bool) -> None:
    world = World()
    reached = threading.Event()

    def wait(event: Flag, timeout: float | None) -> bool:
        if (timeout is None) == asleep:
            reached.set()
            return event.wait()  # as long as it takes: `close` must end it
        return event.is_set()

    loop = SlowLoop(world, 7, clock=world.clock, wait=wait)
    loop.start()
    assert reached.wait(10)
    assert loop.alive
    assert loop.close()
    assert loop.close()
    assert not loop.alive


def test_a_loop_that_was_closed_before_it_began_never_looks() -> None:
    world = World()
    loop = world.loop()
    loop.close()
    loop.start()
    loop.close()
    assert (world.looks, world.sleeps) == ([], 0)


def test_a_stop_just_before_the_flag_of_requests_is_cleared_is_seen_before_the_sleep() -> None:
    world = World()

    class Stopping:
        """Stops in the look before the sleep, and wakes nobody: that was cleared."""

        def read(self) -> Snapshot:
            if len(world.looks) == QUIET_LOOKS - 1:
                loop._stopped.set()
            return world.read()

    loop = SlowLoop(Stopping(), 7, clock=world.clock, wait=world.wait)
    loop.run()
    assert world.sleeps == 0
    assert len(world.looks) == QUIET_LOOKS
