"""Contention: CPU use of other processes during a measurement."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gearshift.cpus import available_cpus
from gearshift.runtime.sensors.cpus import effective_cpus
from gearshift.runtime.sensors.pressure import stalled_s
from gearshift.runtime.sensors.sensors import Sensors

BUSY_CPUS = 0.3
"""CPUs kept busy by other processes above which the machine does not count as idle. A desktop at rest uses some
hundredths of a CPU. Memory and clock are shared even if every thread has a CPU of its own."""


@dataclass(frozen=True)
class Contention:
    """CPU use of other processes over a period; None where it is unknown."""

    others_cpus: float | None
    """Mean number of CPUs that other processes kept busy, of those that this process may use."""
    stalled: float | None
    """Share of the time in which some process, ours included, waited for a CPU (Linux, PSI)."""

    @property
    def busy(self) -> bool:
        """Whether other processes kept more than BUSY_CPUS busy."""
        return self.others_cpus is not None and self.others_cpus > BUSY_CPUS

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return dict(vars(self))


class ContentionWatch:
    """Monitor of contention on the CPUs that this process may use when the monitor is made.

    Later pinning does not change these CPUs.
    """

    def __init__(
        self,
        *,
        root: Path = Path("/"),
        sensors: Sensors | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        cpus = available_cpus()
        self._root, self._clock = root, clock
        self._effective = effective_cpus(root=root, cpus=cpus)
        self._sensors = sensors or Sensors(root=root, cpus=lambda: cpus)
        self._sensors.read()
        self._stalled_s, self._began = stalled_s(root, "cpu"), clock()

    def lap(self) -> Contention:
        """Return the contention since the last lap, or since the start."""
        share = self._sensors.read().others_cpu.value
        stalled, now = stalled_s(self._root, "cpu"), self._clock()
        before, began = self._stalled_s, self._began
        self._stalled_s, self._began = stalled, now
        waited = None
        if stalled is not None and before is not None and now > began:
            waited = min((stalled - before) / (now - began), 1.0)
        return Contention(None if share is None else share * self._effective, waited)
