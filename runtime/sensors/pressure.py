"""Time that processes waited for a CPU, for memory, and for the next period of a cgroup's quota (Linux)."""

from __future__ import annotations

from pathlib import Path

from gearshift.runtime.sensors.cpus import Cgroup, read_text


def stall_share(root: Path, resource: str) -> float:
    """Read the share of the last 10 s, 0 to 1, that some process waited for `resource`.

    Source: `some avg10` of /proc/pressure/`resource` (Linux, Documentation/accounting/psi.rst).
    Raises ValueError if the file does not have it.
    """
    return min(float(_some(root, resource).get("avg10", "nan")) / 100, 1.0)


def stalled_s(root: Path, resource: str) -> float | None:
    """Read the seconds so far that some process waited for `resource` (`some total`, microseconds); None if unknown."""
    try:
        return float(_some(root, resource)["total"]) / 1e6
    except (KeyError, ValueError):
        return None


def _some(root: Path, resource: str) -> dict[str, str]:
    """Read the fields of the line `some`; raise ValueError if there is none."""
    for line in read_text(root / "proc/pressure" / resource).splitlines():
        kind, *fields = line.split() or [""]
        if kind == "some":
            return dict(field.split("=", 1) for field in fields)
    raise ValueError("no line 'some'")


class QuotaStalls:
    """Meter of the share of the periods of a CPU quota in which it ran out and the group waited for the next period.

    The answers of such a group have two modes, at once or a period (100 ms) later, which a mean does not show.
    """

    def __init__(self, cgroup: Cgroup) -> None:
        self._directories = cgroup.cpu
        self._before: dict[Path, tuple[float, float]] = {}

    def share(self) -> float:
        """Return the share, 0 to 1, since the last call, of the group that waits most; 0 if no period passed.

        Raises ValueError without a quota to wait for, and at the first call.
        """
        before = self._before
        counts = {directory: _periods(directory) for directory in self._directories}
        self._before = {directory: count for directory, count in counts.items() if count is not None}
        shares = [_share(before[one], now) for one, now in self._before.items() if one in before]
        if not shares:
            raise ValueError("no group with two counts to compare")
        return max(shares)


def _periods(directory: Path) -> tuple[float, float] | None:
    """Read the number of periods so far, and of those in which the quota ran out: cpu.stat of cgroup v1 and v2."""
    lines = (line.split() for line in read_text(directory / "cpu.stat").splitlines())
    counts = {words[0]: float(words[1]) for words in lines if len(words) == 2 and words[1].isdecimal()}
    if "nr_periods" not in counts or "nr_throttled" not in counts:
        return None
    return counts["nr_periods"], counts["nr_throttled"]


def _share(before: tuple[float, float], after: tuple[float, float]) -> float:
    periods, stalled = after[0] - before[0], after[1] - before[1]
    if periods < 0 or stalled < 0:
        raise ValueError("counters went back")
    return min(stalled / periods, 1.0) if periods else 0.0
