"""Lifetime of an engine's parts: the order in which they end, by `close` or because the engine was dropped."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.native_calls import NATIVE_CALLS
from gearshift.runtime.sensors.slow_loop import SlowLoop
from gearshift.runtime.serving.decision_log import DecisionLog
from gearshift.runtime.serving.in_flight import InFlight
from gearshift.runtime.serving.metrics import Metrics
from gearshift.runtime.serving.worker import Worker

CLOSE_S = 5.0
"""Default limit of `close` in seconds."""

ENDING_S = 1.0
"""Seconds for calls that were ended after the limit: onnxruntime ends one between two operators."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lifetime:
    """Parts of one engine that must end. It does not refer to the engine, which can be collected."""

    in_flight: InFlight
    worker: Worker
    session: ElasticSession
    metrics: Metrics
    slow_loop: SlowLoop | None
    log: DecisionLog | None

    def start(self) -> None:
        """Start what runs beside the requests."""
        if self.slow_loop is not None:
            self.slow_loop.start()

    def close(self, timeout: float | None) -> bool:
        """End everything, as `Engine.close` says. Any step may be done again, after an interrupt."""
        if NATIVE_CALLS.ending:  # other threads stay where they are: see `native_calls`
            timeout = 0.0
        end_s = None if timeout is None else time.monotonic() + timeout

        def left_s() -> float | None:
            return None if end_s is None else max(0.0, end_s - time.monotonic())

        if self.slow_loop is not None:
            self.slow_loop.stop()
        self.metrics.stop()
        ended = self.worker.close(left_s()) & self.in_flight.close(left_s())
        if not ended and not NATIVE_CALLS.ending:
            self.worker.end_call()
            self.session.end_calls()
            self.worker.close(ENDING_S)
            self.in_flight.close(ENDING_S)
        self.session.close()
        others = self.metrics.close(left_s()) & (self.slow_loop is None or self.slow_loop.close(left_s()))
        if self.log is not None:
            self.log.close()
        if not ((ended and others) or NATIVE_CALLS.ending):
            logger.warning("the engine was closed after %s s, with %s", timeout, self._left(ended=ended))
        return ended and others

    def drop(self) -> None:
        """Let everything end by itself, after the requests that wait; for a finalizer, which may run at any moment."""
        if self.in_flight.forked:
            return
        if self.slow_loop is not None:
            self.slow_loop.stop()
        self.metrics.stop()
        if not self.worker.finish() and self.log is not None:
            self.log.close()

    def _left(self, *, ended: bool) -> str:
        """Return what had not ended in time, in words."""
        left = [] if ended else ["requests running, which were ended"]
        if not self.metrics.close(0.0):
            left.append("a client of the metrics waiting")
        if self.slow_loop is not None and not self.slow_loop.close(0.0):
            left.append("a sensor being read")
        return " and ".join(left)
