"""How hot the CPU is, how hot it may get, and whether the device holds its clock down (Linux).

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
"""What a sensor of a CPU can say; anything else is a fault."""

USUAL_LIMIT_C = 80.0
"""Where a zone names no limit: a Raspberry Pi slows down from here, and few devices do so earlier."""

X86_LIMIT_C = 95.0
"""The same for the package of an x86 CPU, which works at 90 degrees and slows down near 100."""

BELOW_CRITICAL_C = 10.0
"""The critical point turns the device off; slowing down begins earlier."""

MOST_CPUS = 4
"""CPUs whose frequency and counters are read: clocks of one kind of core move together, and each takes a file."""

NOW_BITS = 0xF
"""Under-voltage, frequency capped, throttled, soft temperature limit; the bits from 16 say that it once was so."""

_CPU_ZONE = re.compile(r"cpu|soc|pkg|core|tsens|k10temp|cluster|big|little", re.IGNORECASE)
_FIRMWARE = "sys/devices/platform/soc*/soc*firmware/get_throttled"


@dataclass(frozen=True)
class Zone:
    """One temperature sensor."""

    file: Path
    """Holds thousandths of a degree."""
    limit_c: float
    """From here the device slows down."""

    def temperature_c(self) -> float | None:
        """Degrees Celsius now, or None where that cannot be told."""
        return _degrees(self.file)


def find_zones(root: Path) -> tuple[Zone, ...]:
    """The temperature sensors of the CPU; those of the board (`acpitz`) where it has none of its own."""
    found = [
        (read_text(folder / "type").strip(), folder) for folder in _folders(root / "sys/class/thermal", "thermal_zone*")
    ]
    of_cpu = [(kind, folder) for kind, folder in found if _CPU_ZONE.search(kind)]
    board = [(kind, folder) for kind, folder in found if kind == "acpitz"]
    zones = tuple(Zone(folder / "temp", _limit_c(kind, folder)) for kind, folder in of_cpu or board)
    return zones or _hwmon_zones(root)


def nearest_to_limit(zones: Collection[Zone]) -> tuple[float, float] | None:
    """(temperature, limit) in degrees Celsius of the zone with the least left, or None where none can be read."""
    known = [(temperature, zone.limit_c) for zone in zones if (temperature := zone.temperature_c()) is not None]
    return max(known, key=lambda one: one[0] - one[1], default=None)


def _limit_c(kind: str, folder: Path) -> float:
    """The lowest point at which the kernel slows the CPU down, or what is usual for this kind."""
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
    """The frequency policies of our CPUs, each once, of the first MOST_CPUS that differ."""
    policies: dict[Path, None] = {}
    for folder in _folders(root / "sys/devices/system/cpu/cpufreq", "policy*"):
        related = re.findall(r"\d{1,6}", read_text(folder / "related_cpus")) or re.findall(r"\d{1,6}", folder.name)
        if not set(cpus).isdisjoint(map(int, related)):
            policies[folder] = None
    return tuple(policies)[:MOST_CPUS]


def frequency_share(policies: Collection[Path]) -> float:
    """Mean of clock / highest clock, 0 to 1; raises ValueError where there is none.

    Low on a device that has nothing to do as well: its governor lets it rest.
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
    """Whether the device holds its clock down now, by its firmware's flags or by the CPU's own counters."""

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
        """1 or 0; counters tell it from the second call on. Raises ValueError where nothing tells it."""
        flags = self._flags()
        if flags is not None:
            return float(bool(flags & NOW_BITS))
        counts = [int(text) for file in self._counters if (text := read_text(file).strip()).isdecimal()]
        before, self._before = self._before, sum(counts) if counts else None
        if before is None or self._before is None:
            raise ValueError("no flags, and no counters read twice")
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
    """The flags from the Raspberry Pi's mailbox: property 0x00030046, get throttled."""
    import fcntl  # Linux alone has it, and the device

    request = bytearray(struct.pack("=7I", 28, 0, 0x00030046, 4, 0, 0, 0))
    code = 0xC0000000 | struct.calcsize("P") << 16 | 100 << 8  # _IOWR(100, 0, char *)
    with device.open("rb", buffering=0) as file:
        fcntl.ioctl(file, code, request, True)
    _, answer, _, _, _, flags, _ = struct.unpack("=7I", request)
    if answer != 0x80000000:
        raise ValueError(f"the firmware answered {answer:#x}")
    return int(flags)


def _folders(base: Path, pattern: str) -> tuple[Path, ...]:
    """What matches below `base`, in order; nothing where it cannot be listed."""
    try:
        return tuple(sorted(base.glob(pattern)))
    except (OSError, ValueError):
        return ()
