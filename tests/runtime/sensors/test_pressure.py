"""Waiting for CPUs, memory and quota, from files written to disk."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearshift.runtime.sensors.cpus import find_cgroup
from gearshift.runtime.sensors.pressure import QuotaStalls, stall_share
from gearshift.runtime.sensors.snapshot import UNKNOWN, Reading, reading
from tests.device_profiles import CONTAINER, write_tree

STAT = "sys/fs/cgroup/cpu.stat"


def _stat(root: Path, periods: int, stalled: int) -> None:
    write_tree(root, {STAT: f"usage_usec 5\nnr_periods {periods}\nnr_throttled {stalled}\nthrottled_usec 7\n"})


def test_pressure_is_the_share_of_the_last_ten_seconds(tmp_path: Path) -> None:
    write_tree(tmp_path, {"proc/pressure/memory": "some avg10=12.50 avg60=1.00\nfull avg10=99.00 avg60=0.00\n"})
    assert stall_share(tmp_path, "memory") == pytest.approx(0.125)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(max_size=80) | st.text(alphabet="some avg10=.-+einfna%0123456789\n", max_size=60).map(str.encode))
def test_no_file_makes_a_reading_raise_or_leave_its_range(tmp_path: Path, content: bytes) -> None:
    write_tree(tmp_path, {"proc/pressure/memory": ""})
    (tmp_path / "proc/pressure/memory").write_bytes(content)
    found = reading(lambda: stall_share(tmp_path, "memory"))
    assert found == UNKNOWN or (found.value is not None and 0 <= found.value <= 1)


def test_stalls_are_the_share_of_the_periods_since_the_last_read(tmp_path: Path) -> None:
    write_tree(tmp_path, CONTAINER)
    stalls = QuotaStalls(find_cgroup(tmp_path))
    _stat(tmp_path, 100, 10)
    assert reading(stalls.share) == UNKNOWN
    _stat(tmp_path, 120, 15)
    assert stalls.share() == pytest.approx(0.25)
    assert stalls.share() == 0.0


@pytest.mark.parametrize("after", [(50, 10), (120, 5)], ids=["periods", "stalled"])
def test_counters_that_go_back_are_unknown_once(after: tuple[int, int], tmp_path: Path) -> None:
    write_tree(tmp_path, CONTAINER)
    stalls = QuotaStalls(find_cgroup(tmp_path))
    _stat(tmp_path, 100, 10)
    reading(stalls.share)
    _stat(tmp_path, *after)
    assert reading(stalls.share) == UNKNOWN
    _stat(tmp_path, after[0] + 10, after[1] + 5)
    assert stalls.share() == pytest.approx(0.5)


@pytest.mark.parametrize("content", ["", "nr_periods\n", "nr_periods x\nnr_throttled 1\n", "nr_periods 5\n", "\0"])
def test_a_group_that_does_not_count_is_unknown(content: str, tmp_path: Path) -> None:
    write_tree(tmp_path, {**CONTAINER, STAT: content})
    stalls = QuotaStalls(find_cgroup(tmp_path))
    assert [reading(stalls.share), reading(stalls.share)] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, Reading(0.0, 0.0)), (-0.1, UNKNOWN), (float("nan"), UNKNOWN), (float("inf"), UNKNOWN), (10**400, UNKNOWN)],
)
def test_a_reading_is_a_finite_number_in_its_range(value: float, expected: Reading) -> None:
    assert reading(lambda: value) == expected
