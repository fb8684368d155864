from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass

import pytest

from gearshift.drawing.live import BAR, KEPT, REFRESH_S, ROWS, WINDOW_S, LiveView, percentile
from gearshift.runtime.inference.answers import RunFacts


class Terminal(io.StringIO):
    """A terminal that plays back what it shows, for the two sequences that the view uses."""

    def isatty(self) -> bool:
        return True

    @property
    def pictures(self) -> list[list[str]]:
        return [part.split("\x1b[")[0].splitlines() for part in self.getvalue().split("\r\x1b[J")[1:]]

    @property
    def screen(self) -> list[str]:
        lines: list[str] = []
        for part in self.getvalue().split("\r\x1b[J"):
            text, _, up = part.partition("\x1b[")
            lines += text.splitlines()
            if up:
                del lines[len(lines) - int(up.removesuffix("A")) :]
        return lines


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def answer(latency_ms: float = 5.0, met: bool | None = True, subnet: str = "big") -> RunFacts:
    return RunFacts(
        subnet=subnet,
        reason="fits",
        latency_ms=latency_ms,
        predicted_ms=6.0,
        deadline_ms=10.0,
        deadline_met=met,
        tokens=5,
        truncated=False,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((100, 24)))
    return Terminal()


def view(stream: io.StringIO, clock: Clock, others: float | None = 0.5) -> LiveView:
    return LiveView(stream, clock=clock, others_cpu=lambda: others)


def test_nothing_is_written_where_there_is_no_terminal(clock: Clock) -> None:
    stream = io.StringIO()
    quiet = view(stream, clock)
    quiet.add(answer(), 1.0)
    quiet.finish(1.0)
    assert (stream.getvalue(), quiet.shown) == ("", False)


def test_nothing_is_drawn_without_a_request(terminal: Terminal, clock: Clock) -> None:
    view(terminal, clock).finish(1.0)
    assert terminal.getvalue() == ""


def test_a_picture_has_rate_latency_deadlines_load_and_mix(terminal: Terminal, clock: Clock) -> None:
    live = view(terminal, clock)
    for number in range(100):
        clock.now = 100 + number / 50
        live.add(answer(number + 1, met=number % 4 > 0, subnet="big" if number % 10 < 7 else "small"), 1.5)
    clock.now = 102.0
    live.finish(1.75)
    assert terminal.screen == [
        "100 requests   50.0 a second   75.0 % in time",
        "latency p50 50.0 ms   p99 99.0 ms   slow-down 1.75   others take 50 % of the CPUs",
        f"big    {'#' * 21}{'.' * 9}  70 %",
        f"small  {'#' * 9}{'.' * 21}  30 %",
    ]


def test_it_is_drawn_about_three_times_a_second(terminal: Terminal, clock: Clock) -> None:
    live = view(terminal, clock)
    for number in range(1000):
        clock.now = 100 + number / 100
        live.add(answer(), 1.0)
    assert 20 <= len(terminal.pictures) <= 10 / REFRESH_S + 1


def test_each_picture_takes_the_place_of_the_last_one(terminal: Terminal, clock: Clock) -> None:
    live = view(terminal, clock)
    for number in range(12):  # more and more subnets: pictures of other heights
        clock.now += 1
        live.add(answer(subnet=f"subnet {number}"), 1.0)
        assert terminal.screen == terminal.pictures[-1]
    assert len(terminal.screen) == 2 + ROWS
    assert terminal.screen[-1].startswith("others")


def test_only_the_last_seconds_count_but_for_the_totals(terminal: Terminal, clock: Clock) -> None:
    live = view(terminal, clock)
    live.add(answer(1000.0, met=False, subnet="old"), 1.0)
    clock.now += WINDOW_S + 1
    live.add(answer(2.0), 1.0)
    assert terminal.screen[0].startswith("2 requests")
    assert terminal.screen[0].endswith("50.0 % in time")
    assert "p99 2.0 ms" in terminal.screen[1]
    assert [line.split()[0] for line in terminal.screen[2:]] == ["big"]


def test_requests_without_deadline_and_an_unknown_load_are_left_out(terminal: Terminal, clock: Clock) -> None:
    live = view(terminal, clock, others=None)
    live.add(answer(met=None), 1.0)
    assert terminal.screen[0].endswith("no deadlines")
    assert "others" not in "".join(terminal.screen)


def test_lines_are_cut_to_the_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((20, 24)))
    terminal = Terminal()
    view(terminal, clock).add(answer(), 1.0)
    assert max(map(len, terminal.screen)) == 19


def test_memory_is_bounded(clock: Clock) -> None:
    live = view(io.StringIO(), clock)
    for _ in range(KEPT + 100):
        live.add(answer(), 1.0)
    assert len(live._seen) == KEPT
    assert live.lines(clock.now, 1.0)[-1] == f"big  {'#' * BAR} 100 %"


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0.0), ([3.0], 0.99, 3.0), ([1.0, 2.0], 0.5, 1.0), ([1.0, 2.0, 3.0], 0.5, 2.0), ([1.0, 2.0], 1.0, 2.0)],
)
def test_a_percentile_is_one_of_the_values(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_a_terminal_that_is_closed_takes_no_answer_with_it(clock: Clock) -> None:
    ours, theirs = os.openpty()
    stream = os.fdopen(theirs, "w", encoding="utf-8")
    shown = LiveView(stream, clock=clock, others_cpu=lambda: None)
    assert shown.shown
    os.close(ours)
    shown.add(answer(), 1.0)
    shown.finish(1.0)
    assert not shown.shown
    with contextlib.suppress(OSError):  # it holds what could not be written
        stream.close()
