"""Signals that tell of a load before a request has felt it, and what is learnt of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.policy.feed_forward import FeedForward
from gearshift.runtime.sensors.snapshot import OLDEST_S, UNKNOWN, Reading, Snapshot


def snapshot(share: Reading, pressure: Reading = UNKNOWN) -> Snapshot:
    return Snapshot(share, pressure, UNKNOWN, 0.0)


def after(*shares: float, last_request: float | None = None) -> FeedForward:
    """Return a feed-forward that has sensed these shares, one a second."""
    ahead = FeedForward()
    for second, share in enumerate(shares):
        ahead.sense(snapshot(Reading(share, 0.0)), float(second), last_request)
    return ahead


def test_the_first_reading_is_compared_with_the_unloaded_device_or_is_where_it_begins_after_a_request() -> None:
    assert after(0.0).ahead == 0.0
    assert after(0.8).ahead == after(0.0, 0.8).ahead > 0.1
    assert after(0.8, last_request=0.0).ahead == 0.0


def test_more_load_of_others_is_a_slower_run_and_less_is_a_faster_one() -> None:
    assert after(0.0, 0.5).ahead > 0.1
    assert after(0.5, 0.0).ahead == 0.0
    assert after(0.5, 0.9).ahead > after(0.5).ahead


def test_a_change_that_requests_have_felt_already_does_not_count() -> None:
    assert after(0.0, 0.5, last_request=1.0).ahead == 0.0
    assert 0 < after(0.0, 0.5, last_request=0.5).ahead < after(0.0, 0.5, last_request=0.0).ahead


@pytest.mark.parametrize("effect", [0.0, 1.0, 2.0])
def test_what_a_change_costs_is_learnt(effect: float) -> None:
    ahead, busy = FeedForward(), False
    for second in range(0, 120, 2):
        ahead.sense(snapshot(Reading(0.5 if busy else 0.0, 0.0)), second, second - 1.5)
        felt = effect * math.log(2) * (1 if busy else -1) if second else 0.0
        ahead.learn(felt - ahead.ahead)
        busy = not busy
    ahead.sense(snapshot(Reading(0.5 if busy else 0.0, 0.0)), 120.0, 118.5)
    assert ahead.ahead == pytest.approx(effect * math.log(2) * (1 if busy else -1), abs=0.05)


def test_a_weight_is_never_negative() -> None:
    ahead = FeedForward()
    for second in range(20):
        ahead.sense(snapshot(Reading(0.5 * (second % 2), 0.0)), second, None)
        ahead.learn(-1.0 if second % 2 else 1.0)
    ahead.sense(snapshot(Reading(0.0, 0.0)), 21.0, None)
    ahead.sense(snapshot(Reading(0.9, 0.0)), 22.0, None)
    assert ahead.ahead >= 0


@pytest.mark.parametrize(
    "reading", [UNKNOWN, Reading(math.nan, 0.0), Reading(math.inf, 0.0), Reading(0.9, OLDEST_S + 1), Reading(0.9, -1.0)]
)
def test_a_reading_that_is_unknown_no_number_or_old_says_nothing(reading: Reading) -> None:
    ahead = after(0.0)
    ahead.sense(snapshot(reading), 1.0, None)
    assert ahead.ahead == 0.0
    ahead.sense(snapshot(Reading(0.9, 0.0)), 2.0, None)
    assert ahead.ahead == 0.0  # nothing to compare with


@given(st.lists(st.tuples(st.none() | st.floats(), st.none() | st.floats(), st.floats(-3, 3)), max_size=50))
def test_it_stays_finite_whatever_it_is_fed(fed: list[tuple[float | None, float | None, float]]) -> None:
    ahead = FeedForward()
    for second, (share, pressure, innovation) in enumerate(fed):
        ahead.sense(snapshot(Reading(share, 0.0), Reading(pressure, 0.0)), second, None)
        assert math.isfinite(ahead.ahead)
        ahead.learn(innovation)
