"""A small view of a running engine on a terminal: how many requests, how fast, in time or not, and on which subnets."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

from gearshift.runtime.inference.answers import RunFacts
from gearshift.runtime.sensors.sensors import Sensors

REFRESH_S = 0.3
"""Time between two pictures: about three a second, which can be read and costs next to nothing."""


WINDOW_S = 10.0


KEPT = 4096
"""Seconds and requests, at most, that the view is of: memory is bounded at any rate."""


BAR = 30


ROWS = 6
"""Subnets that have a bar of their own; the rest share one."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at_s: float
    latency_ms: float
    met: bool | None
    subnet: str


class LiveView:
    """Draws itself over its last picture while answers are added; says nothing where `stream` is no terminal.

    `others_cpu` gives the share of the CPUs that other programs take, or None; by default it is measured.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        others_cpu: Callable[[], float | None] | None = None,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._others_cpu = others_cpu or _measured()
        self._seen: deque[_Seen] = deque(maxlen=KEPT)
        self._requests = self._with_deadline = self._met = 0
        self._drawn_at = -math.inf
        self._height = 0
        self.shown = stream.isatty()
        """Whether there is a terminal to draw on."""

    def add(self, answer: RunFacts, slow_down: float) -> None:
        """Take in an answer, and draw where the last picture is old enough."""
        now = self._clock()
        self._seen.append(_Seen(now, answer.latency_ms, answer.deadline_met, answer.subnet))
        self._requests += 1
        self._with_deadline += answer.deadline_met is not None
        self._met += answer.deadline_met is True
        if self.shown and now - self._drawn_at >= REFRESH_S:
            self._draw(now, slow_down)

    def finish(self, slow_down: float) -> None:
        """Draw the last picture, which stays."""
        if self.shown and self._requests:
            self._draw(self._clock(), slow_down)

    def lines(self, now: float, slow_down: float) -> list[str]:
        """The picture: counts since the start, everything else of the last seconds."""
        while self._seen and now - self._seen[0].at_s > WINDOW_S:
            self._seen.popleft()
        latencies = sorted(one.latency_ms for one in self._seen)
        span_s = max(now - self._seen[0].at_s, REFRESH_S) if self._seen else REFRESH_S
        kept = f"{100 * self._met / self._with_deadline:.1f} % in time" if self._with_deadline else "no deadlines"
        others = self._others_cpu()
        load = "" if others is None else f"   others take {100 * others:.0f} % of the CPUs"
        return [
            f"{self._requests} requests   {len(self._seen) / span_s:.1f} a second   {kept}",
            f"latency p50 {percentile(latencies, 0.5):.1f} ms   p99 {percentile(latencies, 0.99):.1f} ms   "
            f"slow-down {slow_down:.2f}{load}",
            *_mix([one.subnet for one in self._seen]),
        ]

    def _draw(self, now: float, slow_down: float) -> None:
        width = shutil.get_terminal_size().columns
        lines = [line[: width - 1] for line in self.lines(now, slow_down)]  # a line that wraps is drawn over wrongly
        up = f"\x1b[{self._height}A" if self._height else ""
        self._stream.write(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._height, self._drawn_at = len(lines), now


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ascending values that `share` of them do not exceed; 0 where there is none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _mix(subnets: Sequence[str]) -> list[str]:
    """A bar for each subnet, the most used first."""
    ranked = Counter(subnets).most_common()
    rows = ranked if len(ranked) <= ROWS else [*ranked[: ROWS - 1], ("others", sum(n for _, n in ranked[ROWS - 1 :]))]
    width = max((len(name) for name, _ in rows), default=0)
    return [
        f"{name.ljust(width)}  {('#' * round(BAR * count / len(subnets))).ljust(BAR, '.')} "
        f"{100 * count / len(subnets):3.0f} %"
        for name, count in rows
    ]


def _measured() -> Callable[[], float | None]:
    sensors = Sensors()
    return lambda: sensors.read().others_cpu.value
