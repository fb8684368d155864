"""What the machine is doing now. Every signal is optional: a value with its age, or unknown.

Nothing here raises: a missing file, a forbidden one (Android forbids /proc/stat), a package that does not
import or a number that makes no sense all mean that the signal is unknown.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gearshift.runtime.cgroup import Limits, find_cgroup, read_text

MINIMUM_INTERVAL_S = 0.1
"""Kernels count CPU time in ticks of up to 10 ms: over less than ten of them a share is mostly rounding."""

LIMITS_LIFE_S = 5.0
"""How long the limits of the cgroup are kept: they seldom change, and reading them costs the most."""


@dataclass(frozen=True)
class Reading:
    """One signal: its value and how old that is, or both None where it is unknown."""

    value: float | None = None
    age_s: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


UNKNOWN = Reading()


@dataclass(frozen=True)
class Snapshot:
    """All signals of one moment."""

    others_cpu: Reading
    """Share of our effective CPUs, 0 to 1, that processes other than ours take from us."""
    cpu_pressure: Reading
    """Share of the last 10 s, 0 to 1, that some process of the machine, even ours, waited for a CPU."""
    memory_available_mb: Reading
    """What we can still take without swapping, in 10^6 bytes: the least of machine and cgroup."""
    taken_s: float
    """When this was read, on the clock of the `Sensors`."""


class Sensors:
    """Reads the signals; one per engine, safe to call from several threads.

    `source` is the module psutil or a stand-in with its `cpu_times`, `virtual_memory` and `Process`;
    `cpus` gives the CPUs we may run on; `root` is where /proc and /sys are.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        root: Path = Path("/"),
        source: Any = None,
        cpus: Callable[[], Collection[int]] | None = None,
    ) -> None:
        self._clock = clock
        self._root = root
        self._source = source
        self._cpus = cpus or available_cpus
        self._cgroup = find_cgroup(root)
        self._limits: Limits | None = None
        self._limits_read_s = 0.0
        self._process: Any = None
        self._lock = threading.Lock()
        self._before: _Counters | None = None
        self._others: tuple[float, float] | None = None
        """The last share, and when it was computed."""

    def read(self) -> Snapshot:
        """The signals now. The first read knows no `others_cpu`: it takes two to see a difference."""
        with self._lock:
            now = self._clock()
            limits = self._current_limits(now)
            return Snapshot(
                others_cpu=self._read_others(now, limits),
                cpu_pressure=_reading(lambda: _pressure(self._root)),
                memory_available_mb=_reading(lambda: self._memory_available_mb(limits)),
                taken_s=now,
            )

    def _current_limits(self, now: float) -> Limits:
        if self._limits is None or not 0 <= now - self._limits_read_s < LIMITS_LIFE_S:
            self._limits, self._limits_read_s = self._cgroup.limits(), now
        return self._limits

    def _read_others(self, now: float, limits: Limits) -> Reading:
        elapsed = math.inf if self._before is None else now - self._before.time_s
        if not 0 <= elapsed < MINIMUM_INTERVAL_S:
            before, self._before, self._others = self._before, None, None
            try:
                self._before = self._count(now, limits)
                share = others_share(before, self._before) if before else None
                self._others = None if share is None else (share, now)
            except Exception:
                return UNKNOWN
        if self._others is None:
            return UNKNOWN
        share, computed_s = self._others
        return Reading(share, now - computed_s)

    def _count(self, now: float, limits: Limits) -> _Counters:
        cpus = frozenset(self._cpus())
        source = self._loaded_source()
        rows = source.cpu_times(percpu=True)
        # A container may number its CPUs anew; then the rows are ours already.
        picked = [rows[cpu] for cpu in sorted(cpus)] if max(cpus) < len(rows) else rows
        if len(picked) != len(cpus):
            raise ValueError(f"{len(rows)} rows of CPU times for the CPUs {sorted(cpus)}")
        self._process = self._process or source.Process()
        own = self._process.cpu_times()
        return _Counters(
            time_s=now,
            cpus=cpus,
            effective=limits.effective_cpus(len(cpus)),
            busy_s=sum(_busy_s(row) for row in picked),
            own_s=own.user + own.system + getattr(own, "children_user", 0) + getattr(own, "children_system", 0),
        )

    def _memory_available_mb(self, limits: Limits) -> float:
        available = float(self._loaded_source().virtual_memory().available)
        headroom = limits.memory_headroom_bytes()
        return (available if headroom is None else min(available, headroom)) / 1e6

    def _loaded_source(self) -> Any:
        if self._source is None:
            import psutil  # not at the top: some versions fail on import where /proc is closed

            self._source = psutil
        return self._source


@dataclass(frozen=True)
class _Counters:
    """CPU time at one moment; only differences mean something."""

    time_s: float
    cpus: frozenset[int]
    effective: float
    busy_s: float
    """Of all processes, over our CPUs."""
    own_s: float
    """Of this process, and of its children that ended."""


def others_share(before: _Counters, after: _Counters) -> float | None:
    """Share of our effective CPUs that others took from us between the two, or None where that cannot be told.

    With busy and own in CPUs: (busy - own - (allowed - effective)) / effective, from 0 to 1. Where a quota
    lies below the CPUs of our affinity set, others can use the rest of the set without taking anything.
    A child counts as another process until it ends, when all its time joins ours at once; an interval in
    which that exceeds the busy time tells nothing.
    """
    elapsed = after.time_s - before.time_s
    busy, own = after.busy_s - before.busy_s, after.own_s - before.own_s
    if elapsed <= 0 or before.cpus != after.cpus or busy < 0 or own < 0:
        return None
    # System and process counters are rounded apart: by up to a 10 ms tick per CPU.
    if own > busy + 0.02 * len(after.cpus):
        return None
    spare = len(after.cpus) - after.effective
    share = ((busy - own) / elapsed - spare) / after.effective
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else None


def _busy_s(row: Any) -> float:
    """Time one CPU was not free for us. Steal is another machine's use of it; user holds guest already."""
    fields = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(row, field, 0.0) for field in fields))


def _reading(read: Callable[[], float]) -> Reading:
    try:
        value = read()
    except Exception:
        return UNKNOWN
    return Reading(value, 0.0) if math.isfinite(value) and value >= 0 else UNKNOWN


def _pressure(root: Path) -> float:
    """`some avg10` of /proc/pressure/cpu, as a share (Linux, Documentation/accounting/psi.rst)."""
    for line in read_text(root / "proc/pressure/cpu").splitlines():
        kind, *fields = line.split()
        values = dict(field.split("=", 1) for field in fields)
        if kind == "some":
            return min(float(values["avg10"]) / 100, 1.0)
    raise ValueError("no line 'some'")


def available_cpus() -> frozenset[int]:
    """The CPUs that this process may be scheduled on; all of them where the system keeps no such set."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return frozenset(range(os.cpu_count() or 1))


def effective_cpus(*, root: Path = Path("/"), cpus: Collection[int] | None = None) -> float:
    """How many CPUs we can keep busy: those of our affinity set, or the cgroup's quota where it is less."""
    return find_cgroup(root).limits().effective_cpus(len(available_cpus() if cpus is None else cpus))


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM, or None where that is unknown."""
    try:
        import psutil

        return int(psutil.Process().memory_info().rss)
    except Exception:
        return None
