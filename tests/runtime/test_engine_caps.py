"""The engine with the slow loop: what the signals ask for reaches the decision, and the thread ends."""

import dataclasses
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gearshift.errors import InputError
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.sensors.cap_rules import Rules
from gearshift.runtime.sensors.caps import NO_CAPS
from gearshift.runtime.sensors.sensors import Sensors
from gearshift.runtime.sensors.snapshot import Reading, Snapshot
from gearshift.runtime.serving.decision_log import DecisionLog, read_log
from gearshift.runtime.startup import Loaded
from tests.device_profiles import write_tree
from tests.runtime.sensors.test_sensors import FULL, Machine
from tests.runtime.sensors.test_thermal import zone
from tests.runtime.test_engine import TEXT, _table


@pytest.fixture
def watched(bundle: Bundle, session: ElasticSession) -> Callable[..., Engine]:
    """Makes engines on a device that is written to disk."""

    def make(root: Path, **others: Any) -> Engine:
        machine = Machine()
        sensors = Sensors(clock=machine.clock, root=root, source=machine, cpus=lambda: {0})
        return Engine(Loaded.of(bundle, session, _table(bundle)), sensors=sensors, **others)

    return make


def _until(condition: Callable[[], object]) -> None:
    """Wait for the thread; a failure costs ten seconds, a success one look."""
    give_up = time.monotonic() + 10
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.002)
    assert condition()


def _threads() -> int:
    return psutil.Process().num_threads()


def _end(engine: Engine) -> None:
    """Ends the loop, and leaves the session to the other tests."""
    assert engine._slow_loop is not None
    engine._slow_loop.close()


def test_heat_caps_the_subnet_and_the_log_says_why(watched: Callable[..., Engine], tmp_path: Path) -> None:
    root = write_tree(tmp_path / "device", {**FULL, **zone(0, "cpu-thermal", 90000, passive=75)})
    log = DecisionLog(tmp_path / "log")
    engine = watched(root, log=log, rules=Rules(battery=()))
    _until(lambda: engine.caps.largest)
    assert engine.caps.reasons == ("temperature",)
    assert engine.run(TEXT).subnet == engine.ladder[engine.caps.largest]
    assert engine.run(TEXT, deadline_ms=1e6).subnet == engine.ladder[engine.caps.largest]
    _end(engine)
    log.close()
    record = read_log(tmp_path / "log")[-1].records[-1]
    assert record.caps == engine.caps
    assert record.signals["temperature_c"] == 90.0
    assert record.level == engine.caps.largest


def test_the_most_accurate_answers_where_nothing_asks_for_less(watched: Callable[..., Engine], tmp_path: Path) -> None:
    engine = watched(write_tree(tmp_path, FULL), rules=Rules(battery=()))
    _until(lambda: engine._slow_loop is not None and engine._slow_loop.signals)
    assert engine.caps == NO_CAPS
    assert engine.run(TEXT).subnet == engine.ladder[0]
    _end(engine)


def test_a_pinned_subnet_goes_before_the_caps(watched: Callable[..., Engine], tmp_path: Path) -> None:
    engine = watched(write_tree(tmp_path, {**FULL, **zone(0, "cpu-thermal", 90000, passive=75)}))
    _until(lambda: engine.caps.largest)
    engine.pin(engine.ladder[0])
    assert engine.run(TEXT).subnet == engine.ladder[0]
    _end(engine)


def test_the_signals_reach_the_controller(watched: Callable[..., Engine], tmp_path: Path) -> None:
    engine = watched(write_tree(tmp_path, FULL))
    sensed: list[Snapshot] = []
    engine._controller.sense = lambda snapshot, now: sensed.append(snapshot)  # type: ignore[method-assign]
    assert engine._slow_loop is not None
    _until(lambda: engine._slow_loop is not None and engine._slow_loop.unread)
    _end(engine)
    taken = list(engine._slow_loop.unread)
    for _ in range(3):
        engine.run(TEXT)
    assert sensed == taken, "each snapshot is taken in once, at the next request"


