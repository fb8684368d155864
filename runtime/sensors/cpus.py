"""Limits of our control group on CPUs and memory, as a container or a service has them; and the CPUs we may use.

Cgroup versions 1 and 2 (Linux, Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst). Nothing here raises: a file
that is missing, forbidden or makes no sense sets no limit.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from gearshift.cpus import available_cpus

MINIMUM_CPUS = 0.01
"""Lower bound of `Limits.effective_cpus`: the smallest quota in use is a hundredth of a CPU."""

_NO_LIMIT_BYTES = 2**60
"""Bytes from which on a limit counts as none: cgroup v1 writes a number near 2^63 if memory has no limit."""


@dataclass(frozen=True)
class Limits:
    """Limits of our control group and of the groups around it."""

    cpu_quota: float | None
    """Quota in CPUs of the tightest group; None without a limit."""
    memory: tuple[tuple[Path, float], ...]
    """Directory and limit in bytes of every group that has a memory limit."""

    def effective_cpus(self, cpus: int) -> float:
        """Return the number of CPUs, at most `cpus`, that we can keep busy."""
        return max(float(cpus) if self.cpu_quota is None else min(float(cpus), self.cpu_quota), MINIMUM_CPUS)

    def memory_limit_bytes(self) -> float | None:
        """Return the bytes that the tightest group allows; None without a limit."""
        return min((limit for _, limit in self.memory), default=None)

    def memory_headroom_bytes(self) -> float | None:
        """Return the bytes left now below the limits; None without a limit. Cached files count as free."""
        left = (_memory_headroom(directory, limit) for directory, limit in self.memory)
        return min((headroom for headroom in left if headroom is not None), default=None)


@dataclass(frozen=True)
class Cgroup:
    """Directories that hold the limits of our control group and of the groups around it."""

    cpu: tuple[Path, ...]
    """Directories with `cpu.max` (v2) or `cpu.cfs_quota_us` (v1)."""
    memory: tuple[Path, ...]
    """Directories with `memory.max` (v2) or `memory.limit_in_bytes` (v1)."""

    def limits(self) -> Limits:
        """Read the limits as they are now; a file that cannot be read sets none."""
        quotas = (quota for quota in map(_cpu_quota, self.cpu) if quota is not None)
        limits = ((directory, _memory_limit(directory)) for directory in self.memory)
        return Limits(
            cpu_quota=min(quotas, default=None),
            memory=tuple((directory, limit) for directory, limit in limits if limit is not None),
        )


def find_cgroup(root: Path) -> Cgroup:
    """Find our control group, from the innermost directory outwards; versions 1, 2 and both at once."""
    return Cgroup(
        cpu=tuple(_directories(root, "cpu", ("cpu.max", "cpu.cfs_quota_us"))),
        memory=tuple(_directories(root, "memory", ("memory.max", "memory.limit_in_bytes"))),
    )


def _directories(root: Path, controller: str, files: tuple[str, ...]) -> Iterator[Path]:
    base = root / "sys/fs/cgroup"
    for line in (read_text(root / "proc/self/cgroup") or "0::/").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        # Version 2 has one tree, beside the others ("unified") if both are mounted.
        mounts = dict.fromkeys([base / controllers, base / controller] if controllers else [base, base / "unified"])
        # Inside a container the path may be the host's: then only its upper part exists here.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                directory = mount.joinpath(*parts[:depth])
                if any(read_text(directory / file) for file in files):
                    yield directory


def read_text(path: Path) -> str:
    """Read a file, up to 64 KiB; empty if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)  # half the time of Path.read_text, and sensors read often
        try:
            return os.read(descriptor, 2**16).decode(errors="replace")
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return ""


def _numbers(directory: Path, *files: str) -> list[float]:
    """Return all numbers in the files, in order; a word such as `max` is left out."""
    words = " ".join(read_text(directory / file) for file in files).split()
    return [float(word) for word in words if word.lstrip("-").isdecimal()]


def _cpu_quota(directory: Path) -> float | None:
    """Return the quota in CPUs: microseconds of CPU time / microseconds of the period; None without a limit."""
    numbers = _numbers(directory, "cpu.max") or _numbers(directory, "cpu.cfs_quota_us", "cpu.cfs_period_us")
    if len(numbers) != 2 or min(numbers) <= 0:  # "max 100000" in version 2, -1 in version 1: no limit
        return None
    return numbers[0] / numbers[1]


def _memory_limit(directory: Path) -> float | None:
    numbers = _numbers(directory, "memory.max") or _numbers(directory, "memory.limit_in_bytes")
    return numbers[0] if numbers and 0 <= numbers[0] < _NO_LIMIT_BYTES else None


def _memory_headroom(directory: Path, limit: float) -> float | None:
    used = _numbers(directory, "memory.current") or _numbers(directory, "memory.usage_in_bytes")
    if not used or not 0 <= used[0] < _NO_LIMIT_BYTES:
        return None
    stat = dict(line.split(" ", 1) for line in read_text(directory / "memory.stat").splitlines() if " " in line)
    cached = stat.get("total_inactive_file", stat.get("inactive_file", "0")).strip()
    return min(max(limit - used[0] + (float(cached) if cached.isdecimal() else 0.0), 0.0), limit)


def effective_cpus(*, root: Path = Path("/"), cpus: Collection[int] | None = None) -> float:
    """Return the number of CPUs that we can keep busy: the size of our affinity set, or the cgroup's quota if less."""
    return find_cgroup(root).limits().effective_cpus(len(available_cpus() if cpus is None else cpus))
