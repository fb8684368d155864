"""Tests that what flickers is held still, and that what is real is followed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.policy.latency_model import DWELL_S, FIRST_REQUESTS, PERIOD_S, Hysteresis

PAUSE_S = 0.05


def settled(factor: float = 1.5) -> tuple[Hysteresis, float]:
    """Return a hysteresis that has seen the same factor for long, and the time then."""
    held, now = Hysteresis(margin=0.8, tolerance=1.1), 0.0
    for _ in range(200):
        now += PAUSE_S
        held.smooth(factor, now)
    return held, now


def test_it_rises_at_once() -> None:
    held, now = settled()
    assert held.smooth(1.7, now + PAUSE_S) == 1.7


def test_it_falls_after_a_dwell() -> None:
    held, now = settled()
    assert held.smooth(1.0, now + PAUSE_S) == 1.5
    assert held.smooth(1.0, now + 0.9 * DWELL_S) == 1.5
    assert held.smooth(1.0, now + 1.05 * DWELL_S) == 1.0


def test_a_fall_that_is_taken_back_does_not_count() -> None:
    held, now = settled()
    for step in range(1, 12):
        assert held.smooth(1.0 if step % 3 else 1.5, now + step * PAUSE_S) == 1.5


def test_flicker_around_a_threshold_is_crossed_at_most_once_a_period() -> None:
    held, now = settled(1.2)
    rng = np.random.default_rng(0)
    seen = [held.smooth(1.2 * float(np.exp(rng.normal(0, 0.02))), now + step * PAUSE_S) for step in range(2000)]
    crossings = sum((a > 1.2) != (b > 1.2) for a, b in itertools.pairwise(seen))
    assert crossings <= 2000 * PAUSE_S / PERIOD_S / 4


def test_a_slow_drift_is_followed_within_the_tolerance() -> None:
    held, now = settled(1.2)
    for step in range(1000):
        factor = 1.2 + step / 2000
        assert held.smooth(factor, now + step * PAUSE_S) == pytest.approx(factor, rel=0.11)


def test_after_a_pause_the_factor_itself_counts_for_some_requests() -> None:
    held, now = settled()
    now += 10
    assert held.smooth(3.0, now) == 3.0
    for step in range(1, FIRST_REQUESTS):
        assert held.smooth(2.0 - step / 10, now + step * PAUSE_S) == 2.0 - step / 10


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 50)), min_size=1))
def test_it_lies_between_what_was_seen_and_never_far_below_now(seen: list[tuple[float, float]]) -> None:
    held, now = Hysteresis(margin=0.8, tolerance=1.1), 0.0
    factors: list[float] = []
    for pause, factor in seen:
        now += pause
        factors.append(factor)
        found = held.smooth(factor, now)
        assert min(factors) * 0.999 <= found <= max(factors) * 1.001
        assert factor <= found * 1.101


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    held, now = settled()
    before = now - 3600
    assert held.smooth(1.0, before) == 1.5
    assert held.smooth(1.0, before + 1.05 * DWELL_S) == 1.0
