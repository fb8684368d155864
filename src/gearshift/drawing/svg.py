"""Charts as data, and as SVG without any package: a device has no matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gearshift.drawing.markup import escape

WIDTH, HEIGHT = 360, 250
"""Size of a chart in its own units: at the width of a phone a unit is about a pixel, and text is legible."""

LEFT, RIGHT, TOP, BOTTOM = 44, 10, 26, 38
"""Margins of a chart, in its own units."""

COLOURS = ("#1f6feb", "#d2691e", "#2e8b57", "#8b3fa8", "#b8860b", "#c2185b", "#607080", "#00838f")
FONT = 11

MARKED = 3.0
"""Greatest factor by which a vertical line may lie beyond the points; further out it is omitted, as it would squeeze
them together."""

TICKS = 5
"""Approximate number of labels on an axis."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points that belong together."""

    name: str
    points: tuple[Point, ...]
    form: Literal["points", "line", "steps", "dashes"]
    labels: tuple[str, ...] = ()
    """Text beside each point; empty for none."""
    colour: int = 0
    """Place in COLOURS."""


@dataclass(frozen=True)
class Chart:
    """A chart with two axes."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_log: bool = False
    y_log: bool = False
    x_marks: tuple[tuple[float, str], ...] = ()
    """Vertical lines with a text, such as a deadline."""
    y_names: tuple[str, ...] = ()
    """Names of the whole numbers from 0 on, if y is not a quantity."""
    from_zero: bool = False
    """Whether the y axis begins at 0."""


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Return the position of a value on the axis: 0 at the low end, 1 at the high end."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, 1e-12)))
        return (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return round numbers within the axis."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [m * 10.0**p for p in powers for m in (1, 2, 5)]
            inside = [tick for tick in found if self.low <= tick <= self.high]
            if len(inside) >= 2:
                return inside
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / TICKS))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= TICKS)
        first = math.ceil(self.low / step)
        return [step * n for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def svg(chart: Chart) -> str:
    """Return the chart as an SVG element that adapts to the available width."""
    x, y = _axes(chart)
    left = LEFT if not chart.y_names else min(16 + 6 * max(map(len, chart.y_names)), WIDTH // 3)
    across = _scale(left, WIDTH - RIGHT)
    down = _scale(HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}" '
        f'xmlns="http://www.w3.org/2000/svg" font-size="{FONT}" font-family="system-ui, sans-serif">',
        f'<text x="4" y="13" font-weight="600">{escape(chart.title)}</text>',
    ]
    for tick in x.ticks():
        at = across(x.share(tick))
        parts.append(f'<line class="grid" x1="{at}" y1="{TOP}" x2="{at}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{tick:g}</text>')
    for value, text in _y_ticks(chart, y):
        at = down(y.share(value))
        parts.append(f'<line class="grid" x1="{left}" y1="{at}" x2="{WIDTH - RIGHT}" y2="{at}"/>')
        parts.append(f'<text class="tick" x="{left - 4}" y="{at + 4}" text-anchor="end">{escape(text)}</text>')
    middle = (left + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(chart.x_label)}</text>')
    if chart.y_label:
        parts.append(f'<text x="{WIDTH - RIGHT}" y="13" text-anchor="end" class="tick">{escape(chart.y_label)}</text>')
    for value, text in chart.x_marks:
        if x.low <= value <= x.high:
            at = across(x.share(value))
            parts.append(f'<line class="mark" x1="{at}" y1="{TOP}" x2="{at}" y2="{HEIGHT - BOTTOM}"/>')
            end = "end" if at > WIDTH * 0.7 else "start"
            nudge = -3 if end == "end" else 3
            place = HEIGHT - BOTTOM - 5
            parts.append(f'<text class="mark" x="{at + nudge}" y="{place}" text-anchor="{end}">{escape(text)}</text>')
    for one in chart.series:
        parts += _series(one, [(across(x.share(px)), down(y.share(py))) for px, py in one.points])
    return "\n".join([*parts, "</svg>"])


STYLE = (
    ".grid{stroke:currentColor;stroke-opacity:.15}.tick{fill:currentColor;fill-opacity:.7}"
    "line.mark{stroke:#d32f2f;stroke-dasharray:4 3}text.mark{fill:#d32f2f}svg text{fill:currentColor}"
)
"""CSS of the classes of a chart."""


def legend(chart: Chart) -> str:
    """Return the names of the series with their colours, as HTML."""
    names = dict.fromkeys((one.name, COLOURS[one.colour % len(COLOURS)]) for one in chart.series if one.name)
    spans = (f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in names)
    return f'<p class="legend">{" ".join(spans)}</p>' if len(names) > 1 else ""


def svg_file(charts: Sequence[Chart]) -> str:
    """Return one SVG image with all charts below each other."""
    height = (HEIGHT + 24) * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{2 * height}" '
        f'viewBox="0 0 {WIDTH} {height}" color="#222"><style>{STYLE}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>'
    ]
    for place, chart in enumerate(charts):
        top = place * (HEIGHT + 24)
        inner = svg(chart).replace("<svg ", f'<svg x="0" y="{top}" width="{WIDTH}" height="{HEIGHT}" ', 1)
        parts += [inner, _svg_legend(chart, top + HEIGHT + 8)]
    return "\n".join([*parts, "</svg>", ""])


def _svg_legend(chart: Chart, top: float) -> str:
    names = dict.fromkeys((one.name, COLOURS[one.colour % len(COLOURS)]) for one in chart.series if one.name)
    if len(names) < 2:
        return ""
    parts, left = [], float(LEFT)
    for name, colour in names:
        parts.append(f'<rect x="{left}" y="{top - 7}" width="8" height="8" fill="{colour}"/>')
        parts.append(
            f'<text x="{left + 11}" y="{top}" font-size="{FONT - 2}" font-family="sans-serif">{escape(name)}</text>'
        )
        left += 22 + 5.2 * len(name)
    return "".join(parts)


def _scale(start: float, end: float) -> _Scale:
    return _Scale(start, end)


@dataclass(frozen=True)
class _Scale:
    start: float
    end: float

    def __call__(self, share: float) -> float:
        return round(self.start + share * (self.end - self.start), 1)


def _axes(chart: Chart) -> tuple[_Axis, _Axis]:
    points = [point for one in chart.series for point in one.points]
    across = [px for px, _ in points]
    near = [m for m, _ in chart.x_marks if across and min(across) / MARKED <= m <= max(across) * MARKED]
    x = _axis(across + near, chart.x_log)
    if chart.y_names:
        return x, _Axis(-0.5, len(chart.y_names) - 0.5, False)
    return x, _axis([py for _, py in points] + ([0.0] if chart.from_zero else []), chart.y_log)


def _axis(values: Sequence[float], log: bool) -> _Axis:
    """Return an axis from the least to the greatest value, with a small margin."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log and low > 0:
        room = max((high / low) ** 0.06, 1.05)
        return _Axis(low / room, high * room, True)
    room = (high - low) * 0.06 or max(abs(high) * 0.05, 0.5)
    return _Axis(low - room if low != 0 else 0.0, high + room, False)


def _y_ticks(chart: Chart, axis: _Axis) -> list[tuple[float, str]]:
    if chart.y_names:
        return [(float(place), name) for place, name in enumerate(chart.y_names)]
    return [(tick, f"{tick:g}") for tick in axis.ticks()]


def _series(one: Series, places: Sequence[Point]) -> list[str]:
    colour = COLOURS[one.colour % len(COLOURS)]
    parts = []
    if one.form == "points":
        parts += [f'<circle cx="{px}" cy="{py}" r="3" fill="{colour}"/>' for px, py in places]
    elif len(places) > 1:
        steps = one.form == "steps"
        path = " ".join(
            f"{'M' if place == 0 else f'H{px} V{py} L' if steps else 'L'}{px} {py}"
            for place, (px, py) in enumerate(places)
        )
        dashes = ' stroke-dasharray="4 3"' if one.form == "dashes" else ""
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>')
    for (px, py), text in zip(places, one.labels, strict=False):
        if text:
            end = "end" if px > WIDTH * 0.7 else "start"
            nudge = -5 if end == "end" else 5
            parts.append(
                f'<text x="{px + nudge}" y="{py - 4}" text-anchor="{end}" font-size="{FONT - 2}">{escape(text)}</text>'
            )
    return parts
