"""The demo's timeline: a picture that can be opened, and shades where the load was on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image, pyplot

from examples.demo.load import Schedule
from examples.demo.plot import _loaded_spans, plot_timeline
from examples.demo.serve import Plan, Served

SUBNETS = ("small", "middle", "large")


def plan(seconds: float = 20.0) -> Plan:
    return Plan(2.0, 0.5, 5.0, 10.0, 4, seconds, Schedule(off_s=3.0, on_s=5.0))


def stream(*subnets: str) -> list[Served]:
    return [
        Served(index / 10, 1.0 + index % 7, subnet, index % 7 < 4, True, False, 1.0 + index % 3)
        for index, subnet in enumerate(subnets)
    ]


@pytest.mark.parametrize(
    "served",
    [stream(*["small", "large"] * 20), stream("large"), stream("large", "large", "large")],
    ids=["switching", "one request", "one subnet"],
)
def test_the_file_is_a_picture_with_something_on_it(served: list[Served], tmp_path: Path) -> None:
    plot_timeline(tmp_path / "timeline.png", served, plan(), SUBNETS)
    pixels = image.imread(tmp_path / "timeline.png")
    assert pixels.shape[:2] == (880, 1210)
    colours = (255 * pixels[..., :3]).astype(np.int64) @ np.array([65536, 256, 1])
    assert len(np.unique(colours)) > 20
    assert pyplot.get_fignums() == []


def test_other_streams_give_other_pictures(tmp_path: Path) -> None:
    for name, subnets in (("a", ("small", "large", "small")), ("b", ("small", "middle", "small"))):
        plot_timeline(tmp_path / f"{name}.png", stream(*subnets), plan(), SUBNETS)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("seconds", [0.5, 3.0, 4.0, 8.0, 11.0, 20.0])
def test_the_shades_are_where_the_load_was_on(seconds: float) -> None:
    spans = _loaded_spans(plan(seconds))
    for time_s in np.arange(0.05, seconds, 0.1):
        assert any(start <= time_s < end for start, end in spans) == plan().load.on_at(time_s)
    assert all(0 <= start < end <= seconds for start, end in spans)
