"""Tests of what the tables of a calibration say, of a device that is made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearshift.drawing.bench_tables import DEADLINES_MS, deadline_table
from gearshift.runtime import open_bundle
from gearshift.runtime.bench.choices import Switches
from gearshift.runtime.bench.contention import Contention
from gearshift.runtime.bench.result import Calibration, Conditions, Measured
from gearshift.runtime.bench.stage_latency import PERCENTILES, StageLatency
from gearshift.runtime.profiles.store import this_device


def calibration(tiny_bundle: Path, fixed_ms: float) -> Calibration:
    """Make one of a device that takes so long for every size, and as long again for each layer of it that is kept."""
    bundle = open_bundle(tiny_bundle)
    stages = StageLatency(
        lengths=(16,),
        fixed_ms=(fixed_ms,),
        option_ms=tuple(
            tuple((0.0 if option is None else fixed_ms,) for option in stage)
            for stage in Switches.of(bundle.manifest.space).stages
        ),
        tails=dict.fromkeys(PERCENTILES, (1.0,)),
        calls=99,
    )
    measured = Measured(Conditions("fp32", 1, 1), (), stages, (), (), 0.0, Contention(None, None), 1.0, 1.0)
    return Calibration(bundle, this_device(), "2026-01-31", 60.0, 60.0, (measured,), (), (), ())


@pytest.mark.parametrize(("fixed_ms", "nothing", "last"), [(0.1, 0, 5), (30.0, 4, 200), (900.0, 8, 1000)])
def test_deadlines_are_shown_until_the_most_accurate_size_fits(
    tiny_bundle: Path, fixed_ms: float, nothing: int, last: int
) -> None:
    rows = deadline_table(calibration(tiny_bundle, fixed_ms), 1, None).rows
    assert [row[0] for row in rows] == [f"{ms} ms" for ms in DEADLINES_MS if ms <= last]
    assert [row[1] == "none" for row in rows] == [True] * nothing + [False] * (len(rows) - nothing)


def test_a_deadline_that_was_asked_for_is_shown_alone(tiny_bundle: Path) -> None:
    assert [row[0] for row in deadline_table(calibration(tiny_bundle, 30.0), 1, 7.5).rows] == ["7.5 ms"]
