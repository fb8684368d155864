"""Tests that the probability of being in time is a probability, and that it becomes that of the requests seen."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.policy.outlook import Outlook
from gearshift.runtime.policy.slow_down import SlowDown

shares = st.floats(0, 1)
outlooks = st.builds(
    Outlook,
    st.floats(-3, 5),
    st.floats(0.01, 3),
    shares,
    st.floats(-3, 5),
    st.floats(0.01, 3),
    shares,
    st.floats(0.01, 3),
)


@given(outlooks, st.lists(st.floats(-20, 20), min_size=2))
def test_it_is_a_distribution(outlook: Outlook, places: list[float]) -> None:
    chances = [outlook.within(place) for place in sorted(places)]
    assert all(0 <= chance <= 1 + 1e-12 for chance in chances)
    assert all(more >= less - 1e-9 for less, more in itertools.pairwise(chances))
    assert outlook.within(-1e6) == pytest.approx(0.0, abs=1e-9)
    assert outlook.within(1e6) == pytest.approx(1.0)


def test_usual_requests_are_normal_and_a_step_and_outliers_have_their_shares() -> None:
    assert Outlook(0.0, 0.1).within(0.1) == pytest.approx(0.8413, abs=1e-4)
    assert Outlook(0.0, 0.1, step=0.3, stepped=1.0, stepped_deviation=0.1).within(0.6) == pytest.approx(0.7, abs=1e-3)
    assert Outlook(0.0, 0.1, outliers=0.1).within(0.3) == pytest.approx(0.9, abs=2e-3)
    assert Outlook(0.0, 0.1, outliers=0.1, excess=0.4).within(0.7) == pytest.approx(1 - 0.1 / math.e, abs=1e-3)


def even(source: random.Random) -> float:
    return source.gauss(0, 0.05)


def wide(source: random.Random) -> float:
    return source.gauss(0, 0.3)


def spiky(source: random.Random) -> float:
    return source.gauss(0, 0.05) + (source.uniform(0.4, 1.2) if source.random() < 0.03 else 0)


@pytest.mark.parametrize("noise", [even, wide, spiky])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_a_share_of_the_requests_is_within_what_it_gives_that_share(
    noise: Callable[[random.Random], float], share: float
) -> None:
    source, slow_down, hits, count = random.Random(5), SlowDown(), 0, 4000
    for number in range(count):
        now = number / 50
        outlook = slow_down.predict(now)[1]
        low, high = outlook.centre - 5, outlook.centre + 5
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if outlook.within(middle) < share else (low, middle)
        took = noise(source)
        hits += took <= high
        slow_down.update(math.exp(took), now)
    assert hits / count == pytest.approx(share, abs=0.06 if noise is spiky else 0.03)


def test_a_first_surprise_widens_it_at_once() -> None:
    before, after = SlowDown(), SlowDown()
    for number in range(3):
        before.update(1.0, number / 50)
        after.update(6.0 if number == 1 else 1.0, number / 50)
    assert after.predict(0.06)[1].deviation > 3 * before.predict(0.06)[1].deviation
