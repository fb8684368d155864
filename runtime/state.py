"""Read-only state of an engine: bundle and ladder, estimates, counts."""

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
    """Read-only properties and statistics of an engine. Nothing here changes it."""

    def __init__(self, loaded: Loaded, controller: Controller, metrics: Metrics, answering: Answering) -> None:
        self._opened, self._table = loaded.opened, loaded.table
        self._controller, self._metrics, self._answering = controller, metrics, answering
        self._entries = self.bundle.entries(self.precision)

    @property
    def objective(self) -> Objective:
        """Service objective of the present decisions."""
        return self._controller.objective

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of a text, or of a word of it; empty if the task has none."""
        return self.bundle.manifest.labels

    @property
    def pool(self) -> dict[str, PoolEntry]:
        """Pool entries at the engine's precision, by name."""
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
        """Bundle that the engine runs."""
        return self._opened.bundle

    @property
    def table(self) -> LatencyTable:
        """Latency table: times of each subnet on this machine, without the slow-down."""
        return self._table

    @property
    def precision(self) -> str:
        """Precision of the graph: `fp32`, `int8` or `fp16`."""
        return self._opened.session.precision

    @property
    def threads(self) -> int:
        """Number of threads of one call."""
        return self._opened.session.threads

    @property
    def caps(self) -> Caps:
        """Caps: the largest subnet that heat, battery, memory and power allow, and the reasons."""
        return self._answering.caps

    @property
    def slow_down(self) -> float:
        """Slow-down: observed / expected latency of single texts; 1 is the machine as it was when it was timed."""
        return self._answering.slow_down

    def stats(self) -> dict[str, Any]:
        """Return the counts since loading.

        `requests`: answered requests (a list is one). `failed`: requests without an answer, but for those that were
        refused when they came, or taken back while they waited. `met`, `missed`: deadlines.
        `switches`: changes of the subnet between two requests. `subnets`: requests that each subnet answered.
        """
        return self._metrics.stats()

    def metrics(self) -> str:
        """Return the counters and histograms since loading as Prometheus text, exposition format 0.0.4."""
        return self._metrics.text()
