"""Tests of what the rest of a made-up machine does while something is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearshift.runtime.bench.contention import BUSY_CPUS, Contention, ContentionWatch
from gearshift.runtime.sensors.pressure import stalled_s
from gearshift.runtime.sensors.sensors import Sensors
from tests.runtime.sensors.test_sensors import Machine


def watch(tmp_path: Path, machine: Machine) -> ContentionWatch:
    sensors = Sensors(clock=machine.clock, root=tmp_path, source=machine, cpus=lambda: {0, 1, 2, 3})
    return ContentionWatch(root=tmp_path, sensors=sensors, clock=machine.clock)


def write_stall(root: Path, microseconds: int) -> None:
    path = root / "proc/pressure/cpu"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={microseconds}\n")


def test_a_lap_says_what_others_used_and_how_long_some_process_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearshift.runtime.bench.contention.available_cpus", lambda: {0, 1, 2, 3})
    machine = Machine()
    write_stall(tmp_path, 1_000_000)
    watching = watch(tmp_path, machine)
    machine.run(2.0, busy={0: 1.0})
    write_stall(tmp_path, 2_000_000)
    lap = watching.lap()
    assert lap.stalled == pytest.approx(0.5)
    assert lap.others_cpus == pytest.approx(0.5)
    assert lap.busy
    machine.run(2.0, busy={0: 1.0}, own=1.0)
    assert not watching.lap().busy


def test_what_cannot_be_read_is_unknown_and_not_busy(tmp_path: Path) -> None:
    lap = watch(tmp_path, Machine()).lap()
    assert lap.stalled is None
    assert not Contention(None, None).busy
    assert Contention(BUSY_CPUS + 0.01, None).busy


@pytest.mark.parametrize("content", ["", "full total=3", "some avg10=1.00", "some total=many"])
def test_a_pressure_file_without_a_total_is_unknown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "proc/pressure/cpu"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert stalled_s(tmp_path, "cpu") is None
