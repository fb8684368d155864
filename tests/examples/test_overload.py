"""The demo's surge: every request is sent, judged and counted. No test looks at how fast it went."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image, pyplot

from examples.demo import overload
from examples.demo.overload import Asked, Phase, arrivals, capacity, make_surge, serve, surge_lines
from examples.demo.plot import plot_surge
from gearshift.runtime import Engine

PHASES = (Phase("before", 0.5, 40.0), Phase("overload", 1.0, 200.0), Phase("after", 0.5, 40.0))
ROWS = [("turn the lights off", "lights_off"), ("play some music please", "other")]


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine.load(tiny_bundle, threads=1, queue_limit=50) as loaded:
        yield loaded


def test_arrivals_are_as_many_as_the_rates_say_and_always_the_same() -> None:
    asked = list(arrivals(ROWS, PHASES, seed=3))
    assert asked == list(arrivals(ROWS, PHASES, seed=3))
    assert [one.arrives_s for one in asked] == sorted(one.arrives_s for one in asked)
    counts = {name: len(list(ones)) for name, ones in itertools.groupby(asked, key=lambda one: one.phase)}
    assert 8 < counts["before"] < 40 and 150 < counts["overload"] < 250 and 8 < counts["after"] < 40
    assert [one.text for one in asked[:3]] == [ROWS[0][0], ROWS[1][0], ROWS[0][0]]


def test_every_request_is_sent_and_judged(engine: Engine) -> None:
    asked = list(arrivals(ROWS, PHASES[:1], seed=0))
    seen: list[Asked] = []
    serve(engine, asked, 60_000, live=seen.append)
    assert seen == asked
    for one in asked:
        assert one.met and one.subnet in engine.subnets and 0 < one.latency_ms < 60_000
        engine.pin(one.subnet)
        assert one.right == (engine.run(one.text).label == one.label)
    engine.pin(None)


def test_what_is_refused_is_late(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is held back until all are sent: one runs or waits already, and 50 more can wait."""
    asked = [Asked(0.0, "turn the lights off", "lights_off", "overload") for _ in range(80)]
    all_sent, real = threading.Event(), engine._opened.session.run

    def run(*given: Any) -> Any:
        assert all_sent.wait(60)
        return real(*given)

    def live(one: Asked) -> None:
        if one is asked[-1]:
            all_sent.set()

    monkeypatch.setattr(engine._opened.session, "run", run)
    serve(engine, asked, 600_000, live=live)
    refused = [one for one in asked if not one.subnet]
    assert 80 - 52 <= len(refused) <= 80 - 50 and not any(one.met or one.right for one in refused)
    assert all(one.met for one in asked if one.subnet)


def test_the_surge_is_more_than_the_subnet_serves(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine.load(engine.bundle.path, threads=1) as roomy:
        assert capacity(roomy, roomy.subnets[-1], ["hello"]) > 0
        assert roomy.run("hello").reason == "no_deadline"  # nothing stays pinned
    monkeypatch.setattr(overload, "capacity", lambda engine, subnet, texts: 100.0)
    assert [phase.rate for phase in make_surge(engine, "any", ["hello"], 7.0)] == [7.0, 130.0, 7.0]


def _judged() -> dict[str, list[Asked]]:
    streams = {name: list(arrivals(ROWS, PHASES, seed=0)) for name in ("without the DAN", "with the DAN")}
    for name, asked in streams.items():
        for number, one in enumerate(asked):
            late = name == "without the DAN" and one.phase == "overload" and number % 4 != 0
            one.subnet, one.met, one.right = ("dan" if number % 2 else "small"), not late, number % 2 == 0
    return streams


def test_the_lines_count_each_phase() -> None:
    lines = surge_lines(_judged(), PHASES)
    assert len(lines) == 1 + 2 * 3
    without = next(line for line in lines if line.startswith("without the DAN  overload"))
    assert "25." in without or "24." in without
    assert "100.0 %" in next(line for line in lines if line.startswith("with the DAN     overload"))


def test_the_picture_has_something_on_it(tmp_path: Path) -> None:
    plot_surge(tmp_path / "overload.png", _judged(), PHASES)
    pixels = image.imread(tmp_path / "overload.png")
    assert pixels.shape[:2] == (880, 1210)
    colours = (255 * pixels[..., :3]).astype(np.int64) @ np.array([65536, 256, 1])
    assert len(np.unique(colours)) > 20
    assert pyplot.get_fignums() == []
