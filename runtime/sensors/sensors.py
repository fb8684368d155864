"""Sensors of the machine's present state. Every signal is optional: a value with its age, or unknown.

Nothing here raises: a missing file, a forbidden one (Android forbids /proc/stat), a package that does not import or a
number that makes no sense all make the signal unknown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from gearshift.cpus import available_cpus
from gearshift.runtime.sensors.cpus import Limits, find_cgroup
from gearshift.runtime.sensors.others_cpu import OthersUse
from gearshift.runtime.sensors.power import Battery, EnergyMeter, read_battery
from gearshift.runtime.sensors.pressure import QuotaStalls, stall_share
from gearshift.runtime.sensors.psutil_source import load_psutil
from gearshift.runtime.sensors.snapshot import UNKNOWN, Reading, Snapshot, reading
from gearshift.runtime.sensors.thermal import (
    COLDEST_C,
    HOTTEST_C,
    Throttling,
    Zone,
    find_policies,
    find_zones,
    frequency_share,
    nearest_to_limit,
)

LIMITS_LIFE_S = 5.0
"""Seconds for which the limits of the cgroup are cached: they seldom change, and reading them costs the most."""

BATTERY_LIFE_S = 1.0
"""Seconds for which the battery is cached: some laptops take milliseconds to report its charge."""


class Sensors:
    """All sensors of one engine; safe to use from several threads.

    `source`: the module psutil, or a stand-in with its `cpu_times`, `virtual_memory`, `Process` and `sensors_battery`.
    `cpus`: function that returns the CPUs we may run on.
    `root`: directory of /proc, /sys and /dev.
    `cpu_seconds`: function that returns the CPU time of our process.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        root: Path = Path("/"),
        source: Any = None,
        cpus: Callable[[], Collection[int]] | None = None,
        cpu_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock = clock
        self._root = root
        self._source = source
        self._cpus = cpus or available_cpus
        self._cgroup = find_cgroup(root)
        self._limits: Limits | None = None
        self._limits_read_s = 0.0
        self._battery: Battery | None = None
        self._battery_read_s: float | None = None
        self._others = OthersUse(self._loaded_source, self._cpus)
        self._quota_stalls = QuotaStalls(self._cgroup)
        ours = self._known_cpus()
        self._zones: tuple[Zone, ...] = find_zones(root)
        self._policies = find_policies(root, ours)
        self._throttling = Throttling(root, ours)
        self._meter = EnergyMeter(root, cpu_seconds=cpu_seconds)
        self._lock = threading.Lock()

    @property
    def clock(self) -> Callable[[], float]:
        """Clock in seconds that `taken_s` of the snapshots is read from."""
        return self._clock

    def read(self) -> Snapshot:
        """Read all signals now. The first read has no `others_cpu`, which is a difference of two."""
        with self._lock:
            now = self._clock()
            limits = self._current_limits(now)
            temperature_c, limit_c = self._read_temperature()
            battery, plugged = self._read_battery(now)
            return Snapshot(
                others_cpu=self._others.read(now, limits.effective_cpus),
                cpu_pressure=reading(lambda: stall_share(self._root, "cpu")),
                memory_available_mb=reading(lambda: self._memory_available_mb(limits)),
                taken_s=now,
                memory_pressure=reading(lambda: stall_share(self._root, "memory")),
                cgroup_headroom_mb=_headroom_mb(limits),
                quota_stalls=reading(self._quota_stalls.share),
                frequency=reading(lambda: frequency_share(self._policies)),
                temperature_c=temperature_c,
                temperature_limit_c=limit_c,
                throttled=reading(self._throttling.now),
                battery=battery,
                plugged=plugged,
                energies=self._meter.read(now),
            )

    def _current_limits(self, now: float) -> Limits:
        if self._limits is None or not 0 <= now - self._limits_read_s < LIMITS_LIFE_S:
            self._limits, self._limits_read_s = self._cgroup.limits(), now
        return self._limits

    def _memory_available_mb(self, limits: Limits) -> float:
        available = float(self._loaded_source().virtual_memory().available)
        headroom = limits.memory_headroom_bytes()
        return (available if headroom is None else min(available, headroom)) / 1e6

    def _read_temperature(self) -> tuple[Reading, Reading]:
        found = nearest_to_limit(self._zones)
        if found is None:
            return UNKNOWN, UNKNOWN
        temperature_c, limit_c = found
        return reading(lambda: temperature_c, least=COLDEST_C, most=HOTTEST_C), reading(lambda: limit_c)

    def _read_battery(self, now: float) -> tuple[Reading, Reading]:
        if self._battery_read_s is None or not 0 <= now - self._battery_read_s < BATTERY_LIFE_S:
            self._battery, self._battery_read_s = read_battery(self._root, self._loaded_source), now
        if self._battery is None:
            return UNKNOWN, UNKNOWN
        age_s, plugged = now - self._battery_read_s, self._battery.plugged
        return Reading(self._battery.share, age_s), UNKNOWN if plugged is None else Reading(float(plugged), age_s)

    def _known_cpus(self) -> Collection[int]:
        try:
            return self._cpus()
        except Exception:
            return ()

    def _loaded_source(self) -> Any:
        if self._source is None:
            self._source = load_psutil()
        return self._source


def _headroom_mb(limits: Limits) -> Reading:
    headroom = limits.memory_headroom_bytes()
    return UNKNOWN if headroom is None else reading(lambda: headroom / 1e6)
