"""Tests of what the tables of a calibration say, of a device that is made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gearshift.drawing.bench_charts import ladder
from gearshift.drawing.bench_tables import DEADLINES_MS, deadline_table
from gearshift.drawing.numbers import percent
from gearshift.runtime import open_bundle
from gearshift.runtime.bench.choices import Switches
from gearshift.runtime.bench.contention import Contention
from gearshift.runtime.bench.result import Calibration, Conditions, Measured
from gearshift.runtime.bench.stage_latency import PERCENTILES, StageLatency
from gearshift.runtime.profiles.store import this_device


def calibration(tiny_bundle: Path, fixed_ms: float, dev: dict[str, float] | None = None) -> Calibration:
    """Make one of a device that takes so long for every size, and as long again for each layer of it that is kept.

    `dev`: accuracies of the bundle on 100,000 dev rows.
    """
    bundle = open_bundle(tiny_bundle)
    if dev is not None:
        pool = tuple(replace(entry, dev_accuracy=dev[entry.name]) for entry in bundle.manifest.pool)
        bundle = replace(bundle, manifest=replace(bundle.manifest, pool=pool, chosen_by="dev", dev_rows=100_000))
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


def test_what_fits_is_chosen_by_dev_rows_and_shown_with_its_accuracy_on_test_rows(tiny_bundle: Path) -> None:
    pool = open_bundle(tiny_bundle).pool("fp32")
    chosen = min(pool, key=lambda name: pool[name].accuracy)  # nobody would choose it by the test rows
    found = calibration(tiny_bundle, 0.1, {name: 0.9 - 0.5 * (name != chosen) for name in pool})
    assert deadline_table(found, 1, 1000.0).rows[0][1] == f"{chosen} fp32, {percent(pool[chosen].accuracy)}"
    assert ladder(found, found.measured[0], 0)[-1][::2] == (chosen, pool[chosen].accuracy)
