"""Readings of the signals of a machine: each a value with its age, or unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gearshift.runtime.sensors.power import Energy

OLDEST_S = 2.0
"""Age in seconds beyond which a reading says nothing about now: caps and feed-forward count it as unknown."""


@dataclass(frozen=True)
class Reading:
    """One signal: its value and the age of the value in seconds; both None if it is unknown."""

    value: float | None = None
    age_s: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


UNKNOWN = Reading()


def reading(read: Callable[[], float], *, least: float = 0.0, most: float = math.inf) -> Reading:
    """Read a signal by `read`; unknown if that raises, or does not return a finite number from `least` to `most`."""
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
    """Share of the last 10 s, 0 to 1, that some process of the machine, ours included, waited for a CPU."""
    memory_available_mb: Reading
    """Memory that we can still take without swapping, in 10^6 bytes: the lesser of machine and cgroup."""
    taken_s: float
    """Moment of the reading in seconds, on the clock of the `Sensors`."""
    memory_pressure: Reading = UNKNOWN
    """Share of the last 10 s, 0 to 1, that some process of the machine, ours included, waited for memory."""
    cgroup_headroom_mb: Reading = UNKNOWN
    """Memory left below the limit of our cgroup, in 10^6 bytes; unknown without a limit."""
    quota_stalls: Reading = UNKNOWN
    """Share of the periods since the last read, 0 to 1, in which our cgroup's CPU quota ran out."""
    frequency: Reading = UNKNOWN
    """Clock of our CPUs as a share of the highest, 0 to 1; also low on an idle device."""
    temperature_c: Reading = UNKNOWN
    """Temperature in degrees Celsius by the CPU sensor that is nearest to its limit."""
    temperature_limit_c: Reading = UNKNOWN
    """Temperature in degrees Celsius at which the device throttles, by the same sensor."""
    throttled: Reading = UNKNOWN
    """Throttling: 1 if the device holds its clock down now, for heat or for lack of power; else 0."""
    battery: Reading = UNKNOWN
    """Charge of the battery, 0 to 1."""
    plugged: Reading = UNKNOWN
    """Power supply: 1 on mains, 0 on the battery."""
    energies: tuple[Energy, ...] = ()
    """Energy spent since the first read, joules before CPU-seconds."""

    def known(self) -> dict[str, float]:
        """Return name -> value of the signals that are known."""
        readings = ((name, value) for name, value in vars(self).items() if isinstance(value, Reading))
        return {name: reading.value for name, reading in readings if reading.value is not None}
