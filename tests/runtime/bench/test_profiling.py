"""The tiny bundle is calibrated: within its budget, checked, and refused where others are in the way."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from gearshift.cpus import available_cpus
from gearshift.errors import BundleError, InputError
from gearshift.runtime.bench.plan import Plan
from gearshift.runtime.bench.profiling import calibrate
from gearshift.runtime.bench.result import Calibration
from gearshift.runtime.bench.stopwatch import Sample
from gearshift.runtime.bench.timed_calls import FEWEST_CALLS, between
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.sensors.cpus import effective_cpus
from tests.runtime.bench.machine import LOOK_S, Machine


@pytest.fixture(scope="module")
def machine(bundle: Bundle) -> Machine:
    return Machine(bundle)


@pytest.fixture(scope="module")
def calibration(bundle: Bundle, machine: Machine) -> Calibration:
    return machine.calibrate(bundle, Plan.of(bundle, lengths=(4, 16), threads=(1,), budget_s=3.0), operators=False)


def test_real_calls_are_timed_by_a_real_clock(bundle: Bundle) -> None:
    plan = Plan.of(bundle, lengths=(4,), threads=(1,), precisions=("int8",), budget_s=2.0)
    (measured,) = calibrate(bundle, plan, operators=False).measured
    assert measured.load_ms > 0 and measured.first_call_ratio > 0
    assert all(ms > 0 for _, _, ms in measured.calls) and math.isfinite(measured.drift)
    assert all(one.predicted_ms > 0 and one.measured_ms > 0 for one in measured.checked)


def test_every_precision_is_fitted_and_checked_with_what_it_never_saw(calibration: Calibration, bundle: Bundle) -> None:
    assert [m.conditions.precision for m in calibration.measured] == ["fp32", "int8"]
    for measured in calibration.measured:
        pool = {entry.choice for entry in bundle.pool(measured.conditions.precision).values()}
        fitted = {choice for choice, _, _ in measured.calls}
        assert measured.stages.lengths == (4, 16)
        assert pool <= fitted
        assert len(fitted) > len(pool)  # the design mixes options that the pool does not
        assert measured.stages.calls >= FEWEST_CALLS
        assert len(measured.checked) >= 3
        assert {one.length for one in measured.checked} <= {4, 10, 16}
        assert measured.error_median <= measured.error_p95 < 0.05
        assert measured.load_ms == pytest.approx(1e3 * LOOK_S) and measured.first_call_ratio == pytest.approx(1)
        assert abs(measured.drift) < 0.05


def test_every_subnet_is_predicted_to_take_what_its_calls_take(
    calibration: Calibration, bundle: Bundle, machine: Machine
) -> None:
    for measured in calibration.measured:
        for entry in bundle.pool(measured.conditions.precision).values():
            truth = [machine.takes_ms(entry.choice, length) for length in (4, 16)]
            assert measured.subnet_ms(entry) == pytest.approx(truth, rel=0.05)


def test_the_budget_is_kept(calibration: Calibration) -> None:
    assert 2.0 < calibration.seconds < 3.1
    assert calibration.skipped == ()


def test_a_table_of_it_covers_the_pool(calibration: Calibration, bundle: Bundle) -> None:
    measured = calibration.measured[0]
    table = measured.table(bundle, calibration.date)
    assert table.median_ms.keys() == bundle.pool("fp32").keys()
    assert (table.bundle_hash, table.precision, table.threads, table.lengths) == (bundle.hash, "fp32", 1, (4, 16))
    for name, medians in table.median_ms.items():
        assert all(median <= p95 for median, p95 in zip(medians, table.p95_ms[name], strict=True))


def test_as_json_it_has_every_subnet_with_percentiles(calibration: Calibration, bundle: Bundle) -> None:
    facts = json.loads(json.dumps(calibration.to_dict(), allow_nan=False))
    assert facts["hash"] == bundle.hash
    condition = facts["conditions"][1]
    assert (condition["precision"], condition["threads"], condition["batch"]) == ("int8", 1, 1)
    assert {row["subnet"] for row in condition["subnets"]} == set(bundle.pool("int8"))
    times = condition["subnets"][0]["times"][0]
    assert times["p50"] <= times["p90"] <= times["p95"] <= times["p99"]


def test_operators_are_profiled_and_checked_with_the_bundle(bundle: Bundle) -> None:
    plan = Plan.of(bundle, lengths=(8,), threads=(1,), precisions=("int8",), budget_s=6.0)
    (costs,) = Machine(bundle).calibrate(bundle, plan).operators
    assert (costs.precision, costs.threads, costs.provider) == ("int8", 1, "CPUExecutionProvider")
    assert costs.error_median is not None and costs.error_p95 is not None
    assert 0 <= costs.error_median <= costs.error_p95


def test_operators_are_left_out_while_others_are_busy(bundle: Bundle) -> None:
    plan = Plan.of(bundle, lengths=(8,), threads=(1,), precisions=("int8",), budget_s=6.0)
    found = Machine(bundle).calibrate(bundle, plan, others=1.0)
    assert found.operators == ()
    assert found.skipped == ("operators at int8 with 1 thread (others were busy)",)
    assert "others used 1.0 CPUs meanwhile" in found.measured[0].table(bundle, found.date).method


def test_progress_is_told_in_seconds_of_the_budget(bundle: Bundle) -> None:
    told: list[tuple[str, float, float]] = []
    plan = Plan.of(bundle, lengths=(4,), threads=(1,), precisions=("int8",), budget_s=1.0)
    Machine(bundle).calibrate(bundle, plan, operators=False, progress=lambda *what: told.append(what))
    assert {what for what, _, _ in told} == {"1 thread", "calls after pauses", "calls of several texts"}
    assert all(planned == 1.0 for _, _, planned in told)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def slow(bundle: Bundle) -> Machine:
    """Calls that take 30 ms each, and 50 where the clock is looked at before and after, as in warming up."""
    return Machine(bundle, lambda ms, before: Sample(30.0, 0.0), look_s=0.05)


def test_what_there_is_no_time_for_is_left_out_and_named(bundle: Bundle) -> None:
    plan = Plan.of(bundle, lengths=(4, 8, 16), threads=_two(), precisions=("fp32",), budget_s=2.7)
    found = slow(bundle).calibrate(bundle, plan, operators=False)
    assert found.skipped[: len(plan.threads) - 1] == ("2 threads (no time)",)[: len(plan.threads) - 1]
    assert "16 tokens (no time)" in found.skipped
    assert {measured.conditions.threads for measured in found.measured} == {1}
    assert all(16 not in measured.stages.lengths for measured in found.measured)
    assert any(line.startswith("skipped: ") for line in found.warnings)


def test_a_budget_for_nothing_at_all_says_how_much_is_needed(bundle: Bundle) -> None:
    plan = Plan.of(bundle, lengths=(4,), threads=(1,), precisions=("fp32",), budget_s=0.7)
    with pytest.raises(InputError, match=r"budget: expected \d+ s or more for 4 tokens and 1 thread .* got 0.7 s"):
        slow(bundle).calibrate(bundle, plan, operators=False)


def test_several_threads_that_are_disturbed_are_refused(bundle: Bundle) -> None:
    """Every call but each fifth waits for half of its time."""
    machine = Machine(bundle, lambda ms, before: Sample(2 * ms, ms) if before % 5 else Sample(ms, 0.0))
    plan = Plan.of(bundle, lengths=(4,), threads=_two(), precisions=("int8",), budget_s=1.5)
    found = machine.calibrate(bundle, plan, operators=False)
    assert [m.conditions.threads for m in found.measured] == [1]
    if len(plan.threads) == 2:
        (line,) = found.refused
        assert line.startswith("2 threads: ")
        assert "of" in line and "had to wait for a CPU; stop what else runs and measure again" in line
        assert f"refused: {line}" in found.warnings


def test_a_call_that_was_disturbed_is_made_again(bundle: Bundle) -> None:
    """Each third call is held up for a hundred milliseconds, by no fault that can be taken off."""
    machine = Machine(bundle, lambda ms, before: Sample(101.0, 50.0) if before % 3 == 2 else Sample(1.0, 0.0))
    plan = Plan.of(bundle, lengths=(4,), threads=(1,), precisions=("int8",), budget_s=6.0)
    (measured,) = machine.calibrate(bundle, plan, operators=False).measured
    assert {ms for _, _, ms in measured.calls} == {1.0}
    assert measured.disturbed == pytest.approx(1 / 3, abs=0.05)


def test_one_thread_beside_a_hog_is_measured_without_the_waiting_and_says_so(bundle: Bundle) -> None:
    """Check a CPU that is shared: every call waits as long as it works. `test_stopwatch` has a real hog."""
    plan = Plan.of(bundle, lengths=(32,), threads=(1,), precisions=("fp32",), budget_s=2.0)
    idle, shared = Machine(bundle), Machine(bundle, lambda ms, before: Sample(2 * ms, ms))
    alone = idle.calibrate(bundle, plan, operators=False)
    beside = shared.calibrate(bundle, plan, operators=False, others=1.0)
    assert (alone.measured[0].disturbed, beside.measured[0].disturbed) == (0.0, 1.0)
    for entry in bundle.pool("fp32").values():
        expected = [idle.takes_ms(entry.choice, 32)]
        for found in (alone, beside):
            assert found.measured[0].subnet_ms(entry) == pytest.approx(expected, rel=0.05)
    assert not any("others used" in line for line in alone.warnings)
    assert any("others used" in line for line in beside.warnings)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"lengths": (0,)}, r"lengths: expected numbers of tokens from 1 to 32, got \[0\]"),
        ({"lengths": (16, 64)}, r"lengths: .* from 1 to 32, got \[16, 64\]"),
        ({"threads": (0,)}, r"threads: expected 1 to \d+, the CPUs that this process may use, got \[0\]"),
        ({"threads": (10**6,)}, "threads: expected 1 to"),
        ({"batch": 0}, "batch: expected a whole number of texts from 1 to 65536, got 0"),
        ({"batch": 1 << 62}, "batch: expected a whole number of texts from 1 to 65536, got 4611686018427387904"),
        ({"budget_s": 0}, "budget: expected a number of seconds above 0, got 0"),
        ({"budget_s": math.nan}, "budget: expected a number of seconds above 0, got nan"),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_is_refused(bundle: Bundle, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan.of(bundle, **asked)


def test_a_precision_that_the_bundle_lacks_is_named(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no fp64 graph in this bundle"):
        Plan.of(bundle, precisions=("fp64",))


def test_without_wishes_all_precisions_and_threads_up_to_the_cpus_are_planned(bundle: Bundle) -> None:
    plan = Plan.of(bundle)
    assert plan.precisions == ("fp32", "int8")
    assert plan.lengths == (16,)  # of 16, 64 and 128, what the bundle takes
    assert plan.threads[0] == 1
    assert plan.threads[-1] == max(1, int(effective_cpus()))


def test_checks_lie_between_the_lengths() -> None:
    assert between((16, 64, 128)) == (40, 96)
    assert between((4, 5)) == ()
    assert between((8,)) == ()


def _two() -> tuple[int, ...]:
    return (1, 2) if len(available_cpus()) > 1 else (1,)
