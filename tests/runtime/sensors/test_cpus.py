"""Control groups that are written to disk, in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearshift.runtime.sensors.cpus import MINIMUM_CPUS, find_cgroup
from tests.device_profiles import CONTAINER, LAPTOP, OLD_CONTAINER, RASPBERRY_PI, write_tree


def effective_cpus(root: Path, cpus: int = 8) -> float:
    return find_cgroup(root).limits().effective_cpus(cpus)


@pytest.mark.parametrize(
    ("files", "expected"),
    [({}, 8.0), (LAPTOP, 8.0), (RASPBERRY_PI, 8.0), (CONTAINER, 1.5), (OLD_CONTAINER, 2.0)],
    ids=["bare", "laptop", "pi", "container", "old container"],
)
def test_effective_cpus_are_the_affinity_set_or_the_quota(
    files: dict[str, str], expected: float, tmp_path: Path
) -> None:
    assert effective_cpus(write_tree(tmp_path, files)) == expected


def test_an_affinity_set_smaller_than_the_quota_decides(tmp_path: Path) -> None:
    assert effective_cpus(write_tree(tmp_path, CONTAINER), cpus=1) == 1.0


def test_the_tightest_of_the_groups_around_us_decides(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/cpu.max": "50000 100000",
        "sys/fs/cgroup/a/b/cpu.max": "300000 100000",
    }
    assert effective_cpus(write_tree(tmp_path, files)) == 0.5


def test_version_two_is_found_beside_version_one(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "2:cpuset:/\n0::/a\n",
        "sys/fs/cgroup/unified/a/cpu.max": "50000 100000",
    }
    assert effective_cpus(write_tree(tmp_path, files)) == 0.5


def test_a_quota_of_nearly_nothing_is_the_minimum(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu.max": "1 1000000"}
    assert effective_cpus(write_tree(tmp_path, files)) == MINIMUM_CPUS


@pytest.mark.parametrize("content", ["", "max", "max 100000", "-1 100000", "1 0", "a b", "1 2 3", "\0"])
def test_a_quota_that_says_nothing_limits_nothing(content: str, tmp_path: Path) -> None:
    assert effective_cpus(write_tree(tmp_path, {"sys/fs/cgroup/cpu.max": content})) == 8.0


@pytest.mark.parametrize("line", ["", ":", "::", "0::/..", "0::/../../x", "x", "1:cpu", "0::/a:b"])
def test_a_strange_list_of_groups_raises_nothing(line: str, tmp_path: Path) -> None:
    assert find_cgroup(write_tree(tmp_path, {"proc/self/cgroup": line})).limits().cpu_quota is None


@pytest.mark.parametrize("limit", ["max", "9223372036854771712"])
def test_memory_without_a_limit_has_none(limit: str, tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory.current": "1"}
    assert find_cgroup(write_tree(tmp_path, files)).limits().memory_limit_bytes() is None


@pytest.mark.parametrize(
    ("files", "limit", "headroom"),
    [(LAPTOP, None, None), (CONTAINER, 512e6, 162e6), (OLD_CONTAINER, 256e6, 176e6)],
    ids=["laptop", "container", "old container"],
)
def test_what_memory_is_left_counts_cached_files_as_free(
    files: dict[str, str], limit: float | None, headroom: float | None, tmp_path: Path
) -> None:
    limits = find_cgroup(write_tree(tmp_path, files)).limits()
    assert limits.memory_limit_bytes() == limit
    assert limits.memory_headroom_bytes() == headroom


def test_a_limit_whose_use_cannot_be_read_leaves_no_headroom_to_tell(tmp_path: Path) -> None:
    limits = find_cgroup(write_tree(tmp_path, {"sys/fs/cgroup/memory.max": "512000000"})).limits()
    assert limits.memory_limit_bytes() == 512e6
    assert limits.memory_headroom_bytes() is None
