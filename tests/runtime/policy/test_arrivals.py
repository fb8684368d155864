"""Tests that whom a long run makes late is learnt from those who came after the runs before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.policy.restraint import Arrivals


def after(pairs: int, gap_s: float, deadline_ms: float = 20.0, fastest_ms: float = 2.0) -> Arrivals:
    """Return arrivals that saw pairs of requests, the second `gap_s` after the first, ten seconds apart."""
    seen = Arrivals()
    for number in range(pairs):
        now = 10.0 * number
        seen.came(now, deadline_ms, fastest_ms)
        seen.begins(now, queued=False)
        seen.came(now + gap_s, deadline_ms, fastest_ms)
    return seen


def test_nobody_is_late_before_anybody_came() -> None:
    assert Arrivals().made_late(False, 1000.0) == 0.0


def test_one_that_follows_is_late_when_the_run_takes_longer_than_its_deadline_leaves() -> None:
    seen = after(500, gap_s=0.001)  # late if 1 + 20 - 2 ms are taken before its turn
    assert seen.made_late(False, 15.0) == 0.0
    assert seen.made_late(False, 30.0) == pytest.approx(1.0, abs=0.02)


def test_one_that_comes_much_later_is_not() -> None:
    assert after(50, gap_s=1.0).made_late(False, 100.0) == 0.0


def test_a_burst_makes_more_late_than_the_same_number_of_single_ones() -> None:
    seen = Arrivals()
    for number in range(40):
        now = 10.0 * number
        seen.came(now, 20.0, 2.0)
        seen.begins(now, queued=False)
        for follower in range(5 * (number % 4 == 0)):  # one start in four is followed by five
            seen.came(now + 0.001 * (follower + 1), 20.0, 2.0)
    # The fifth is late from 5 + 20 - 10 ms on, the first from 19 ms.
    assert seen.made_late(False, 14.0) == 0.0
    assert 0 < seen.made_late(False, 18.0) < seen.made_late(False, 40.0)
    assert seen.made_late(False, 40.0) == pytest.approx(5 / 4, rel=0.2)


def test_runs_with_others_waiting_are_counted_apart() -> None:
    assert after(50, gap_s=0.001).made_late(True, 30.0) == 0.0


def test_what_was_long_ago_fades() -> None:
    seen = after(50, gap_s=0.001)
    for number in range(6000):  # one in three is followed
        seen.begins(1000.0 + number, queued=False)
    assert seen.made_late(False, 30.0) < 0.001


def test_counts_stay_right_however_long_it_runs() -> None:
    assert after(20_000, gap_s=0.001).made_late(False, 30.0) == pytest.approx(1.0, abs=0.01)


events = st.lists(st.tuples(st.floats(0, 0.1), st.floats(0.1, 500), st.floats(0.01, 50), st.booleans()), max_size=60)


@given(events, st.lists(st.floats(0, 1e6), min_size=2), st.booleans())
def test_a_longer_run_never_makes_fewer_late(
    seen: list[tuple[float, float, float, bool]], times: list[float], queued: bool
) -> None:
    arrivals, now = Arrivals(), 0.0
    for pause, deadline_ms, fastest_ms, its_queue in seen:
        now += pause
        arrivals.came(now - 0.01, deadline_ms, fastest_ms)
        arrivals.begins(now, queued=its_queue)
    late = [arrivals.made_late(queued, time) for time in sorted(times)]
    assert late == sorted(late)
    assert late[0] >= 0


@given(
    st.lists(st.tuples(st.floats(0, 0.05), st.booleans(), st.booleans()), max_size=60),
    st.floats(0.1, 100.0),
)
def test_turns_count_the_same_whether_they_are_settled_after_each_run_or_when_they_are_asked_for(
    turns: list[tuple[float, bool, bool]], run_ms: float
) -> None:
    at_once, later, now = Arrivals(), Arrivals(), 0.0
    for gap_s, queued, runs in turns:
        now += gap_s
        for seen in (at_once, later):
            seen.came(now, 20.0, 2.0)
            if runs:
                seen.begins(now, queued=queued)
        at_once.settle()
    for queued in (False, True):
        assert later.made_late(queued, run_ms) == at_once.made_late(queued, run_ms)
