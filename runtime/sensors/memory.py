"""Memory of this process and of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gearshift.runtime.sensors.cpus import read_text
from gearshift.runtime.sensors.psutil_source import load_psutil


def resident_bytes() -> int | None:
    """Return the bytes of this process that are in RAM; None if that is unknown."""
    try:
        return int(load_psutil().Process().memory_info().rss)
    except Exception:
        return None


@dataclass(frozen=True)
class Memory:
    """Memory of the process in 10^6 bytes: proportional set size (PSS), and the part of it that no file backs."""

    pss_mb: float
    anonymous_mb: float

    def less(self, other: Memory) -> Memory:
        """Return the difference to another moment."""
        return Memory(self.pss_mb - other.pss_mb, self.anonymous_mb - other.anonymous_mb)


def read_memory(root: Path = Path("/")) -> Memory | None:
    """Read the memory of this process now (Linux, smaps_rollup); None if it is unknown."""
    fields = dict(
        line.split(":", 1) for line in read_text(root / "proc/self/smaps_rollup").splitlines()[1:] if ":" in line
    )
    try:
        return Memory(*(float(fields[name].split()[0]) * 1024 / 1e6 for name in ("Pss", "Anonymous")))
    except (KeyError, ValueError, IndexError):
        return None
