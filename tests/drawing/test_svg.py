"""Charts as SVG: well-formed, within their frame, and with every text that they were given."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from gearshift.drawing.svg import BOTTOM, HEIGHT, TOP, WIDTH, Chart, Series, legend, svg, svg_file

CHART = Chart(
    "A & B <fast>",
    "ms",
    "accuracy, %",
    (
        Series("points", ((1.0, 70.0), (10.0, 90.0)), "points", ("first", ""), colour=0),
        Series("steps", ((1.0, 70.0), (10.0, 90.0)), "steps", colour=1),
        Series("", ((1.0, 70.0), (10.0, 90.0)), "dashes", colour=2),
    ),
    x_log=True,
    x_marks=((5.0, "deadline 5 ms"), (1e6, "far away")),
)
NAMED = Chart("Ladder", "ms", "", (Series("median", ((0.0, 0.0), (3.0, 1.0)), "line"),), y_names=("small", "large"))


@pytest.mark.parametrize("chart", [CHART, NAMED], ids=["log", "names"])
def test_a_chart_is_one_svg_element_within_its_frame(chart: Chart) -> None:
    root = ElementTree.fromstring(svg(chart))
    assert root.tag.endswith("svg")
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(name, 0)) <= WIDTH
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.get(name, 0)) <= HEIGHT


def test_every_text_is_there_and_escaped() -> None:
    drawn = svg(CHART)
    assert "A &amp; B &lt;fast&gt;" in drawn
    texts = [element.text for element in ElementTree.fromstring(drawn).iter() if element.text and element.text.strip()]
    assert {"ms", "accuracy, %", "first", "deadline 5 ms", "2", "5", "75", "90"} <= set(texts)
    assert "far away" not in texts  # beyond the axis


def test_more_is_to_the_right_and_further_up() -> None:
    circles = [element for element in ElementTree.fromstring(svg(CHART)).iter() if element.tag.endswith("circle")]
    (left, low), (right, high) = ((float(c.get("cx", 0)), float(c.get("cy", 0))) for c in circles)
    assert left < right
    assert TOP <= high < low <= HEIGHT - BOTTOM


def test_a_deadline_a_little_beyond_the_points_widens_the_axis() -> None:
    chart = Chart("t", "ms", "", (Series("", ((1.0, 1.0), (2.0, 2.0)), "points"),), x_marks=((5.0, "deadline"),))
    assert "deadline" in svg(chart)


def test_a_legend_names_what_can_be_told_apart() -> None:
    assert re.findall(r"</i>(\w+)<", legend(CHART)) == ["points", "steps"]
    assert legend(NAMED) == ""


@pytest.mark.parametrize("points", [((1.0, 1.0),), ((0.0, 0.0), (0.0, 0.0)), ()])
def test_few_points_are_drawn_too(points: tuple[tuple[float, float], ...]) -> None:
    for log in (False, True):
        ElementTree.fromstring(svg(Chart("t", "x", "y", (Series("s", points, "line"),), x_log=log, y_log=log)))


def test_several_charts_make_one_file() -> None:
    root = ElementTree.fromstring(svg_file([CHART, NAMED]))
    assert len([child for child in root if child.tag.endswith("svg")]) == 2
