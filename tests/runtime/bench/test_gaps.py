"""Calls after pauses, and memory as a made-up /proc tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearshift.runtime.bench.gaps import GAPS_S, MOST_CALLS, gap_effects
from gearshift.runtime.sensors.memory import Memory, read_memory


class Slow:
    """A call that takes 10 ms, and 5 ms more for each tenth of a second that it was not called, up to 50."""

    def __init__(self) -> None:
        self.now = self.last = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        took = 0.010 + min(0.005 * round((self.now - self.last) / 0.1), 0.050)
        self.now += took
        self.last = self.now
        return took * 1e3


def test_a_call_after_a_pause_is_compared_with_usual_ones() -> None:
    call = Slow()
    effects = gap_effects(call, 10.0, seconds=60.0, sleep=call.sleep)
    assert [effect.gap_s for effect in effects] == list(GAPS_S)
    assert [effect.calls for effect in effects] == [MOST_CALLS, MOST_CALLS]
    assert effects[0].median_ratio == pytest.approx(1.5)
    assert effects[1].median_ratio == pytest.approx(6.0)
    assert all(effect.p95_ratio >= effect.median_ratio for effect in effects)


def test_pauses_that_there_is_no_time_for_are_left_out() -> None:
    call = Slow()
    assert [effect.gap_s for effect in gap_effects(call, 10.0, seconds=2.0, sleep=call.sleep)] == [0.1]
    assert gap_effects(call, 10.0, seconds=0.2, sleep=call.sleep) == ()
    assert call.now < 3


def test_memory_is_read_in_millions_of_bytes(tmp_path: Path) -> None:
    path = tmp_path / "proc/self/smaps_rollup"
    path.parent.mkdir(parents=True)
    path.write_text("0-f ---p 0 00:00 0 [rollup]\nRss: 9000 kB\nPss:      1000 kB\nAnonymous:  500 kB\n")
    memory = read_memory(tmp_path)
    assert memory == Memory(1.024, 0.512)
    assert memory.less(Memory(1.0, 0.5)) == Memory(pytest.approx(0.024), pytest.approx(0.012))  # type: ignore[arg-type]


def test_memory_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    assert read_memory(tmp_path) is None
