"""Down at once, up one try at a time, later after each failed try."""

import pytest

from gearshift.runtime.backoff import FIRST_HOLD_S, LONGEST_HOLD_S, Backoff


def test_nothing_is_held_back_while_deadlines_are_met() -> None:
    backoff = Backoff(7)
    for second in range(5):
        backoff.record(0, met=True, now=second)
        assert backoff.level(second) == 0


@pytest.mark.parametrize("rung", range(7))
def test_a_miss_holds_back_its_own_rung_and_all_slower_ones_at_once(rung: int) -> None:
    backoff = Backoff(7)
    backoff.record(rung, met=False, now=0.0)
    assert backoff.level(0.0) == min(rung + 1, 6)  # the fastest rung is never held back


def test_a_miss_of_a_rung_that_is_held_back_already_changes_nothing() -> None:
    backoff = Backoff(7)
    backoff.record(3, met=False, now=0.0)
    backoff.record(1, met=False, now=0.1)  # a slower request that was on its way
    assert backoff.level(FIRST_HOLD_S - 0.01) == 4
    assert backoff.level(FIRST_HOLD_S) == 2


def test_the_level_comes_back_by_halves_when_a_hold_ends() -> None:
    backoff = Backoff(9)
    backoff.record(7, met=False, now=0.0)
    now, seen = 0.0, []
    while backoff.level(now):
        seen.append(backoff.level(now))
        now += FIRST_HOLD_S
    assert seen == [8, 4, 2, 1]


def test_each_failed_try_doubles_the_hold_up_to_the_longest() -> None:
    backoff, now, holds = Backoff(2), 0.0, []
    for _ in range(6):
        backoff.record(0, met=False, now=now)
        began = now
        while backoff.level(now):
            now += FIRST_HOLD_S / 4
        holds.append(now - began)
    assert holds == [FIRST_HOLD_S * factor for factor in (1, 2, 4, 8, 8, 8)]
    assert max(holds) == LONGEST_HOLD_S


def test_a_miss_long_after_the_last_one_starts_again_with_the_shortest_hold() -> None:
    backoff = Backoff(2)
    for now in (0.0, FIRST_HOLD_S, 3 * FIRST_HOLD_S):
        assert backoff.level(now) == 0
        backoff.record(0, met=False, now=now)
    assert backoff.level(100.0) == 0
    backoff.record(0, met=False, now=200.0)
    assert backoff.level(200.0 + FIRST_HOLD_S) == 0


def test_a_load_that_stays_costs_fewer_tries_than_a_try_after_every_hold() -> None:
    backoff, tries = Backoff(3), 0
    for tick in range(1000):  # 20 seconds of requests at 50 a second; only the fastest keeps its deadline
        now = tick / 50
        level = backoff.level(now)
        tries += level < 2
        backoff.record(level, met=level == 2, now=now)
    assert 1 <= tries <= 20 / FIRST_HOLD_S


def test_a_single_rung_is_never_held_back() -> None:
    backoff = Backoff(1)
    backoff.record(0, met=False, now=0.0)
    assert backoff.level(0.0) == 0
