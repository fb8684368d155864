"""Temperature of the CPU, its limit, and throttling of the clock (Linux).

Sources: Documentation/driver-api/thermal/sysfs-api.rst and admin-guide/pm/cpufreq.rst of Linux; for the
Raspberry Pi its documentation of `vcgencmd get_throttled`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from gearshift.runtime.sensors.cpus import read_text

COLDEST_C, HOTTEST_C = -55.0, 150.0
"""Plausible degrees Celsius of a CPU sensor; a value outside is a fault."""

USUAL_LIMIT_C = 80.0
"""Limit in degrees Celsius of a zone that names none: a Raspberry Pi throttles from here, few devices earlier."""

X86_LIMIT_C = 95.0
"""Limit of the package of an x86 CPU that names none: it works at 90 degrees and throttles near 100."""

BELOW_CRITICAL_C = 10.0
"""Degrees below the critical point, which turns the device off, at which throttling is taken to begin."""

MOST_CPUS = 4
"""Number of CPUs whose frequency and counters are read: cores of one kind share a clock, and each costs a file."""

NOW_BITS = 0xF
"""Bits of the present state: under-voltage, frequency capped, throttled, soft temperature limit. The bits from 16 on
record the same for the past."""

_CPU_ZONE = re.compile(r"cpu|soc|pkg|core|tsens|k10temp|cluster|big|little", re.IGNORECASE)
_FIRMWARE = "sys/devices/platform/soc*/soc*firmware/get_throttled"


@dataclass(frozen=True)
class Zone:
    """One temperature sensor."""

    file: Path
    """File with the temperature in thousandths of a degree Celsius."""
    limit_c: float
    """Temperature in degrees Celsius from which on the device throttles."""

    def temperature_c(self) -> float | None:
        """Read the degrees Celsius now; None if that is unknown."""
        return _degrees(self.file)


def find_zones(root: Path) -> tuple[Zone, ...]:
    """Find the temperature sensors of the CPU, or those of the board (`acpitz`) if the CPU has none of its own."""
    found = [
        (read_text(folder / "type").strip(), folder) for folder in _folders(root / "sys/class/thermal", "thermal_zone*")
    ]
    of_cpu = [(kind, folder) for kind, folder in found if _CPU_ZONE.search(kind)]
    board = [(kind, folder) for kind, folder in found if kind == "acpitz"]
    zones = tuple(Zone(folder / "temp", _limit_c(kind, folder)) for kind, folder in of_cpu or board)
    return zones or _hwmon_zones(root)


def nearest_to_limit(zones: Collection[Zone]) -> tuple[float, float] | None:
    """Return (temperature, limit) in degrees Celsius of the zone nearest to its limit; None if none can be read."""
    known = [(temperature, zone.limit_c) for zone in zones if (temperature := zone.temperature_c()) is not None]
    return max(known, key=lambda one: one[0] - one[1], default=None)


def _limit_c(kind: str, folder: Path) -> float:
    """Return the lowest temperature at which the kernel slows the CPU down, or the usual limit of this kind of zone."""
    trips: dict[str, list[float]] = {}
    for file in _folders(folder, "trip_point_*_type"):
        point = _degrees(folder / file.name.replace("_type", "_temp"))
        if point is not None and point >= 40:  # 0 and -274 mean that the point is off
            trips.setdefault(read_text(file).strip(), []).append(point)
    if slowing := trips.get("passive", []) + trips.get("hot", []):
        return min(slowing)
    usual = X86_LIMIT_C if kind == "x86_pkg_temp" else USUAL_LIMIT_C
    return min([usual, *(point - BELOW_CRITICAL_C for point in trips.get("critical", []))])


def _hwmon_zones(root: Path) -> tuple[Zone, ...]:
    zones = []
    for folder in _folders(root / "sys/class/hwmon", "hwmon*"):
        if read_text(folder / "name").strip() in {"coretemp", "k10temp", "zenpower"}:
            critical = _degrees(folder / "temp1_crit")
            limit = X86_LIMIT_C if critical is None else min(X86_LIMIT_C, critical - BELOW_CRITICAL_C)
            zones.append(Zone(folder / "temp1_input", limit))
    return tuple(zones)


def _degrees(file: Path) -> float | None:
    try:
        degrees = float(read_text(file)) / 1000
    except ValueError:
        return None
    return degrees if COLDEST_C <= degrees <= HOTTEST_C else None


def find_policies(root: Path, cpus: Collection[int]) -> tuple[Path, ...]:
    """Find the frequency policies of our CPUs: the first MOST_CPUS, each once."""
    policies: dict[Path, None] = {}
    for folder in _folders(root / "sys/devices/system/cpu/cpufreq", "policy*"):
        related = re.findall(r"\d{1,6}", read_text(folder / "related_cpus")) or re.findall(r"\d{1,6}", folder.name)
        if not set(cpus).isdisjoint(map(int, related)):
            policies[folder] = None
    return tuple(policies)[:MOST_CPUS]


def frequency_share(policies: Collection[Path]) -> float:
    """Return the mean of clock / highest clock, 0 to 1; raise ValueError without a frequency policy.

    It is low on an idle device as well, whose governor lowers the clock.
    """
    shares = [share for folder in policies if (share := _frequency(folder)) is not None]
    if not shares:
        raise ValueError("no frequency policy")
    return sum(shares) / len(shares)


def _frequency(folder: Path) -> float | None:
    try:
        highest = float(read_text(folder / "cpuinfo_max_freq"))
        share = float(read_text(folder / "scaling_cur_freq")) / highest
    except (ValueError, ZeroDivisionError):
        return None
    return min(share, 1.0) if share >= 0 else None


class Throttling:
    """Detector of throttling, by the flags of the device's firmware or by the CPU's own counters."""

    def __init__(
        self, root: Path, cpus: Collection[int], *, mailbox: Callable[[Path], int] = lambda device: _ask(device)
    ) -> None:
        self._files = _folders(root, _FIRMWARE)
        self._device = root / "dev/vcio"
        self._mailbox = mailbox
        base = root / "sys/devices/system/cpu"
        self._counters = [
            base / f"cpu{cpu}/thermal_throttle" / name
            for cpu in sorted(cpus)[:MOST_CPUS]
            for name in ("core_throttle_count", "package_throttle_count")
        ]
        self._before: int | None = None

    def now(self) -> float:
        """Return 1 if the device throttles now, else 0; raise ValueError if that is unknown.

        Counters show it from the second call on.
        """
        flags = self._flags()
        if flags is not None:
            return float(bool(flags & NOW_BITS))
        counts = [int(text) for file in self._counters if (text := read_text(file).strip()).isdecimal()]
        before, self._before = self._before, sum(counts) if counts else None
        if before is None or self._before is None:
            raise ValueError("no firmware flags, and no two counts to compare")
        return float(self._before > before)

    def _flags(self) -> int | None:
        for file in self._files:
            text = read_text(file).strip().removeprefix("0x")
            if re.fullmatch(r"[0-9a-fA-F]{1,8}", text):
                return int(text, 16)
        if self._device.exists():
            try:
                return self._mailbox(self._device)
            except Exception:  # forbidden, another kind of device, or no such request
                return None
        return None


def _ask(device: Path) -> int:
    """Read the flags from the Raspberry Pi's mailbox: property 0x00030046, get throttled."""
    import fcntl  # only Linux has this module, and the device

    request = bytearray(struct.pack("=7I", 28, 0, 0x00030046, 4, 0, 0, 0))
    code = 0xC0000000 | struct.calcsize("P") << 16 | 100 << 8  # _IOWR(100, 0, char *)
    with device.open("rb", buffering=0) as file:
        fcntl.ioctl(file, code, request, True)
    _, answer, _, _, _, flags, _ = struct.unpack("=7I", request)
    if answer != 0x80000000:
        raise ValueError(f"the firmware answered {answer:#x}")
    return int(flags)


def _folders(base: Path, pattern: str) -> tuple[Path, ...]:
    """Return the paths that match below `base`, in order; none if it cannot be listed."""
    try:
        return tuple(sorted(base.glob(pattern)))
    except (OSError, ValueError):
        return ()
