"""Caps: the largest subnet that may be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.sensors.caps import NO_CAPS, Caps, strictest

CAPS = st.builds(Caps, st.integers(0, 50), st.lists(st.sampled_from("abc"), unique=True).map(tuple))


def test_no_caps_allow_the_whole_ladder() -> None:
    assert Caps(largest=0, reasons=()) == NO_CAPS


def test_a_negative_rung_is_refused() -> None:
    with pytest.raises(ValueError, match="largest: expected a rung of the ladder, 0 or more, got -1"):
        Caps(-1)


def test_the_stricter_cap_wins_and_both_reasons_are_kept() -> None:
    assert strictest([Caps(1, ("battery",)), Caps(3, ("temperature",))]) == Caps(3, ("battery", "temperature"))


def test_a_reason_is_told_once() -> None:
    assert strictest([Caps(1, ("memory", "battery")), Caps(2, ("battery",))]).reasons == ("memory", "battery")


def test_no_cap_at_all_is_no_cap() -> None:
    assert strictest([]) == NO_CAPS


@given(st.lists(CAPS))
def test_all_caps_together_are_as_strict_as_each_and_one_of_them(caps: list[Caps]) -> None:
    together = strictest(caps)
    assert all(together.largest >= cap.largest for cap in caps)
    assert together.largest in {0, *(cap.largest for cap in caps)}
    assert set(together.reasons) == {reason for cap in caps for reason in cap.reasons}


@given(st.lists(CAPS), st.lists(CAPS))
def test_caps_can_be_put_together_in_steps(some: list[Caps], others: list[Caps]) -> None:
    assert strictest([strictest(some), strictest(others)]) == strictest([*some, *others])
