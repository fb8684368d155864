"""A long run on a made-up device that gets hot and slow."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.device.lasting_load import POINTS, main, soak
from gearshift.errors import UnknownSubnetError
from gearshift.runtime.sensors.sensors import Sensors
from gearshift.runtime.sensors.snapshot import Reading, Snapshot


class Hot(Sensors):
    """40 degrees and 1 more every 10 s; from 60 on the clock is held down, and calls take twice as long."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    @property
    def degrees(self) -> float:
        return 40.0 + self.now / 10

    def read(self) -> Snapshot:
        return dataclasses.replace(
            super().read(),
            temperature_c=Reading(self.degrees, 0.0),
            throttled=Reading(float(self.degrees >= 60), 0.0),
        )

    def call(self) -> None:
        self.now += 0.1 if self.degrees < 60 else 0.2


def test_drift_heat_and_throttling_are_seen() -> None:
    device = Hot()
    found = soak(device.call, 600.0, sensors=device, clock=lambda: device.now)
    assert len(found.points) == pytest.approx(POINTS, abs=3)
    assert found.drift == pytest.approx(1.0)
    assert found.throttled is True
    first, last = found.points[0], found.points[-1]
    assert [first.median_ms, last.median_ms] == pytest.approx([100.0, 200.0])
    assert first.temperature_c is not None and last.temperature_c is not None
    assert first.temperature_c < 42 and last.temperature_c > 95
    assert json.loads(json.dumps(found.to_dict()))["drift"] == found.drift


def test_a_device_that_says_nothing_of_its_clock_is_unknown() -> None:
    device = Hot()
    device.read = super(Hot, device).read  # type: ignore[method-assign]
    found = soak(device.call, 3.0, sensors=device, clock=lambda: device.now)
    assert found.throttled in (None, False)


def test_an_interruption_keeps_what_there_is() -> None:
    device = Hot()

    def call() -> None:
        device.call()
        if device.now > 50:
            raise KeyboardInterrupt

    found = soak(call, 600.0, sensors=device, clock=lambda: device.now)
    assert 0 < found.points[-1].seconds <= 51


def test_an_interruption_before_anything_was_seen_is_one() -> None:
    def call() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        soak(call, 1.0)


def test_the_program_shows_the_ends_and_draws_the_time(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [str(tiny_bundle), "--minutes", "0.03", "--threads", "1", "--subnet", "w025-d050"]
    main([*call, "--plot", str(tmp_path / "load.svg")])
    assert "first median ms" in capsys.readouterr().out
    assert "Under lasting load" in (tmp_path / "load.svg").read_text()
    main([*call, "--json"])
    assert len(json.loads(capsys.readouterr().out)["points"]) >= 1


def test_the_program_refuses_an_unknown_subnet(tiny_bundle: Path) -> None:
    with pytest.raises(UnknownSubnetError, match="unknown subnet 'w1'"):
        main([str(tiny_bundle), "--subnet", "w1"])
