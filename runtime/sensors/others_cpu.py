"""Share of our CPUs that other processes take."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from gearshift.runtime.sensors.snapshot import UNKNOWN, Reading

MINIMUM_INTERVAL_S = 0.1
"""Least seconds between two reads: kernels count CPU time in ticks of up to 10 ms, and over less than ten of them a
share is mostly rounding."""


class OthersUse:
    """Meter of the CPU time of the machine and of our process. Not safe for several threads by itself.

    `source` returns the module psutil or a stand-in; `cpus` returns the CPUs that we may run on.
    """

    def __init__(self, source: Callable[[], Any], cpus: Callable[[], Collection[int]]) -> None:
        self._source = source
        self._cpus = cpus
        self._process: Any = None
        self._before: _Counters | None = None
        self._others: tuple[float, float] | None = None
        """Last share, and the moment of its computation."""

    def read(self, now: float, effective: Callable[[int], float]) -> Reading:
        """Return the share since the last read that is at least MINIMUM_INTERVAL_S ago.

        `effective`: function from a number of CPUs to the number of them that we can keep busy.
        """
        elapsed = math.inf if self._before is None else now - self._before.time_s
        if not 0 <= elapsed < MINIMUM_INTERVAL_S:
            before, self._before, self._others = self._before, None, None
            try:
                self._before = self._count(now, effective)
                share = others_share(before, self._before) if before else None
                self._others = None if share is None else (share, now)
            except Exception:
                return UNKNOWN
        if self._others is None:
            return UNKNOWN
        share, computed_s = self._others
        return Reading(share, now - computed_s)

    def _count(self, now: float, effective: Callable[[int], float]) -> _Counters:
        cpus = frozenset(self._cpus())
        source = self._source()
        rows = source.cpu_times(percpu=True)
        # A container may renumber its CPUs; then all rows are ours already.
        picked = [rows[cpu] for cpu in sorted(cpus)] if max(cpus) < len(rows) else rows
        if len(picked) != len(cpus):
            raise ValueError(f"expected a row of CPU times for each of {sorted(cpus)}, found {len(rows)} rows")
        self._process = self._process or source.Process()
        own = self._process.cpu_times()
        return _Counters(
            time_s=now,
            cpus=cpus,
            effective=effective(len(cpus)),
            busy_s=sum(_busy_s(row) for row in picked),
            own_s=own.user + own.system + getattr(own, "children_user", 0) + getattr(own, "children_system", 0),
        )


@dataclass(frozen=True)
class _Counters:
    """Counters of CPU time at one moment; only differences have a meaning."""

    time_s: float
    cpus: frozenset[int]
    effective: float
    busy_s: float
    """CPU time of all processes on our CPUs."""
    own_s: float
    """CPU time of this process and of its children that ended."""


def others_share(before: _Counters, after: _Counters) -> float | None:
    """Return the share of our effective CPUs that others took from us between two moments; None if it is unknown.

    With busy and own in CPUs: (busy - own - (allowed - effective)) / effective, from 0 to 1. If a quota lies below the
    CPUs of our affinity set, others can use the rest of the set without taking anything from us.
    A child counts as another process until it ends, when all its time joins ours at once. An interval in which our time
    then exceeds the busy time gives no share.
    """
    elapsed = after.time_s - before.time_s
    busy, own = after.busy_s - before.busy_s, after.own_s - before.own_s
    if elapsed <= 0 or before.cpus != after.cpus or busy < 0 or own < 0:
        return None
    # System and process counters are rounded apart: by up to a 10 ms tick per CPU, and by some per mille.
    if own > busy + 0.02 * len(after.cpus) + 0.01 * elapsed:
        return None
    spare = len(after.cpus) - after.effective
    share = ((busy - own) / elapsed - spare) / after.effective
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else None


def _busy_s(row: Any) -> float:
    """Return the seconds one CPU was not idle. Steal is its use by another machine; user includes guest already."""
    fields = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(row, field, 0.0) for field in fields))
