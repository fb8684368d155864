"""Sensors on machines that are written to disk, with a clock and counters that the test moves."""

import math
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from gearshift.cpus import available_cpus
from gearshift.runtime.sensors.cpus import MINIMUM_CPUS, effective_cpus
from gearshift.runtime.sensors.others_cpu import MINIMUM_INTERVAL_S
from gearshift.runtime.sensors.sensors import LIMITS_LIFE_S, Sensors
from gearshift.runtime.sensors.snapshot import UNKNOWN, Snapshot
from tests.device_profiles import CONTAINER, LAPTOP, OLD_CONTAINER, RASPBERRY_PI, write_tree
from tests.runtime.sensors.test_power import battery, rapl
from tests.runtime.sensors.test_thermal import FLAGS, policy, zone


class Machine:
    """Counters as psutil gives them; `run` lets time pass."""

    def __init__(self, cpus: int = 4) -> None:
        self.now_s = 100.0
        self.rows = [
            SimpleNamespace(user=10.0, nice=0.0, system=5.0, idle=500.0, iowait=3.0, irq=0.0, softirq=0.0, steal=0.0)
            for _ in range(cpus)
        ]
        self.own = SimpleNamespace(user=1.0, system=1.0, children_user=0.0, children_system=0.0)
        self.available_bytes: float = 2e9

    def clock(self) -> float:
        return self.now_s

    def cpu_times(self, *, percpu: bool) -> list[SimpleNamespace]:
        assert percpu
        return [SimpleNamespace(**vars(row)) for row in self.rows]

    def virtual_memory(self) -> SimpleNamespace:
        return SimpleNamespace(available=self.available_bytes)

    def Process(self) -> SimpleNamespace:  # noqa: N802 - psutil's name
        return SimpleNamespace(cpu_times=lambda: SimpleNamespace(**vars(self.own)))

    def run(self, seconds: float, *, busy: dict[int, float], own: float = 0.0, field: str = "user") -> None:
        """Let `seconds` pass in which CPU -> `busy` seconds went to all, `own` of them to us."""
        self.now_s += seconds
        for cpu, spent in busy.items():
            setattr(self.rows[cpu], field, getattr(self.rows[cpu], field) + spent)
        self.own.user += own


def _sensors(machine: Any, root: Path, *, cpus: Callable[[], set[int]] = lambda: {0, 1, 2, 3}) -> Sensors:
    return Sensors(clock=machine.clock, root=root, source=machine, cpus=cpus)


def test_the_first_read_knows_pressure_and_memory_but_not_the_others(tmp_path: Path) -> None:
    snapshot = _sensors(Machine(), write_tree(tmp_path, LAPTOP)).read()
    assert snapshot.others_cpu == UNKNOWN
    assert snapshot.cpu_pressure.value == pytest.approx(0.025)
    assert snapshot.memory_available_mb.value == 2000.0
    assert snapshot.taken_s == 100.0


