"""Heat, clock and throttling, from files written to disk."""

import struct
from pathlib import Path

import pytest

from gearshift.runtime.sensors.snapshot import UNKNOWN, reading
from gearshift.runtime.sensors.thermal import (
    MOST_CPUS,
    USUAL_LIMIT_C,
    X86_LIMIT_C,
    Throttling,
    find_policies,
    find_zones,
    frequency_share,
    nearest_to_limit,
)
from tests.device_profiles import write_tree

FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"
COUNTERS = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"


def zone(number: int, kind: str, degrees: object, **trips: int) -> dict[str, str]:
    """A thermal zone; trips by kind in degrees."""
    base = f"sys/class/thermal/thermal_zone{number}"
    files = {f"{base}/type": f"{kind}\n", f"{base}/temp": f"{degrees}\n"}
    for index, (trip, point) in enumerate(trips.items()):
        files[f"{base}/trip_point_{index}_type"] = f"{trip}\n"
        files[f"{base}/trip_point_{index}_temp"] = f"{point * 1000}\n"
    return files


def policy(number: int, now: object, most: object, related: str | None = None) -> dict[str, str]:
    """A frequency policy, in kHz."""
    base = f"sys/devices/system/cpu/cpufreq/policy{number}"
    return {
        f"{base}/scaling_cur_freq": f"{now}\n",
        f"{base}/cpuinfo_max_freq": f"{most}\n",
        f"{base}/related_cpus": f"{number if related is None else related}\n",
    }


@pytest.mark.parametrize(
    ("kind", "trips", "limit"),
    [
        ("cpu-thermal", {"passive": 75, "critical": 110}, 75.0),
        ("cpu-thermal", {"critical": 110}, USUAL_LIMIT_C),
        ("cpu-thermal", {"critical": 85}, 75.0),
        ("cpu-thermal", {"hot": 90, "passive": 85}, 85.0),
        ("cpu-thermal", {"passive": 0}, USUAL_LIMIT_C),
        ("cpu-thermal", {}, USUAL_LIMIT_C),
        ("x86_pkg_temp", {}, X86_LIMIT_C),
        ("acpitz", {"passive": 60}, 60.0),
    ],
)
def test_the_limit_is_where_the_kernel_slows_down_or_what_is_usual(
    kind: str, trips: dict[str, int], limit: float, tmp_path: Path
) -> None:
    zones = find_zones(write_tree(tmp_path, zone(0, kind, 51500, **trips)))
    assert nearest_to_limit(zones) == (51.5, limit)


def test_the_zone_with_the_least_left_counts_and_those_of_other_parts_do_not(tmp_path: Path) -> None:
    files = {
        **zone(0, "cpu-big", 70000, passive=95),
        **zone(1, "cpu-little", 65000, passive=70),
        **zone(2, "battery", 99000, passive=45),
        **zone(3, "acpitz", 99000),
    }
    assert nearest_to_limit(find_zones(write_tree(tmp_path, files))) == (65.0, 70.0)


def test_a_machine_without_zones_is_asked_for_its_monitor(tmp_path: Path) -> None:
    base = "sys/class/hwmon/hwmon1"
    files = {f"{base}/name": "k10temp\n", f"{base}/temp1_input": "61000\n", f"{base}/temp1_crit": "95000\n"}
    assert nearest_to_limit(find_zones(write_tree(tmp_path, files))) == (61.0, 85.0)


@pytest.mark.parametrize("degrees", ["", "nan", "inf", "-300000", "9" * 30, "9" * 5000, "warm", "\0", "-\n1"])
def test_a_temperature_that_makes_no_sense_is_none(degrees: str, tmp_path: Path) -> None:
    assert nearest_to_limit(find_zones(write_tree(tmp_path, zone(0, "cpu-thermal", degrees)))) is None


def test_a_zone_that_is_lost_or_a_folder_is_none(tmp_path: Path) -> None:
    zones = find_zones(write_tree(tmp_path, zone(0, "cpu-thermal", 50000)))
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").unlink()
    assert nearest_to_limit(zones) is None
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").mkdir()
    assert nearest_to_limit(zones) is None


