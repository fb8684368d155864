"""The state of an engine, to be read: the bundle and the ladder, the estimates, the counts."""

from __future__ import annotations

from typing import Any

from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import Objective
from gearshift.runtime.sensors.caps import Caps
from gearshift.runtime.serving.answering import Answering
from gearshift.runtime.serving.metrics import Metrics
from gearshift.runtime.startup import Loaded


class EngineState:
    """All that an engine can be asked about itself. Nothing here changes it."""

    def __init__(self, loaded: Loaded, controller: Controller, metrics: Metrics, answering: Answering) -> None:
        self._opened, self._table = loaded.opened, loaded.table
        self._controller, self._metrics, self._answering = controller, metrics, answering
        self._entries = self.bundle.gears(self.precision)

    @property
    def objective(self) -> Objective:
        """The service objective that decisions follow now."""
        return self._controller.objective

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of a text, or of a word of it; empty where the task has none."""
        return self.bundle.manifest.labels

    @property
    def pool(self) -> dict[str, PoolEntry]:
        """Name -> pool entry at the engine's precision."""
        return dict(self._entries)

    @property
    def subnets(self) -> tuple[str, ...]:
        """Names of all subnets, as the bundle lists them."""
        return tuple(self._entries)

    @property
    def ladder(self) -> tuple[str, ...]:
        """Names of the subnets that are worth switching between on this device, the most accurate first."""
        return self._controller.ladder

    @property
    def bundle(self) -> Bundle:
        """The bundle that the engine runs."""
        return self._opened.bundle

    @property
    def table(self) -> LatencyTable:
        """Latency of each subnet on this machine, without the slow-down."""
        return self._table

    @property
    def precision(self) -> str:
        """`fp32` or `int8`."""
        return self._opened.session.precision

    @property
    def threads(self) -> int:
        """Threads that one call uses."""
        return self._opened.session.threads

    @property
    def caps(self) -> Caps:
        """The largest subnet that heat, battery, memory and power let requests use, and why."""
        return self._answering.caps

    @property
    def slow_down(self) -> float:
        """Observed / expected latency of single texts: 1 is the machine as it was when it was timed."""
        return self._answering.slow_down

    def stats(self) -> dict[str, Any]:
        """Counts since loading: `requests` that were answered (a list is one) and those that `failed`, deadlines
        `met` and `missed`, `switches` from one subnet to another between two requests, and under `subnets` the
        requests that each one ran."""
        return self._metrics.stats()

    def metrics(self) -> str:
        """Counters and histograms since loading as Prometheus text, exposition format 0.0.4."""
        return self._metrics.text()
