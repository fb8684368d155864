"""Readings of the signals of a machine: each a value with its age, or unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gearshift.runtime.sensors.power import Energy


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


def reading(read: Callable[[], float], *, least: float = 0.0, most: float = math.inf) -> Reading:
    """What `read` gives now; unknown where it raises, or gives no finite number from `least` to `most`."""
    try:
        value = float(read())
    except Exception:
        return UNKNOWN
    return Reading(value, 0.0) if math.isfinite(value) and least <= value <= most else UNKNOWN


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
    memory_pressure: Reading = UNKNOWN
    """Share of the last 10 s, 0 to 1, that some process of the machine, even ours, waited for memory."""
    cgroup_headroom_mb: Reading = UNKNOWN
    """What is left below the limit of our cgroup, in 10^6 bytes; unknown where there is no limit."""
    quota_stalls: Reading = UNKNOWN
    """Share of the periods since the last read, 0 to 1, in which our cgroup's CPU quota ran out."""
    frequency: Reading = UNKNOWN
    """Clock of our CPUs as a share of the highest, 0 to 1; low also where there is nothing to do."""
    temperature_c: Reading = UNKNOWN
    """Of the sensor of the CPU that is nearest to its limit, in degrees Celsius."""
    temperature_limit_c: Reading = UNKNOWN
    """Where the device begins to slow down, by that sensor."""
    throttled: Reading = UNKNOWN
    """1 where the device holds its clock down now, for heat or for want of power; else 0."""
    battery: Reading = UNKNOWN
    """How full it is, 0 to 1."""
    plugged: Reading = UNKNOWN
    """1 on mains, 0 on the battery."""
    energies: tuple[Energy, ...] = ()
    """What was spent since the first read, joules before CPU-seconds."""

    def known(self) -> dict[str, float]:
        """Name -> value of the signals that are known."""
        readings = ((name, value) for name, value in vars(self).items() if isinstance(value, Reading))
        return {name: reading.value for name, reading in readings if reading.value is not None}
