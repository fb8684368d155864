"""Tests from the history of the signals to caps: rules on made-up histories, and on a model of a device."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.errors import InputError
from gearshift.runtime.sensors.cap_rules import DEFAULT_RULES, START, Rules, State, advance, forecast_c
from gearshift.runtime.sensors.caps import FIRST_HOLD_S, LONGEST_HOLD_S, NO_CAPS
from gearshift.runtime.sensors.power import Energy
from gearshift.runtime.sensors.snapshot import OLDEST_S, UNKNOWN, Reading, Snapshot

RUNGS = 7
PERIOD_S = 0.5


def snapshot(now: float, **values: float) -> Snapshot:
    """A snapshot in which only the named signals are known."""
    readings: dict[str, Any] = {name: Reading(value, 0.0) for name, value in values.items()}
    return replace(Snapshot(UNKNOWN, UNKNOWN, UNKNOWN, now), **readings)


def _hold(state: State, seconds: float, rules: Rules = DEFAULT_RULES, /, **values: float) -> State:
    """Give the same signals for a while."""
    now = max(state.now_s, 0.0)
    for step in range(1, int(seconds / PERIOD_S) + 1):
        then = now + step * PERIOD_S
        state = advance(state, snapshot(then, **values), then, rungs=RUNGS, rules=rules)
    return state


def test_the_forecast_follows_the_model_it_is_named_after() -> None:
    def at(time: float) -> float:
        return 90.0 - 50.0 * math.exp(-time / 60.0)

    ahead = forecast_c([(20 + one / 2, at(20 + one / 2)) for one in range(21)])
    assert ahead == pytest.approx(at(45.0), abs=1.0)
    assert at(30.0) < at(45.0) - 5


def test_one_sample_or_a_short_time_forecasts_no_change() -> None:
    assert forecast_c([]) is None
    assert forecast_c([(0.0, 50.0)]) == 50.0
    assert forecast_c([(0.0, 40.0), (1.0, 50.0)]) == 50.0


def test_a_rising_temperature_caps_before_the_limit_is_reached() -> None:
    state, temperature = START, 60.0
    now = 0.0
    while not state.caps.largest and temperature < 100:
        now += PERIOD_S
        temperature += 0.4 * PERIOD_S
        seen = snapshot(now, temperature_c=temperature, temperature_limit_c=80.0)
        state = advance(state, seen, now, rungs=RUNGS)
    assert state.caps.reasons == ("temperature",)
    assert state.caps.largest == 1
    assert 73 < temperature < 78


def test_a_steady_temperature_below_the_limit_caps_nothing() -> None:
    assert _hold(START, 60, temperature_c=79.0, temperature_limit_c=80.0).caps == NO_CAPS


def test_heat_beyond_the_limit_steps_down_to_the_last_rung_and_no_further() -> None:
    state = _hold(START, 60, temperature_c=85.0, temperature_limit_c=80.0)
    assert state.caps.largest == RUNGS - 1


def test_the_user_s_limit_goes_before_the_device_s() -> None:
    assert _hold(START, 5, Rules(limit_c=60.0), temperature_c=65.0, temperature_limit_c=80.0).caps.largest > 0
    assert _hold(START, 5, Rules(limit_c=90.0), temperature_c=85.0, temperature_limit_c=80.0).caps == NO_CAPS


def test_the_cap_stays_between_the_thresholds_and_goes_up_below_after_a_dwell() -> None:
    hot = _hold(START, 1, temperature_c=85.0, temperature_limit_c=80.0)
    assert hot.caps.largest == 1
    assert _hold(hot, 120, temperature_c=78.0, temperature_limit_c=80.0).caps.largest == 1
    assert _hold(hot, FIRST_HOLD_S - 1, temperature_c=70.0, temperature_limit_c=80.0).caps.largest == 1
    assert _hold(hot, FIRST_HOLD_S + 1, temperature_c=70.0, temperature_limit_c=80.0).caps == NO_CAPS


def test_a_device_that_slows_down_is_capped_without_a_temperature() -> None:
    assert _hold(START, 1, throttled=1.0).caps.reasons == ("temperature",)
    assert _hold(START, 60, throttled=0.0).caps == NO_CAPS


def _soak(seconds: float, watts: tuple[float, ...], limit_c: float = 80.0) -> tuple[list[float], list[int]]:
    """Temperatures and rungs of a device, R = 8 K/W, tau = 90 s at 25 degrees, that runs the largest it may."""
    state, temperature = START, 25.0
    temperatures, levels = [], []
    for step in range(int(seconds / PERIOD_S)):
        now = step * PERIOD_S
        temperature += PERIOD_S / 90.0 * (25.0 + 8.0 * watts[state.caps.largest] - temperature)
        shown = float(round(temperature))  # as most sensors do
        seen = snapshot(now, temperature_c=shown, temperature_limit_c=limit_c)
        state = advance(state, seen, now, rungs=len(watts))
        temperatures.append(temperature)
        levels.append(state.caps.largest)
    return temperatures, levels


def test_a_thermal_soak_stays_at_the_limit_without_switching_to_and_fro() -> None:
    temperatures, levels = _soak(1800, (9.0, 8.0, 7.0, 6.0, 5.0, 4.0))
    switches = [step for step in range(1, len(levels)) if levels[step] != levels[step - 1]]
    per_minute = [sum(start <= step * PERIOD_S < start + 60 for step in switches) for start in range(0, 1800, 10)]
    assert max(temperatures) < 81.0
    assert max(per_minute) <= 6
    assert len(switches) <= 40
    assert max(levels[-600:]) < 5, "a rung that heats to 73 degrees only is left to be used"


def test_each_failed_try_waits_twice_as_long() -> None:
    state = START
    now = 0.0
    raised = []
    for _ in range(4000):  # only the last rung but one is cool enough
        now += PERIOD_S
        temperature = 85.0 if state.caps.largest < 1 else 70.0
        before = state.caps.largest
        seen = snapshot(now, temperature_c=temperature, temperature_limit_c=80.0)
        state = advance(state, seen, now, rungs=RUNGS)
        if state.caps.largest < before:
            raised.append(now)
    gaps = [after - before for before, after in itertools.pairwise(raised)]
    assert gaps[:3] == sorted(gaps[:3])
    assert gaps[-1] >= LONGEST_HOLD_S


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({"battery": 0.9, "plugged": 0.0}, 0),
        ({"battery": 0.5, "plugged": 0.0}, 0),
        ({"battery": 0.49, "plugged": 0.0}, 2),
        ({"battery": 0.2, "plugged": 0.0}, 2),
        ({"battery": 0.19, "plugged": 0.0}, 4),
        ({"battery": 0.0, "plugged": 0.0}, 4),
        ({"battery": 0.01, "plugged": 1.0}, 0),
        ({"battery": 0.01}, 0),
        ({"plugged": 0.0}, 0),
    ],
)
def test_the_charge_leaves_out_a_part_of_the_ladder(values: dict[str, float], level: int) -> None:
    state = _hold(START, 1, **values)
    assert state.caps.largest == level
    assert state.caps.reasons == (("battery",) if level else ())


def test_a_charge_at_the_edge_of_a_tier_does_not_flicker() -> None:
    low = _hold(START, 1, battery=0.49, plugged=0.0)
    assert _hold(low, 1, battery=0.51, plugged=0.0).caps.largest == 2
    assert _hold(low, 1, battery=0.54, plugged=0.0).caps.largest == 0
    assert _hold(low, 1, battery=0.49, plugged=1.0).caps.largest == 0


def test_the_user_sets_the_tiers() -> None:
    assert _hold(START, 1, Rules(battery=()), battery=0.01, plugged=0.0).caps == NO_CAPS
    assert _hold(START, 1, Rules(battery=((0.9, 1.0),)), battery=0.8, plugged=0.0).caps.largest == RUNGS - 1


def _memory_steps(seconds: float, *, can_release: bool, **values: float) -> list[tuple[float, bool, int]]:
    state, steps = START, []
    for step in range(int(seconds / PERIOD_S)):
        now = step * PERIOD_S
        seen = snapshot(now, **values)
        state = advance(state, seen, now, rungs=RUNGS, can_release=can_release)
        steps.append((now, state.release, state.caps.largest))
    return steps


@pytest.mark.parametrize(
    "short", [{"memory_pressure": 0.3}, {"memory_available_mb": 10.0}, {"cgroup_headroom_mb": 0.0}], ids=repr
)
def test_short_memory_gives_pages_back_first_and_caps_where_that_does_not_last(short: dict[str, float]) -> None:
    steps = _memory_steps(25, can_release=True, **short)
    assert [now for now, release, _ in steps if release] == [0.0, 10.0, 20.0]
    assert [level for now, _, level in steps if now in (0.0, 9.5, 10.0, 20.0)] == [0, 0, 1, 2]


def test_where_no_pages_can_be_given_back_short_memory_caps_at_once() -> None:
    steps = _memory_steps(5, can_release=False, memory_pressure=0.3)
    assert not any(release for _, release, _ in steps)
    assert steps[0][2] == 1


def test_plenty_of_memory_asks_for_nothing() -> None:
    steps = _memory_steps(30, can_release=True, memory_pressure=0.0, memory_available_mb=2000.0)
    assert {step[1:] for step in steps} == {(False, 0)}


def _spend(rules: Rules, kind: Any, rates: tuple[float, ...], seconds: float = 120) -> list[int]:
    """Rungs of a device that spends `rates[rung]`."""
    state, spent, levels = START, 0.0, []
    for step in range(int(seconds / PERIOD_S)):
        now = step * PERIOD_S
        seen = replace(snapshot(now), energies=(Energy(kind, spent, now),))
        state = advance(state, seen, now, rungs=len(rates), rules=rules)
        spent += rates[state.caps.largest] * PERIOD_S
        levels.append(state.caps.largest)
    return levels


@pytest.mark.parametrize("kind", ["rapl", "fuel_gauge"])
def test_a_budget_in_watts_is_kept(kind: str) -> None:
    levels = _spend(Rules(max_watts=5.5), kind, (9.0, 7.0, 5.0, 3.0))
    assert max(levels) == 2, "what was spent before a step down counts no more"
    assert set(levels[len(levels) // 2 :]) == {2}, "5 W is between .8 of the budget and the budget"


def test_a_budget_in_cpus_is_kept_by_cpu_seconds() -> None:
    assert _spend(Rules(max_cpus=0.5), "cpu", (1.0, 0.7, 0.45))[-1] == 2


def test_a_budget_in_watts_is_not_held_against_cpu_seconds() -> None:
    assert set(_spend(Rules(max_watts=0.1), "cpu", (1.0, 0.7, 0.45))) == {0}


def test_without_a_budget_no_power_caps() -> None:
    assert set(_spend(Rules(), "rapl", (900.0, 500.0))) == {0}


def test_several_reasons_take_the_strictest_and_name_all() -> None:
    state = _hold(START, 1, temperature_c=90.0, temperature_limit_c=80.0, battery=0.1, plugged=0.0)
    assert state.caps.largest == 4
    assert state.caps.reasons == ("temperature", "battery")


def test_a_reading_older_than_two_seconds_is_unknown() -> None:
    hot: dict[str, Any] = {"temperature_c": Reading(99.0, OLDEST_S + 0.1), "temperature_limit_c": Reading(80.0, 0.0)}
    old = replace(snapshot(10.0), **hot)
    assert advance(START, old, 10.0, rungs=RUNGS).caps == NO_CAPS
    stale = snapshot(10.0, temperature_c=99.0, temperature_limit_c=80.0)
    assert advance(START, stale, 10.0, rungs=RUNGS).caps.largest == 1
    assert advance(START, stale, 10.0 + OLDEST_S + 0.1, rungs=RUNGS).caps == NO_CAPS
    assert advance(START, stale, 9.0, rungs=RUNGS).caps == NO_CAPS, "from the future"


def test_an_old_snapshot_is_no_part_of_the_history() -> None:
    assert advance(START, snapshot(10.0), 10.0 + OLDEST_S + 0.1, rungs=RUNGS).history == ()
    assert len(advance(START, snapshot(10.0), 10.0 + OLDEST_S, rungs=RUNGS).history) == 1


def test_a_sensor_that_is_lost_gives_its_cap_back_step_by_step() -> None:
    hot = _hold(START, 60, temperature_c=90.0, temperature_limit_c=80.0)
    assert hot.caps.largest == RUNGS - 1
    assert _hold(hot, 5).caps.largest == RUNGS - 1
    assert _hold(hot, (RUNGS - 1) * FIRST_HOLD_S + 5).caps == NO_CAPS


def test_a_clock_that_jumps_back_keeps_the_caps_and_goes_on() -> None:
    hot = _hold(START, 60, temperature_c=90.0, temperature_limit_c=80.0)
    back = advance(hot, snapshot(-500.0, temperature_c=70.0, temperature_limit_c=80.0), -500.0, rungs=RUNGS)
    assert back.caps == hot.caps
    warm = _hold(START, 1, temperature_c=90.0, temperature_limit_c=80.0)
    again = advance(warm, None, -500.0, rungs=RUNGS)
    for now in (-499.0, -496.0, -493.0):
        again = advance(again, snapshot(now, temperature_c=90.0, temperature_limit_c=80.0), now, rungs=RUNGS)
    assert again.caps.largest > warm.caps.largest
    cool, now = back, -500.0
    while now < -500 + (RUNGS + 1) * FIRST_HOLD_S:
        now += PERIOD_S
        cool = advance(cool, snapshot(now, temperature_c=70.0, temperature_limit_c=80.0), now, rungs=RUNGS)
    assert cool.caps == NO_CAPS


def test_a_clock_that_jumps_ahead_gives_one_step_back_at_most() -> None:
    hot = _hold(START, 60, temperature_c=90.0, temperature_limit_c=80.0)
    cool = _hold(hot, 1, temperature_c=70.0, temperature_limit_c=80.0)
    later = advance(cool, snapshot(1e6, temperature_c=70.0, temperature_limit_c=80.0), 1e6, rungs=RUNGS)
    assert later.caps.largest == hot.caps.largest - 1


VALUES = st.none() | st.floats()
NAMES = (
    "memory_available_mb",
    "memory_pressure",
    "cgroup_headroom_mb",
    "temperature_c",
    "temperature_limit_c",
    "throttled",
    "battery",
    "plugged",
)


@given(
    st.lists(
        st.tuples(
            st.floats(-10, 20) | st.floats(),
            st.none() | st.fixed_dictionaries({name: st.tuples(VALUES, VALUES) for name in NAMES}),
            st.tuples(st.floats(), st.floats()),
        ),
        max_size=12,
    ),
    st.integers(1, 12),
)
def test_no_signal_and_no_clock_make_the_rules_raise_or_leave_the_ladder(
    steps: list[tuple[float, dict[str, tuple[float, float]] | None, tuple[float, float]]], rungs: int
) -> None:
    state, now = START, 0.0
    rules = Rules(max_watts=5.0, max_cpus=0.5)
    for elapsed, signals, spent in steps:
        now = now + elapsed if math.isfinite(now + elapsed) else elapsed
        seen = None
        if signals is not None:
            readings: dict[str, Any] = {name: Reading(*pair) for name, pair in signals.items()}
            seen = replace(snapshot(now), energies=(Energy("cpu", *spent),), **readings)
        state = advance(state, seen, now, rungs=rungs, rules=rules, can_release=True)
        assert 0 <= state.caps.largest < rungs
        assert bool(state.caps.largest) == bool(state.caps.reasons)
        now = now if math.isfinite(now) else 0.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_unknown_signals_never_cap(elapsed: list[float]) -> None:
    state, now = START, 0.0
    for step in elapsed:
        now += step
        state = advance(state, snapshot(now), now, rungs=RUNGS, can_release=True)
        assert state.caps == NO_CAPS
        assert not state.release


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"limit_c": 0.0}, "limit_c: expected a positive number or None, got 0.0"),
        ({"max_watts": math.nan}, "max_watts: expected a positive number or None, got nan"),
        ({"max_cpus": -1.0}, "max_cpus: expected a positive number or None, got -1.0"),
        ({"least_memory_mb": -1.0}, "least_memory_mb: expected 0 or more, got -1.0"),
        ({"most_memory_pressure": 1.5}, "most_memory_pressure: expected a share above 0 and up to 1, got 1.5"),
        ({"battery": ((50, 0.5),)}, "battery: expected tiers of a charge and a part, each from 0 to 1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        Rules(**wrong)
