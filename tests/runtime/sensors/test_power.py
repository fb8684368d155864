"""Battery and energy, from files written to disk and fakes of psutil."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.sensors.power import Battery, Energy, EnergyMeter, read_battery
from tests.device_profiles import write_tree

SUPPLY = "sys/class/power_supply"
RAPL = "sys/class/powercap/intel-rapl:0"


def battery(name: str = "BAT0", **files: object) -> dict[str, str]:
    """A battery's folder."""
    return {f"{SUPPLY}/{name}/{file}": f"{content}\n" for file, content in {"type": "Battery", **files}.items()}


def mains(online: int) -> dict[str, str]:
    return {f"{SUPPLY}/AC/type": "Mains\n", f"{SUPPLY}/AC/online": f"{online}\n"}


def _no_psutil() -> Any:
    raise ImportError("no psutil")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (battery(energy_now=30, energy_full=40, status="Discharging"), Battery(0.75, False)),
        (battery(charge_now=10, charge_full=40, status="Charging"), Battery(0.25, True)),
        (battery(capacity=80, status="Full"), Battery(0.8, True)),
        (battery(capacity=80, status="Unknown"), Battery(0.8, None)),
        ({**battery(capacity=80, status="Unknown"), **mains(1)}, Battery(0.8, True)),
        ({**battery(capacity=80, status="Unknown"), **mains(0)}, Battery(0.8, False)),
        ({**battery(capacity=80, status="Discharging"), **mains(1)}, Battery(0.8, False)),
        ({**battery(capacity=80), **battery("BAT1", capacity=40)}, Battery(0.6, None)),
        ({**battery(capacity=80), **battery("mouse", capacity=1, scope="Device")}, Battery(0.8, None)),
        (mains(1), None),
        (battery(capacity="nan"), None),
        (battery(capacity=-5), None),
        (battery(capacity=101), None),
        (battery(capacity="9" * 400), None),
        (battery(energy_now=30, energy_full=0), None),
        (battery(), None),
    ],
)
def test_the_battery_as_the_system_tells_it(files: dict[str, str], expected: Battery | None, tmp_path: Path) -> None:
    found = read_battery(write_tree(tmp_path, files), _no_psutil)
    assert (found and (pytest.approx(found.share), found.plugged)) == (expected and (expected.share, expected.plugged))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (SimpleNamespace(percent=55, power_plugged=False), Battery(0.55, False)),
        (SimpleNamespace(percent=55, power_plugged=None), Battery(0.55, None)),
        (SimpleNamespace(percent=math.nan, power_plugged=True), None),
        (SimpleNamespace(percent=-3, power_plugged=True), None),
        (None, None),
    ],
)
def test_elsewhere_psutil_is_asked(found: Any, expected: Battery | None, tmp_path: Path) -> None:
    assert read_battery(tmp_path, lambda: SimpleNamespace(sensors_battery=lambda: found)) == expected


def test_without_psutil_there_is_no_battery(tmp_path: Path) -> None:
    assert read_battery(tmp_path, _no_psutil) is None
    assert read_battery(tmp_path, SimpleNamespace) is None  # psutil without the function, as on some systems


def rapl(microjoules: object, wrap: object = 10_000_000, name: str = "package-0") -> dict[str, str]:
    return {f"{RAPL}/name": name, f"{RAPL}/energy_uj": f"{microjoules}", f"{RAPL}/max_energy_range_uj": f"{wrap}"}


def _by_kind(energies: tuple[Energy, ...]) -> dict[str, tuple[float, float]]:
    return {one.kind: (one.spent, one.over_s) for one in energies}


def test_cpu_seconds_are_counted_where_nothing_counts_joules(tmp_path: Path) -> None:
    spent = [3.0]
    meter = EnergyMeter(tmp_path, cpu_seconds=lambda: spent[0])
    mark = meter.read(10.0)[0]
    spent[0] = 4.5
    (energy,) = meter.read(13.0)
    assert energy == Energy("cpu", 1.5, 3.0)
    since = energy.since(mark)
    assert since is not None
    assert since.rate == pytest.approx(0.5)


