"""Fingerprint of a device: the facts that decide how fast a model runs on it.

On Linux they are read from /proc and /sys. Elsewhere the `platform` module gives the CPU model and the machine, and the
rest stays unknown.
A missing file is never an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gearshift.errors import ProfileError

FEATURES = (
    *("sse4_1", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"),  # x86
    *("neon", "asimd", "asimddp", "i8mm", "sve", "bf16"),  # ARM
)
"""Instruction sets by which inference kernels are chosen, spelled as in /proc/cpuinfo."""

UNKNOWN = "unknown"

_ARM_LIMITED = "0x41"
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}
"""'CPU part' of cores designed by Arm Limited -> name, as in their technical reference manuals."""


@dataclass(frozen=True)
class Fingerprint:
    """A device, described by what matters for speed."""

    cpu_model: str
    cpu_features: tuple[str, ...]
    """Members of `FEATURES` that the CPU has, sorted; empty if they cannot be read."""
    cores: int
    """Logical CPUs of the machine; a container or an affinity mask may allow fewer."""
    memory_mb: int | None
    """Total memory of the machine, in 10^6 bytes."""
    machine: str
    """`x86_64` or `aarch64`, whatever name the system uses."""
    system: str
    """`Linux`, `Darwin` or `Windows`."""
    governor: str | None
    """Frequency governor of the first CPU, such as `performance` or `powersave`."""
    versions: dict[str, str]
    """Versions of the libraries that run the model, given by the caller."""
    emulator: str | None = None
    """Program that emulates this CPU on another, such as `qemu`: measured times are then meaningless."""

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits, equal for devices of equal speed.

        Memory and library versions do not count: memory decides what fits, versions what a measurement was made with.
        """
        decides = [self.cpu_model, self.cpu_features, self.cores, self.machine, self.system, self.governor]
        if self.emulator is not None:
            decides.append(self.emulator)
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]

    @property
    def int8_dot_product(self) -> bool:
        """Whether the CPU multiplies and adds int8 in one instruction. Without it int8 gains less, and on x86 the
        products of full-range int8 weights can saturate."""
        return bool({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}.intersection(self.cpu_features))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        facts = {
            **vars(self),
            "cpu_features": list(self.cpu_features),
            "versions": dict(sorted(self.versions.items())),
        }
        if self.emulator is None:
            del facts["emulator"]
        return facts

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Fingerprint:
        """Read the fingerprint that `to_dict` wrote; raise ProfileError if a field is missing or wrong."""
        return cls(
            cpu_model=_field(raw, "cpu_model", str),
            cpu_features=tuple(str(feature) for feature in _field(raw, "cpu_features", list)),
            cores=_field(raw, "cores", int),
            memory_mb=_field(raw, "memory_mb", int, None),
            machine=_field(raw, "machine", str),
            system=_field(raw, "system", str),
            governor=_field(raw, "governor", str, None),
            versions={str(name): str(version) for name, version in _field(raw, "versions", dict).items()},
            emulator=_field(raw, "emulator", str) if "emulator" in raw else None,
        )


def read_fingerprint(versions: Mapping[str, str], *, root: Path = Path("/")) -> Fingerprint:
    """Read the fingerprint of this machine.

    `versions`: versions by name of the libraries that the caller runs models with. `root`: directory that holds proc
    and sys.
    """
    processors = _processors(_text(root / "proc/cpuinfo"))
    words = {word for entry in processors for word in _words(entry)}
    return Fingerprint(
        cpu_model=_cpu_model(processors, root),
        cpu_features=tuple(sorted(words & set(FEATURES))),
        cores=sum("processor" in entry for entry in processors) or os.cpu_count() or 1,
        memory_mb=_memory_mb(_text(root / "proc/meminfo")),
        machine=_machine(processors, words),
        system=platform.system() or UNKNOWN,
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        versions=dict(versions),
        emulator=_emulator(processors, root),
    )


def _emulator(processors: list[dict[str, str]], root: Path) -> str | None:
    """Return the emulator of this CPU; None if no sign of one is found."""
    try:  # qemu hides itself under /proc/self, but not under this second name of the same files
        program = (root / "proc/thread-self/exe").readlink().name
    except OSError:
        program = ""
    names = " ".join(entry.get("model name", "") for entry in processors)
    return "qemu" if program.startswith("qemu") or "QEMU TCG" in names else None


def _field(raw: Mapping[str, Any], name: str, expected: type, *others: None) -> Any:
    if name not in raw:
        raise ProfileError(f"device: {name} is missing")
    value = raw[name]
    if (value is None and others) or (isinstance(value, expected) and not isinstance(value, bool)):
        return value
    raise ProfileError(f"device: {name}: expected {expected.__name__}, found {value!r}")


def _text(path: Path) -> str:
    """Return the content of a file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _processors(cpuinfo: str) -> list[dict[str, str]]:
    """Parse /proc/cpuinfo: a group of `name : value` lines for each CPU, followed by one for the board."""
    groups = []
    for block in cpuinfo.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
        groups.append({name.strip(): value.strip() for name, _, value in pairs})
    return [group for group in groups if group]


def _words(entry: Mapping[str, str]) -> list[str]:
    return (entry.get("flags") or entry.get("Features") or "").split()


def _cpu_model(processors: list[dict[str, str]], root: Path) -> str:
    names = [entry["model name"] for entry in processors if "model name" in entry]
    if names:
        return names[0]
    cores = " + ".join(dict.fromkeys(_arm_core(entry) for entry in processors if "CPU part" in entry))
    boards = [entry["Model"] for entry in processors if "Model" in entry]
    board = boards[0] if boards else _text(root / "proc/device-tree/model").strip("\0\n ")
    if cores and board:
        return f"{cores} ({board})"
    return cores or board or platform.processor() or UNKNOWN


def _arm_core(entry: Mapping[str, str]) -> str:
    implementer, part = entry.get("CPU implementer", "?"), entry["CPU part"]
    known = _ARM_PARTS.get(part) if implementer == _ARM_LIMITED else None
    return known or f"ARM {implementer}/{part}"


def _machine(processors: list[dict[str, str]], words: set[str]) -> str:
    if any("CPU implementer" in entry for entry in processors):
        return "aarch64" if "asimd" in words else "arm"  # the 32-bit kernel names the same unit neon
    if "lm" in words:  # long mode: 64-bit x86
        return "x86_64"
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name) or UNKNOWN


def _memory_mb(meminfo: str) -> int | None:
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        digits = value.split()[:1]
        if name == "MemTotal" and digits and digits[0].isdecimal():
            return int(digits[0]) * 1024 // 1_000_000
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None