def test_a_reading_that_is_no_number_fails_no_request(
    watched: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = watched(write_tree(tmp_path, FULL))
    assert engine._slow_loop is not None
    _until(lambda: engine._slow_loop is not None and engine._slow_loop.unread)
    _end(engine)
    odd = dataclasses.replace(engine._slow_loop.unread[-1], others_cpu=Reading("high", 0.0))  # type: ignore[arg-type]
    engine._slow_loop.unread.append(odd)
    assert engine.run(TEXT, deadline_ms=1e6).reason == "fits"
    assert engine.stats()["requests"] == 1


def test_a_sensor_that_hangs_keeps_neither_requests_nor_close_waiting(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reading, go = threading.Event(), threading.Event()

    class Hanging(Sensors):
        def read(self) -> Snapshot:
            reading.set()
            go.wait(60)
            return super().read()

    machine = Machine()
    sensors = Hanging(clock=machine.clock, root=write_tree(tmp_path, FULL), source=machine, cpus=lambda: {0})
    own = ElasticSession(bundle, "fp32", threads=1)
    engine = Engine(Loaded.of(bundle, own, _table(bundle)), sensors=sensors)
    assert reading.wait(60)
    assert engine.run(TEXT, deadline_ms=1e6).reason == "fits"
    assert engine.submit(TEXT).result(60).subnet
    assert engine.close(timeout=0.05) is False
    assert "the engine was closed after 0.05 s, with a sensor being read" in caplog.text
    go.set()
    assert engine.close(timeout=60)


def test_a_snapshot_within_a_run_is_taken_in_before_the_run_is_learnt_from(
    watched: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = watched(write_tree(tmp_path, FULL))
    assert engine._slow_loop is not None
    _until(lambda: engine._slow_loop is not None and engine._slow_loop.unread)
    _end(engine)
    loop, order = engine._slow_loop, []
    snapshot = loop.unread[-1]
    decide, record = engine._controller.decide, engine._controller.record

    def deciding(**given: Any) -> Any:
        order.append("decide")
        loop.unread.append(snapshot)  # as if the loop looked while the graph runs
        return decide(**given)

    def recording(*given: Any, **named: Any) -> None:
        order.append("record")
        record(*given, **named)

    engine._controller.sense = lambda snapshot, now: order.append("sense")  # type: ignore[method-assign]
    engine._controller.decide = deciding  # type: ignore[method-assign]
    engine._controller.record = recording  # type: ignore[method-assign]
    loop.unread.clear()
    engine.run(TEXT)
    assert order == ["decide", "sense", "record"]


def test_without_sensors_there_is_no_thread(tiny_bundle: Path) -> None:
    before = _threads()
    with Engine.load(tiny_bundle, threads=1, precision="fp32", sensors=False, cache=False) as engine:
        assert engine.caps == NO_CAPS
        assert engine.run(TEXT).subnet
        assert _threads() == before


def test_a_loaded_engine_watches_and_closing_ends_the_thread(tiny_bundle: Path) -> None:
    before = _threads()
    with Engine.load(tiny_bundle, threads=1, precision="fp32", cache=False):  # else another reads the packed weights
        assert _threads() == before + 1
    _until(lambda: _threads() == before)


def test_an_engine_that_nobody_holds_leaves_no_thread(watched: Callable[..., Engine], tmp_path: Path) -> None:
    engine = watched(write_tree(tmp_path, FULL))
    assert engine._slow_loop is not None
    thread = engine._slow_loop._thread
    del engine
    gc.collect()
    _until(lambda: not thread.alive)


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_sensors_that_are_none_are_refused(tiny_bundle: Path, wrong: Any) -> None:
    with pytest.raises(InputError, match="sensors: expected True, False or Sensors"):
        Engine.load(tiny_bundle, sensors=wrong)


def test_rules_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Rules().limit_c = 3.0  # type: ignore[misc]