def test_rapl_counts_joules_also_when_its_counter_goes_round(tmp_path: Path) -> None:
    meter = EnergyMeter(write_tree(tmp_path, rapl(1_000_000)), cpu_seconds=lambda: 0.0)
    meter.read(0.0)
    write_tree(tmp_path, rapl(9_000_000))
    assert _by_kind(meter.read(2.0))["rapl"] == pytest.approx((8.0, 2.0))
    write_tree(tmp_path, rapl(500_000))
    assert _by_kind(meter.read(3.0))["rapl"] == pytest.approx((9.5, 3.0))


def test_only_whole_packages_count(tmp_path: Path) -> None:
    meter = EnergyMeter(write_tree(tmp_path, rapl(5, name="psys")), cpu_seconds=lambda: 0.0)
    assert [energy.kind for energy in meter.read(0.0)] == ["cpu"]


def test_a_fuel_gauge_is_integrated_while_the_battery_gives(tmp_path: Path) -> None:
    meter = EnergyMeter(
        write_tree(tmp_path, battery(power_now=4_000_000, status="Discharging")), cpu_seconds=lambda: 0.0
    )
    meter.read(0.0)
    write_tree(tmp_path, battery(power_now=-6_000_000, status="Discharging"))
    assert _by_kind(meter.read(2.0))["fuel_gauge"] == pytest.approx((10.0, 2.0))
    write_tree(tmp_path, battery(power_now=6_000_000, status="Charging"))
    assert "fuel_gauge" not in _by_kind(meter.read(3.0))


def test_current_times_voltage_is_power(tmp_path: Path) -> None:
    files = battery(current_now=500_000, voltage_now=4_000_000, status="Discharging")
    meter = EnergyMeter(write_tree(tmp_path, files), cpu_seconds=lambda: 0.0)
    meter.read(0.0)
    assert _by_kind(meter.read(1.0))["fuel_gauge"] == pytest.approx((2.0, 1.0))


def test_a_gap_counts_neither_as_energy_nor_as_time(tmp_path: Path) -> None:
    meter = EnergyMeter(
        write_tree(tmp_path, battery(power_now=4_000_000, status="Discharging")), cpu_seconds=lambda: 0.0
    )
    for now in (0.0, 1.0, 100.0, 101.0):
        energies = meter.read(now)
    assert _by_kind(energies)["fuel_gauge"] == pytest.approx((8.0, 2.0))


@pytest.mark.parametrize("jump", [-50.0, math.nan, math.inf])
def test_a_clock_that_jumps_adds_nothing(jump: float, tmp_path: Path) -> None:
    spent = iter([1.0, 2.0, 3.0])
    meter = EnergyMeter(tmp_path, cpu_seconds=lambda: next(spent))
    meter.read(10.0)
    meter.read(11.0)
    assert _by_kind(meter.read(jump))["cpu"] == (1.0, 1.0)


@pytest.mark.parametrize("content", ["", "nan", "inf", "-5", "many", "9" * 400, "9" * 5000])
def test_a_counter_that_makes_no_sense_is_left_out(content: str, tmp_path: Path) -> None:
    meter = EnergyMeter(write_tree(tmp_path, rapl(content)), cpu_seconds=lambda: math.nan)
    meter.read(0.0)
    assert [energy.spent for energy in meter.read(1.0)] in ([], [0.0])


def test_a_source_that_raises_is_left_out(tmp_path: Path) -> None:
    def fail() -> float:
        raise OSError("no clock")

    assert EnergyMeter(tmp_path, cpu_seconds=fail).read(0.0) == ()


def test_energies_of_two_kinds_have_no_difference() -> None:
    assert Energy("rapl", 5.0, 2.0).since(Energy("cpu", 1.0, 1.0)) is None
    assert Energy("cpu", 5.0, 2.0).since(Energy("cpu", 6.0, 1.0)) is None
    assert Energy("cpu", 5.0, 0.0).rate is None


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=20))
def test_no_clock_and_no_counter_make_the_sum_fall_or_the_meter_raise(steps: list[tuple[float, float]]) -> None:
    values = iter([value for _, value in steps])
    meter = EnergyMeter(Path("/nonexistent"), cpu_seconds=lambda: next(values))
    before = (0.0, 0.0)
    for now, _ in steps:
        after = _by_kind(meter.read(now)).get("cpu", before)
        assert after >= before
        before = after