def test_frequency_is_the_mean_share_over_our_policies(tmp_path: Path) -> None:
    files = {**policy(0, 600, 1500, "0 1 2 3"), **policy(4, 1000, 2000, "4 5"), **policy(6, 1, 3000, "6 7")}
    policies = find_policies(write_tree(tmp_path, files), {1, 2, 5})
    assert len(policies) == 2
    assert frequency_share(policies) == pytest.approx((0.4 + 0.5) / 2)


def test_many_cpus_cost_no_more_than_a_few(tmp_path: Path) -> None:
    files = {name: text for cpu in range(16) for name, text in policy(cpu, 1000, 2000).items()}
    assert len(find_policies(write_tree(tmp_path, files), range(16))) == MOST_CPUS


def test_a_boost_above_the_highest_clock_is_all_of_it(tmp_path: Path) -> None:
    assert frequency_share(find_policies(write_tree(tmp_path, policy(0, 2100, 2000)), {0})) == 1.0


@pytest.mark.parametrize(("now", "most"), [("", 2000), (1000, 0), ("nan", 2000), (-5, 2000), (1000, "<unknown>")])
def test_a_frequency_that_makes_no_sense_is_unknown(now: object, most: object, tmp_path: Path) -> None:
    policies = find_policies(write_tree(tmp_path, policy(0, now, most)), {0})
    assert reading(lambda: frequency_share(policies)) == UNKNOWN


@pytest.mark.parametrize(
    ("flags", "now"),
    [
        ("0", 0.0),
        ("0x0", 0.0),
        ("50000", 0.0),
        ("f0000", 0.0),
        ("1", 1.0),
        ("50002", 1.0),
        ("0x50004", 1.0),
        ("8", 1.0),
    ],
)
def test_the_firmware_s_flags_of_now_count_and_those_of_before_do_not(flags: str, now: float, tmp_path: Path) -> None:
    assert Throttling(write_tree(tmp_path, {FLAGS: flags + "\n"}), {0}).now() == now


@pytest.mark.parametrize("flags", ["", "xyz", "-1", "123456789abcdef", "\0"])
def test_flags_that_make_no_sense_are_unknown(flags: str, tmp_path: Path) -> None:
    assert reading(Throttling(write_tree(tmp_path, {FLAGS: flags}), {0}).now) == UNKNOWN


@pytest.mark.parametrize(("answer", "now"), [(0x50005, 1.0), (0x50000, 0.0)])
def test_the_mailbox_is_asked_where_there_is_no_file(answer: int, now: float, tmp_path: Path) -> None:
    write_tree(tmp_path, {"dev/vcio": ""})
    assert Throttling(tmp_path, {0}, mailbox=lambda device: answer).now() == now


def test_a_mailbox_that_is_none_is_unknown(tmp_path: Path) -> None:
    assert reading(Throttling(write_tree(tmp_path, {"dev/vcio": "a plain file"}), {0}).now) == UNKNOWN


def test_the_mailbox_gets_the_request_that_the_firmware_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def ioctl(file: object, code: int, request: bytearray, mutate: bool) -> int:
        assert code in (0xC0086400, 0xC0046400)  # by the size of a pointer
        assert struct.unpack("=7I", request) == (28, 0, 0x00030046, 4, 0, 0, 0)
        request[:] = struct.pack("=7I", 28, 0x80000000, 0x00030046, 4, 0x80000004, 0x50004, 0)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert Throttling(write_tree(tmp_path, {"dev/vcio": ""}), {0}).now() == 1.0


def test_counters_tell_from_the_second_look_on(tmp_path: Path) -> None:
    throttling = Throttling(write_tree(tmp_path, {COUNTERS: "5\n"}), {0})
    assert reading(throttling.now) == UNKNOWN
    assert throttling.now() == 0.0
    write_tree(tmp_path, {COUNTERS: "6\n"})
    assert throttling.now() == 1.0
    assert throttling.now() == 0.0
