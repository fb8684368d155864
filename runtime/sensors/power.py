"""The battery, and the energy spent: joules of the device if it counts them, else CPU-seconds of our process.

Sources: Linux, Documentation/power/power_supply_class.rst and power/powercap/powercap.rst.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gearshift.runtime.sensors.cpus import read_text

Kind = Literal["rapl", "fuel_gauge", "cpu"]

LONGEST_GAP_S = {"rapl": 120.0, "fuel_gauge": 5.0, "cpu": math.inf}
"""Longest gap in seconds between two reads; a longer one counts neither as energy nor as time. RAPL's counter (262 kJ
on many CPUs) could wrap around in 10 minutes; a fuel gauge gives the power of this moment, not of minutes ago."""

MOST_WATTS = 10_000.0
"""Largest plausible power; more is a fault of the sensor."""


@dataclass(frozen=True)
class Battery:
    """Charge of the battery."""

    share: float
    """Charge as a share of a full battery, 0 to 1."""
    plugged: bool | None
    """Whether the device runs on mains; None if that is unknown."""


def read_battery(root: Path, source: Callable[[], Any]) -> Battery | None:
    """Read the battery now; None if there is none or it cannot be read. Several batteries give their mean.

    `source` returns the module psutil, which is asked if the system has no /sys/class/power_supply.
    """
    supplies = _supplies(root)
    if not supplies:
        return _from_psutil(source)
    # The battery of a mouse is a supply as well.
    batteries = [one for one in supplies if _word(one, "type") == "Battery" and _word(one, "scope") != "Device"]
    shares = [share for share in map(_charge, batteries) if share is not None]
    if not shares:
        return None
    return Battery(sum(shares) / len(shares), _plugged(supplies, batteries))


def _supplies(root: Path) -> tuple[Path, ...]:
    try:
        return tuple(sorted((root / "sys/class/power_supply").iterdir()))
    except OSError:
        return ()


def _from_psutil(source: Callable[[], Any]) -> Battery | None:
    try:
        found = source().sensors_battery()
        share = float(found.percent) / 100
        plugged = found.power_plugged
        return Battery(share, None if plugged is None else bool(plugged)) if 0 <= share <= 1.05 else None
    except Exception:  # no psutil, no battery, or a platform of its own kind
        return None


def _charge(battery: Path) -> float | None:
    for now, full in (("energy_now", "energy_full"), ("charge_now", "charge_full")):
        level, most = _number(battery, now), _number(battery, full)
        if level is not None and most and 0 <= level / most <= 1.05:  # a worn gauge goes a little beyond
            return min(level / most, 1.0)
    percent = _number(battery, "capacity")
    return percent / 100 if percent is not None and 0 <= percent <= 100 else None


def _plugged(supplies: Collection[Path], batteries: Collection[Path]) -> bool | None:
    states = {_word(battery, "status") for battery in batteries}
    if "Discharging" in states:  # also with a charger that is too weak
        return False
    mains = [_word(one, "online") for one in supplies if _word(one, "type") in {"Mains", "USB", "Wireless"}]
    if any(word not in {"", "0"} for word in mains) or states & {"Charging", "Full", "Not charging"}:
        return True
    return False if "0" in mains else None


@dataclass(frozen=True)
class Energy:
    """Energy spent since the meter began."""

    kind: Kind
    """`rapl`: the processor packages. `fuel_gauge`: the device, while on its battery. `cpu`: our process alone."""
    spent: float
    """Joules; CPU-seconds for `cpu`."""
    over_s: float
    """Seconds in which it was spent; time that the meter did not see is left out."""

    def since(self, mark: Energy) -> Energy | None:
        """Return the energy spent since an earlier reading; None if that counted something else."""
        if mark.kind != self.kind or mark.over_s > self.over_s or mark.spent > self.spent:
            return None
        return Energy(self.kind, self.spent - mark.spent, self.over_s - mark.over_s)

    @property
    def rate(self) -> float | None:
        """Mean power in watts (CPUs kept busy for `cpu`); None over no time."""
        return self.spent / self.over_s if self.over_s > 0 else None


class EnergyMeter:
    """Meter that sums the energy spent from read to read, from the first on. Not safe for several threads by itself."""

    def __init__(self, root: Path, *, cpu_seconds: Callable[[], float] = time.process_time) -> None:
        self._root = root
        self._cpu_seconds = cpu_seconds
        self._packages = _packages(root)
        self._before: dict[Kind, tuple[float, tuple[float, ...]]] = {}
        self._totals: dict[Kind, tuple[float, float]] = {}

    def read(self, now: float) -> tuple[Energy, ...]:
        """Read every kind of energy that can be read now, joules first; empty if none can."""
        found: list[Energy] = []
        for kind, read in self._sources():
            try:
                values = read()
            except Exception:
                values = ()
            if values and all(math.isfinite(value) and value >= 0 for value in values):
                found.append(self._add(kind, now, values))
            else:
                self._before.pop(kind, None)
        return tuple(found)

    def _sources(self) -> tuple[tuple[Kind, Callable[[], tuple[float, ...]]], ...]:
        return (
            ("rapl", lambda: tuple(float(read_text(package / "energy_uj")) / 1e6 for package in self._packages)),
            ("fuel_gauge", lambda: (_drawn_watts(self._root),)),
            ("cpu", lambda: (float(self._cpu_seconds()),)),
        )

    def _add(self, kind: Kind, now: float, values: tuple[float, ...]) -> Energy:
        spent, over_s = self._totals.get(kind, (0.0, 0.0))
        before = self._before.get(kind)
        self._before[kind] = now, values
        if before is not None and 0 < now - before[0] < math.inf and now - before[0] <= LONGEST_GAP_S[kind]:
            step_s = now - before[0]
            step = self._step(kind, before[1], values, step_s)
            if step is not None and 0 <= step <= MOST_WATTS * step_s:
                spent, over_s = spent + step, over_s + step_s
        self._totals[kind] = spent, over_s
        return Energy(kind, spent, over_s)

    def _step(self, kind: Kind, before: tuple[float, ...], after: tuple[float, ...], step_s: float) -> float | None:
        """Return the energy between two reads: difference of counters, or mean power x time (trapezoid rule)."""
        if len(before) != len(after):
            return None
        if kind == "fuel_gauge":
            return (before[0] + after[0]) / 2 * step_s
        if kind == "rapl":
            ranges = [(_number(package, "max_energy_range_uj") or math.nan) / 1e6 for package in self._packages]
            pairs = zip(before, after, ranges, strict=True)
            return sum(b - a if b >= a else b - a + wrap for a, b, wrap in pairs)
        return after[0] - before[0]


def _packages(root: Path) -> tuple[Path, ...]:
    """Find RAPL's counters of whole packages; their parts, and the platform's, would count the same energy twice."""
    try:
        zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
    except OSError:
        return ()
    return tuple(zone for zone in zones if zone.name.count(":") == 1 and _word(zone, "name").startswith("package"))


def _drawn_watts(root: Path) -> float:
    """Return the watts that the batteries deliver now; raise ValueError if none reports a power, as when on mains."""
    watts = [
        watt
        for one in _supplies(root)
        if _word(one, "type") == "Battery" and _word(one, "status") == "Discharging"
        if (watt := _watts(one)) is not None
    ]
    if not watts:
        raise ValueError("no battery reports the power that it delivers")
    return sum(watts)


def _watts(battery: Path) -> float | None:
    power = _number(battery, "power_now")
    if power is None:
        amperes, volts = _number(battery, "current_now"), _number(battery, "voltage_now")
        if amperes is None or volts is None:
            return None
        power = amperes * volts / 1e6
    return abs(power) / 1e6  # some drivers count what goes out as negative


def _word(folder: Path, name: str) -> str:
    return read_text(folder / name).strip()


def _number(folder: Path, name: str) -> float | None:
    word = _word(folder, name)
    return float(word) if re.fullmatch(r"-?[0-9]{1,18}", word) else None