def test_others_use_what_is_busy_and_not_ours(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    machine.run(2.0, busy={0: 2.0, 1: 1.0}, own=1.0)
    reading = sensors.read().others_cpu
    assert reading.value == pytest.approx((3.0 - 1.0) / (2.0 * 4))
    assert reading.age_s == 0.0


@pytest.mark.parametrize("field", ["user", "nice", "system", "irq", "softirq", "steal"])
def test_every_kind_of_work_counts_as_busy(field: str, tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    machine.run(1.0, busy={0: 1.0}, field=field)
    assert sensors.read().others_cpu.value == pytest.approx(0.25)


@pytest.mark.parametrize("field", ["idle", "iowait"])
def test_waiting_does_not_count_as_busy(field: str, tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    machine.run(1.0, busy={0: 1.0}, field=field)
    assert sensors.read().others_cpu.value == 0.0


def test_only_the_cpus_we_may_run_on_count(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path, cpus=lambda: {2, 3})
    sensors.read()
    machine.run(1.0, busy={0: 1.0, 1: 1.0, 2: 0.5})
    assert sensors.read().others_cpu.value == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("others", "share"),
    [(0.0, 0.0), (2.0, 0.0), (2.5, 0.0), (3.25, 0.5), (4.0, 1.0)],
)
def test_under_a_quota_others_take_only_what_they_use_beyond_the_cpus_it_leaves_them(
    others: float, share: float, tmp_path: Path
) -> None:
    """The container may use 1.5 of 4 CPUs, so that others can keep 2.5 busy without taking any of them."""
    machine = Machine()
    sensors = _sensors(machine, write_tree(tmp_path, CONTAINER))
    sensors.read()
    machine.run(2.0, busy=dict.fromkeys(range(4), (others + 0.5) * 2.0 / 4), own=0.5 * 2.0)
    assert sensors.read().others_cpu.value == pytest.approx(share)


def test_a_quota_above_the_affinity_set_changes_nothing(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, write_tree(tmp_path, CONTAINER), cpus=lambda: {2})
    sensors.read()
    machine.run(1.0, busy={0: 1.0, 2: 0.25})
    assert sensors.read().others_cpu.value == pytest.approx(0.25)


def test_the_share_is_at_most_one(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, write_tree(tmp_path, CONTAINER))
    sensors.read()
    machine.run(1.0, busy=dict.fromkeys(range(4), 1.01))  # counters are rounded
    assert sensors.read().others_cpu.value == 1.0


def test_rounding_between_the_counters_is_no_negative_share(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    machine.run(1.0, busy={0: 1.0}, own=1.01)
    assert sensors.read().others_cpu.value == 0.0


def test_time_of_children_that_ended_is_ours(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    machine.run(1.0, busy={0: 1.0, 1: 1.0})
    machine.own.children_user += 0.5
    machine.own.children_system += 0.5
    assert sensors.read().others_cpu.value == pytest.approx(0.25)


def test_a_child_that_ends_with_more_than_the_interval_held_makes_one_reading_unknown(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    machine.run(1.0, busy={0: 1.0})
    machine.own.children_user += 60.0
    assert sensors.read().others_cpu == UNKNOWN
    machine.run(1.0, busy={0: 1.0})
    assert sensors.read().others_cpu.value == pytest.approx(0.25)


def test_a_read_too_soon_gives_the_last_share_with_its_age(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    machine.run(1.0, busy={0: 1.0})
    first = sensors.read().others_cpu
    machine.run(MINIMUM_INTERVAL_S / 2, busy={1: 0.05})
    second = sensors.read().others_cpu
    assert second.value == first.value
    assert second.age_s == pytest.approx(MINIMUM_INTERVAL_S / 2)


def test_short_steps_add_up_to_an_interval(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    known = []
    for _ in range(6):
        machine.run(MINIMUM_INTERVAL_S / 4, busy={0: MINIMUM_INTERVAL_S / 4})
        known.append(sensors.read().others_cpu.known)
    assert not any(known[:3])
    assert known[-1]


@pytest.mark.parametrize("step_s", [-50.0, math.nan], ids=["backwards", "nan"])
def test_a_clock_that_jumps_makes_the_share_unknown_once(step_s: float, tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    before = machine.now_s
    machine.now_s += step_s
    assert sensors.read().others_cpu == UNKNOWN
    machine.now_s = before + 1000.0
    sensors.read()
    machine.run(1.0, busy={0: 1.0})
    assert sensors.read().others_cpu.value == pytest.approx(0.25)


def test_another_set_of_cpus_starts_anew(tmp_path: Path) -> None:
    machine = Machine()
    sets = [{0, 1}, {0, 1}, {2, 3}, {2, 3}]  # the first one when the sensors are made
    sensors = _sensors(machine, tmp_path, cpus=lambda: sets.pop(0))
    shares = []
    for _ in range(3):
        shares.append(sensors.read().others_cpu.value)
        machine.run(1.0, busy={2: 1.0})
    assert shares == [None, None, pytest.approx(0.5)]


def test_a_container_that_numbers_its_cpus_anew_is_read_whole(tmp_path: Path) -> None:
    machine = Machine(cpus=2)
    sensors = _sensors(machine, tmp_path, cpus=lambda: {6, 7})
    sensors.read()
    machine.run(1.0, busy={0: 1.0})
    assert sensors.read().others_cpu.value == pytest.approx(0.5)


def test_cpus_that_the_counters_do_not_list_make_the_share_unknown(tmp_path: Path) -> None:
    machine = Machine(cpus=2)
    sensors = _sensors(machine, tmp_path, cpus=lambda: {5, 6, 7})
    sensors.read()
    machine.run(1.0, busy={0: 1.0})
    assert sensors.read().others_cpu == UNKNOWN


def _forbidden(*_: object, **__: object) -> Any:
    raise PermissionError(13, "Permission denied", "/proc/stat")


@pytest.mark.parametrize("error", [PermissionError(13, "no"), RuntimeError("odd"), AttributeError("gone")], ids=repr)
@pytest.mark.parametrize(
    ("broken", "lost"),
    [
        ("cpu_times", {"others_cpu"}),
        ("Process", {"others_cpu"}),
        ("virtual_memory", {"memory_available_mb"}),
        ("cpus", {"others_cpu"}),
        ("pressure", {"cpu_pressure"}),
    ],
)
def test_one_source_that_fails_loses_its_own_signal_alone(
    broken: str, lost: set[str], error: Exception, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise error

    machine = Machine()
    write_tree(tmp_path, LAPTOP)
    if broken == "pressure":  # opening a folder as a file fails for every user
        (tmp_path / "proc/pressure/cpu").unlink()
        (tmp_path / "proc/pressure/cpu").mkdir()
    if hasattr(machine, broken):
        setattr(machine, broken, fail)
    sensors = _sensors(machine, tmp_path, cpus=fail if broken == "cpus" else lambda: {0, 1, 2, 3})
    sensors.read()
    machine.run(1.0, busy={0: 1.0})
    snapshot = sensors.read()
    signals = {"others_cpu", "cpu_pressure", "memory_available_mb"}
    assert {name for name in signals if not getattr(snapshot, name).known} == lost


def test_a_source_that_recovers_is_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    machine.run(1.0, busy={0: 1.0})
    with monkeypatch.context() as patch:
        patch.setattr(machine, "cpu_times", _forbidden)
        assert sensors.read().others_cpu == UNKNOWN
    machine.run(1.0, busy={0: 1.0})
    assert sensors.read().others_cpu == UNKNOWN
    machine.run(1.0, busy={0: 1.0})
    assert sensors.read().others_cpu.value == pytest.approx(0.25)


def test_a_machine_without_psutil_and_proc_knows_nothing_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)  # makes `import psutil` fail
    machine = Machine()
    sensors = Sensors(clock=machine.clock, root=tmp_path)
    for _ in range(2):
        snapshot = sensors.read()
        machine.now_s += 1.0
        assert [snapshot.others_cpu, snapshot.cpu_pressure, snapshot.memory_available_mb] == [UNKNOWN] * 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e9])
def test_numbers_that_make_no_sense_are_unknown(value: float, tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, tmp_path)
    sensors.read()
    machine.run(1.0, busy={0: value})
    machine.available_bytes = value
    snapshot = sensors.read()
    assert snapshot.others_cpu == UNKNOWN
    assert snapshot.memory_available_mb == UNKNOWN


@pytest.mark.parametrize(
    "content",
    [
        "",
        "some",
        "some avg10",
        "some avg10=\n",
        "some avg10=nan",
        "some avg10=-1",
        "full avg10=1.0\n",
        "some avg60=1",
        "\0",
    ],
)
def test_pressure_that_cannot_be_read_is_unknown(content: str, tmp_path: Path) -> None:
    sensors = _sensors(Machine(), write_tree(tmp_path, {"proc/pressure/cpu": content}))
    assert sensors.read().cpu_pressure == UNKNOWN


def test_a_raspberry_pi_without_pressure_still_knows_the_rest(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, write_tree(tmp_path, RASPBERRY_PI))
    sensors.read()
    machine.run(1.0, busy={0: 2.0})
    snapshot = sensors.read()
    assert not snapshot.cpu_pressure.known
    assert snapshot.others_cpu.value == pytest.approx(0.5)
    assert snapshot.memory_available_mb.value == 2000.0


def test_memory_is_what_the_container_has_left_with_its_cached_files(tmp_path: Path) -> None:
    snapshot = _sensors(Machine(), write_tree(tmp_path, CONTAINER)).read()
    assert snapshot.memory_available_mb.value == pytest.approx(512 - 400 + 50)


def test_memory_of_an_old_container_counts_the_files_of_its_whole_group(tmp_path: Path) -> None:
    snapshot = _sensors(Machine(), write_tree(tmp_path, OLD_CONTAINER)).read()
    assert snapshot.memory_available_mb.value == pytest.approx(256 - 100 + 20)


def test_memory_is_the_machine_s_where_that_is_less_than_the_container_may_take(tmp_path: Path) -> None:
    machine = Machine()
    machine.available_bytes = 7e6
    assert _sensors(machine, write_tree(tmp_path, CONTAINER)).read().memory_available_mb.value == 7.0


def test_a_quota_that_changes_is_seen_after_a_while(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, write_tree(tmp_path, CONTAINER))
    sensors.read()
    write_tree(tmp_path, {"sys/fs/cgroup/cpu.max": "300000 100000\n"})
    machine.run(1.0, busy=dict.fromkeys(range(4), 3.25 / 4))
    assert sensors.read().others_cpu.value == pytest.approx(0.5)
    machine.run(LIMITS_LIFE_S, busy=dict.fromkeys(range(4), LIMITS_LIFE_S / 2))
    assert sensors.read().others_cpu.value == pytest.approx(1 / 3)


def test_this_machine_has_at_least_one_cpu_for_us() -> None:
    assert available_cpus()
    assert MINIMUM_CPUS <= effective_cpus() <= len(available_cpus())


def test_the_real_psutil_gives_a_share_and_memory() -> None:
    machine = Machine()  # for its clock: the share is computed without waiting
    sensors = Sensors(clock=machine.clock, source=psutil)
    sensors.read()
    machine.now_s += 1.0
    snapshot = sensors.read()
    assert snapshot.others_cpu.value is None or 0 <= snapshot.others_cpu.value <= 1
    assert snapshot.memory_available_mb.value is not None
    assert snapshot.memory_available_mb.value > 0


def test_threads_read_one_after_the_other(tmp_path: Path) -> None:
    machine = Machine()
    inside: list[int] = []
    together: list[int] = []

    def cpu_times(*, percpu: bool) -> list[SimpleNamespace]:
        inside.append(1)
        time.sleep(0.001)  # lets another thread in, were it allowed
        together.append(len(inside))
        inside.pop()
        return machine.rows

    def work() -> None:
        for _ in range(5):
            machine.now_s += 1.0
            sensors.read()

    machine.cpu_times = cpu_times  # type: ignore[method-assign]
    sensors = _sensors(machine, write_tree(tmp_path, LAPTOP))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together
    assert max(together) == 1


@pytest.mark.parametrize(
    ("cpus", "expected"), [(range(8), 1.5), ({3}, 1.0)], ids=["the quota is less", "the set is less"]
)
def test_effective_cpus_are_the_quota_or_the_affinity_set(
    cpus: range | set[int], expected: float, tmp_path: Path
) -> None:
    assert effective_cpus(root=write_tree(tmp_path, CONTAINER), cpus=cpus) == expected


FULL = {
    **CONTAINER,
    **zone(0, "cpu-thermal", 51000, passive=75),
    **policy(0, 600, 1500, "0 1 2 3"),
    **battery(capacity=80, status="Discharging", power_now=4_000_000),
    **rapl(5_000_000),
    FLAGS: "0",
    "proc/pressure/memory": "some avg10=1.00 total=1\n",
    "sys/fs/cgroup/cpu.stat": "nr_periods 10\nnr_throttled 5\n",
}
"""A device that has every sensor."""


def _twice(root: Path, machine: Machine) -> Snapshot:
    sensors = Sensors(
        clock=machine.clock, root=root, source=machine, cpus=lambda: {0, 1, 2, 3}, cpu_seconds=lambda: 1.0
    )
    sensors.read()
    machine.run(1.0, busy={0: 1.0})
    return sensors.read()


def _unknown(snapshot: Snapshot) -> set[str]:
    return {name for name, value in vars(snapshot).items() if value == UNKNOWN}


def test_a_device_with_every_sensor_knows_every_signal(tmp_path: Path) -> None:
    snapshot = _twice(write_tree(tmp_path, FULL), Machine())
    assert _unknown(snapshot) == set()
    assert snapshot.memory_pressure.value == pytest.approx(0.01)
    assert snapshot.cgroup_headroom_mb.value == pytest.approx(162.0)
    assert snapshot.quota_stalls.value == 0.0
    assert snapshot.frequency.value == pytest.approx(0.4)
    assert (snapshot.temperature_c.value, snapshot.temperature_limit_c.value) == (51.0, 75.0)
    assert (snapshot.throttled.value, snapshot.battery.value, snapshot.plugged.value) == (0.0, 0.8, 0.0)
    assert [energy.kind for energy in snapshot.energies] == ["rapl", "fuel_gauge", "cpu"]


def test_the_battery_is_asked_seldom_and_says_how_old_it_is(tmp_path: Path) -> None:
    machine = Machine()
    sensors = _sensors(machine, write_tree(tmp_path, FULL))
    sensors.read()
    write_tree(tmp_path, battery(capacity=10, status="Discharging"))
    machine.now_s += 0.5
    reading = sensors.read().battery
    assert (reading.value, reading.age_s) == (0.8, 0.5)
    machine.now_s += 0.5
    reading = sensors.read().battery
    assert (reading.value, reading.age_s) == (0.1, 0.0)


def _break(path: Path, how: str) -> None:
    path.unlink()
    if how == "directory":
        path.mkdir()
    elif how == "loop":
        path.symlink_to(path)
    elif how != "missing":
        path.write_bytes({"huge": b"9" * 70_000, "bytes": b"\xff\x00\xfe"}.get(how, how.encode()))


@pytest.mark.parametrize(
    "how", ["missing", "directory", "loop", "huge", "bytes", "", "nan", "-1", "inf", "some avg10=nan", "0x", "9" * 400]
)
@pytest.mark.parametrize("name", sorted(FULL))
def test_no_file_makes_a_read_raise_or_give_a_number_that_is_none(name: str, how: str, tmp_path: Path) -> None:
    """Broken before the sensors are made, and broken between two reads."""
    write_tree(tmp_path, FULL)
    early = _sensors(Machine(), tmp_path)
    early.read()
    _break(tmp_path / name, how)
    for snapshot in (early.read(), _twice(tmp_path, Machine())):
        for value in vars(snapshot).values():
            assert value == UNKNOWN or not hasattr(value, "known") or math.isfinite(value.value)
        assert all(math.isfinite(energy.spent) and energy.spent >= 0 for energy in snapshot.energies)


def test_when_every_file_is_gone_everything_of_the_files_is_unknown(tmp_path: Path) -> None:
    assert _unknown(_twice(tmp_path, Machine())) == set(vars(_twice(tmp_path, Machine()))) - {
        "others_cpu",
        "memory_available_mb",
        "taken_s",
        "energies",
    }
