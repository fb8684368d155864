"""Live view of a running engine on a terminal: number of requests, latency, deadlines met, and subnets used."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

from gearshift.escaping import escaped
from gearshift.runtime.inference.answers import RunFacts
from gearshift.runtime.sensors.sensors import Sensors

REFRESH_S = 0.3
"""Time in seconds between two redraws: about three a second can be read and cost next to nothing."""

WINDOW_S = 10.0
"""Length in seconds of the window that latencies and subnets are shown for."""
KEPT = 4096
"""Most requests in the window: memory is bounded at any rate."""

BAR = 30
ROWS = 6
"""Number of subnets with a bar of their own; the rest share one."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at_s: float
    latency_ms: float
    met: bool | None
    subnet: str


class LiveView:
    """View that redraws itself in place as answers are added; silent unless `stream` is a terminal.

    `others_cpu`: function that gives the share of the CPUs that other programs take, or None; by default it is
    measured.
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
        """Add an answer, and redraw if the last drawing is old enough."""
        now = self._clock()
        self._seen.append(_Seen(now, answer.latency_ms, answer.deadline_met, answer.subnet))
        self._requests += 1
        self._with_deadline += answer.deadline_met is not None
        self._met += answer.deadline_met is True
        if self.shown and now - self._drawn_at >= REFRESH_S:
            self._draw(now, slow_down)

    def finish(self, slow_down: float) -> None:
        """Draw the final state, which stays on the terminal."""
        if self.shown and self._requests:
            self._draw(self._clock(), slow_down)

    def lines(self, now: float, slow_down: float) -> list[str]:
        """Return the lines of the view: counts since the start, everything else over the last seconds."""
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
        lines = [
            escaped(line)[: width - 1] for line in self.lines(now, slow_down)
        ]  # a wrapped line would break the redraw
        up = f"\x1b[{self._height}A" if self._height else ""
        try:
            self._stream.write(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
            self._stream.flush()
        except OSError:  # the terminal was closed; the answers go on
            self.shown = False
        self._height, self._drawn_at = len(lines), now


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of the ascending values that `share` of them do not exceed; 0 if there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _mix(subnets: Sequence[str]) -> list[str]:
    """Return a bar for each subnet, the most used first."""
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
