"""Tests of back-off: down at the second miss, up one try at a time, later after each failed try."""

import math

import pytest

from gearshift.runtime.policy.restraint import FIRST_HOLD_S, LONGEST_HOLD_S, MISSES_TOGETHER, MISSES_TOGETHER_S, Backoff


def _fail(backoff: Backoff, expected_ms: float, now: float) -> None:
    for _ in range(2):
        backoff.record(expected_ms, met=False, now=now)


def test_nothing_is_held_back_while_deadlines_are_met() -> None:
    backoff = Backoff()
    for second in range(5):
        backoff.record(8.0, met=True, now=second)
        assert backoff.limit_ms(second) == math.inf


def test_one_miss_is_chance_and_a_second_soon_after_is_not() -> None:
    backoff = Backoff()
    backoff.record(8.0, met=False, now=0.0)
    backoff.record(8.0, met=False, now=MISSES_TOGETHER_S + 0.01)
    assert backoff.limit_ms(MISSES_TOGETHER_S + 0.01) == math.inf
    backoff.record(8.0, met=False, now=2 * MISSES_TOGETHER_S)
    assert backoff.limit_ms(2 * MISSES_TOGETHER_S) == 8.0


@pytest.mark.parametrize(("between", "limit_ms"), [(MISSES_TOGETHER - 1, 8.0), (MISSES_TOGETHER, math.inf)])
def test_where_many_requests_come_two_misses_are_chance_unless_few_are_between(between: int, limit_ms: float) -> None:
    backoff = Backoff()
    backoff.record(8.0, met=False, now=0.0)
    for _ in range(between):
        backoff.record(8.0, met=True, now=0.01)
    backoff.record(8.0, met=False, now=0.02)
    assert backoff.limit_ms(0.03) == limit_ms


def test_a_miss_of_work_that_is_held_back_already_changes_nothing() -> None:
    backoff = Backoff()
    _fail(backoff, 4.0, 0.0)
    _fail(backoff, 9.0, 0.1)
    assert backoff.limit_ms(FIRST_HOLD_S - 0.01) == 4.0


def test_the_limit_doubles_when_a_hold_ends_until_all_may_run() -> None:
    backoff = Backoff()
    _fail(backoff, 8.0, 0.0)
    _fail(backoff, 2.0, 0.0)
    now, seen = 0.0, []
    while backoff.limit_ms(now) < math.inf:
        seen.append(backoff.limit_ms(now))
        now += LONGEST_HOLD_S
    assert seen == [2.0, 4.0, 8.0]


def test_each_failed_try_doubles_the_hold_up_to_the_longest() -> None:
    backoff, now, holds = Backoff(), 0.0, []
    backoff.record(8.0, met=False, now=now)
    for _ in range(6):
        backoff.record(8.0, met=False, now=now)
        began = now
        while backoff.limit_ms(now) <= 8.0:
            now += FIRST_HOLD_S / 4
        holds.append(now - began)
    assert holds == [FIRST_HOLD_S * factor for factor in (1, 2, 4, 8, 8, 8)]
    assert max(holds) == LONGEST_HOLD_S


@pytest.mark.parametrize("pause_s", [FIRST_HOLD_S * 4, 100.0])
def test_a_failure_long_after_the_last_one_starts_again_with_the_shortest_hold(pause_s: float) -> None:
    backoff = Backoff()
    _fail(backoff, 8.0, 0.0)
    assert backoff.limit_ms(FIRST_HOLD_S) == math.inf
    _fail(backoff, 8.0, FIRST_HOLD_S + pause_s)
    assert backoff.limit_ms(2 * FIRST_HOLD_S + pause_s) == math.inf


def test_a_clock_that_is_set_back_ends_the_hold() -> None:
    backoff = Backoff()
    _fail(backoff, 8.0, now=5000.0)
    assert backoff.limit_ms(5000.1) == 8.0
    assert backoff.limit_ms(100.0) > 8.0
