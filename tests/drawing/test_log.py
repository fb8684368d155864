"""The plot of a decision log: a picture that can be opened and that shows what the log says."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib import image, pyplot

from gearshift.drawing.log import BINS, PAUSE_S, _with_gaps, plot_log, shares_in_time
from gearshift.errors import DataError, InputError, StorageError
from gearshift.runtime.serving.decision_log import LoggedRun
from gearshift.runtime.serving.record import RequestRecord
from tests.runtime.serving.test_record import ANSWERED, HEADER, SHED


def stream(*subnets: str, every_s: float = 0.1) -> LoggedRun:
    records = tuple(
        replace(ANSWERED, time=1e9 + number * every_s, subnet=subnet, latency_ms=1.0 + number % 7, met=number % 7 < 4)
        for number, subnet in enumerate(subnets)
    )
    return LoggedRun(HEADER, records)


@pytest.mark.parametrize(
    "runs",
    [
        [stream(*["big", "small"] * 20)],
        [stream("big")],
        [stream("small"), stream("big", "small")],
        [LoggedRun(HEADER, (replace(ANSWERED, deadline_ms=None, met=None, slow_down=None, signals={}), SHED))],
    ],
    ids=["switching", "one request", "two engines", "without deadline"],
)
def test_the_file_is_a_picture(runs: list[LoggedRun], tmp_path: Path) -> None:
    assert plot_log(runs, tmp_path / "plot.png") == sum(len(run.records) for run in runs)
    assert image.imread(tmp_path / "plot.png").shape[:2] == (1210, 1210)
    assert plot_log(runs, tmp_path / "plot.svg")
    assert ET.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")
    assert pyplot.get_fignums() == []


def test_other_requests_give_another_picture(tmp_path: Path) -> None:
    plot_log([stream("big", "small", "big")], tmp_path / "a.png")
    plot_log([stream("big", "small", "small")], tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_shares_are_of_equal_parts_of_the_time_and_no_answer_is_a_miss() -> None:
    def at(second: float, **facts: object) -> RequestRecord:
        return replace(ANSWERED, time=second, **facts)  # type: ignore[arg-type]

    records = [
        at(0.0),
        at(0.5, met=False),
        at(0.6, met=None, deadline_ms=None),
        at(0.7, met=None, error="shed"),
        at(float(BINS)),
    ]
    times, shares = shares_in_time(records, 0.0)
    assert times == [0.5, BINS - 0.5]
    assert shares == [pytest.approx(1 / 3), 1.0]
    assert shares_in_time([replace(ANSWERED, deadline_ms=None)], 0.0) == ([], [])


def test_lines_break_where_nothing_was() -> None:
    times, values = _with_gaps([(0.0, 1.0), (PAUSE_S, 2.0), (2 * PAUSE_S + 0.1, 3.0)])
    assert times == [0.0, PAUSE_S, 2 * PAUSE_S + 0.1, 2 * PAUSE_S + 0.1]
    assert [value == value for value in values] == [True, True, False, True]


def test_a_log_without_answers_another_format_and_a_place_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="answered requests, found none"):
        plot_log([LoggedRun(HEADER, (SHED,))], tmp_path / "plot.png")
    with pytest.raises(InputError, match=r"plot\.pdf: expected a name that ends in \.png or \.svg"):
        plot_log([stream("big")], tmp_path / "plot.pdf")
    with pytest.raises(StorageError, match="could not be written"):
        plot_log([stream("big")], tmp_path / "missing" / "plot.png")
    assert pyplot.get_fignums() == []
