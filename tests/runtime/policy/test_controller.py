"""The controller alone: the same decisions as the engine makes, without one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import InputError
from gearshift.runtime.batches import Work, one
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import DEFAULT_OBJECTIVE, Objective
from gearshift.runtime.sensors.caps import Caps
from gearshift.runtime.sensors.snapshot import UNKNOWN, Reading, Snapshot

ACCURACIES = {"large": 0.95, "middle": 0.9, "small": 0.8, "dominated": 0.7}
TIMES: dict[str, tuple[float, ...]] = {
    "large": (4.0, 16.0),
    "middle": (2.0, 8.0),
    "small": (1.0, 4.0),
    "dominated": (2.0, 9.0),
}


def table() -> LatencyTable:
    return LatencyTable("0" * 64, "fp32", "CPUExecutionProvider", 1, (16, 64), TIMES, TIMES, 1, "by hand", "2026-01-31")


def controller(objective: Objective = DEFAULT_OBJECTIVE) -> Controller:
    return Controller(ACCURACIES, table(), objective)


def test_the_ladder_holds_what_nothing_dominates() -> None:
    assert controller().ladder == ("large", "middle", "small")


@pytest.mark.parametrize(("rung", "name"), [(0, "large"), (1, "middle"), (2, "small"), (9, "small")])
@pytest.mark.parametrize("slack_ms", [100.0, None])
def test_nothing_above_the_cap_is_used(rung: int, name: str, slack_ms: float | None) -> None:
    decision = controller().decide(work=one(16), slack_ms=slack_ms, now=0.0, caps=Caps(rung, ("battery",)))
    assert decision.name == name


def test_what_is_pinned_is_used_even_if_capped_or_not_on_the_ladder() -> None:
    decision = controller().decide(work=one(16), slack_ms=0.1, now=0.0, caps=Caps(2), pinned="dominated")
    assert (decision.name, decision.reason, decision.expected_ms) == ("dominated", "pinned", 2.0)


def test_longer_texts_get_a_smaller_subnet_within_the_same_time() -> None:
    names = [controller().decide(work=one(length), slack_ms=11.0, now=0.0).name for length in (16, 40, 64)]
    assert names == ["large", "middle", "small"]


def test_a_slow_machine_gets_a_smaller_subnet() -> None:
    loaded = controller()
    for request in range(20):
        decision = loaded.decide(work=one(16), slack_ms=10.0, now=request / 10)
        loaded.record(decision, run_ms=4 * decision.expected_ms, met=True, now=request / 10 + 0.01)
    assert loaded.slow_down == pytest.approx(4.0, rel=0.05)
    assert loaded.decide(work=one(16), slack_ms=15.9, now=2.0).name == "middle"


# A history: (pause in s, below 0 if the clock jumps back, slack in ms, length, observed / expected, share of others)
histories = st.lists(
    st.tuples(
        st.floats(-20, 20) | st.floats(0, 0.2),
        st.floats(-5, 60),
        st.sampled_from([8, 16, 40, 64, 200]),
        st.floats(0.2, 20),
        st.none() | st.floats(-1, 2),
    ),
    max_size=30,
)
slacks = st.floats(-10, 300)
backlogs = st.lists(st.tuples(st.sampled_from([one(16), one(64), ((16, 3), (64, 2))]), st.floats(-10, 100)), max_size=8)


def lived(history: list[tuple[float, float, int, float, float | None]]) -> tuple[Controller, float]:
    """A controller with a target after a history, and the time then."""
    made, now = controller(Objective(target=0.99)), 0.0
    for pause, slack, length, ratio, share in history:
        now += pause
        made.sense(Snapshot(Reading(share, 0.0), UNKNOWN, UNKNOWN, now), now)
        decision = made.decide(work=one(length), slack_ms=slack, now=now)
        run_ms = ratio * decision.expected_ms
        made.record(decision, run_ms=run_ms, met=run_ms <= slack, now=now + run_ms / 1e3)
    return made, now


@given(histories, slacks, slacks, st.integers(0, 4), backlogs)
def test_more_slack_never_gives_a_less_accurate_subnet(
    history: list[tuple[float, float, int, float, float | None]],
    least: float,
    other: float,
    cap: int,
    backlog: list[tuple[Work, float]],
) -> None:
    picked = []
    for slack in sorted((least, other)):
        made, now = lived(history)
        decision = made.decide(
            work=one(16), slack_ms=slack, now=now + 0.1, caps=Caps(cap), backlog=backlog, deadline_ms=50.0
        )
        picked.append(ACCURACIES[decision.name])
    assert picked == sorted(picked)


@given(histories, slacks, st.integers(0, 4), backlogs)
def test_where_a_subnet_fits_one_that_fits_is_taken(
    history: list[tuple[float, float, int, float, float | None]],
    slack: float,
    cap: int,
    backlog: list[tuple[Work, float]],
) -> None:
    made, now = lived(history)
    decision = made.decide(work=one(16), slack_ms=slack, now=now + 0.1, caps=Caps(cap), backlog=backlog)
    allowed = made.ladder[min(cap, len(made.ladder) - 1) :]
    assert decision.name in allowed
    predicted = {}
    for name in allowed:
        again, now = lived(history)
        predicted[name] = again.decide(work=one(16), slack_ms=slack, now=now + 0.1, pinned=name).predicted_ms
    assert (decision.reason == "fits") == (min(predicted.values()) <= slack)
    assert decision.predicted_ms == pytest.approx(predicted[decision.name])
    assert (decision.predicted_ms <= slack) == (decision.reason == "fits")


def test_those_that_wait_are_left_enough_time() -> None:
    alone = controller().decide(work=one(16), slack_ms=50.0, now=0.0)
    followed = controller().decide(work=one(16), slack_ms=50.0, now=0.0, backlog=[(one(16), 9.0), (one(16), 12.0)])
    hopeless = controller().decide(work=one(16), slack_ms=50.0, now=0.0, backlog=[(one(16), 0.5)])
    assert (alone.name, followed.name, hopeless.name) == ("large", "middle", "large")


@pytest.mark.parametrize(("gap_ms", "name"), [(400.0, "large"), (1.0, "middle")])
def test_those_that_may_come_meanwhile_are_thought_of_where_some_came_before(gap_ms: float, name: str) -> None:
    made = controller()
    for number in range(100):  # each is followed by one that is late if the first runs on the largest
        made.decide(work=one(16), slack_ms=9.0, now=float(number))
        came = number + gap_ms / 1e3
        turn = max(came, number + 0.002)
        left_ms = 3.5 - (turn - came) * 1e3
        decision = made.decide(work=one(16), slack_ms=left_ms, now=turn, deadline_ms=3.5)
        made.record(decision, run_ms=decision.expected_ms, met=True, now=turn + 0.001)
    assert made.decide(work=one(16), slack_ms=9.0, now=100.0).name == name


def test_a_signal_makes_it_careful_before_a_request_was_slow() -> None:
    made = controller()
    for tick in range(40):
        made.sense(Snapshot(Reading(0.0, 0.0), UNKNOWN, UNKNOWN, tick / 4), tick / 4)
        decision = made.decide(work=one(16), slack_ms=100.0, now=tick / 4)
        made.record(decision, run_ms=decision.expected_ms, met=True, now=tick / 4 + 0.004)
    before = made.decide(work=one(16), slack_ms=100.0, now=10.4).predicted_ms
    made.sense(Snapshot(Reading(0.75, 0.0), UNKNOWN, UNKNOWN, 10.4), 10.4)
    assert made.decide(work=one(16), slack_ms=100.0, now=10.4).predicted_ms > 1.5 * before


def test_an_accuracy_floor_holds_with_and_without_a_deadline() -> None:
    made = Controller(ACCURACIES, table(), Objective(min_accuracy=0.85))
    assert made.decide(work=one(16), slack_ms=0.1, now=0.0).name == "middle"
    free = made.decide(work=one(16), slack_ms=None, now=0.0)
    assert (free.name, free.reason) == ("middle", "accuracy_floor")


@pytest.mark.parametrize(("pause_s", "name"), [(0.1, "large"), (0.01, "middle"), (0.004, "small")])
def test_a_share_of_the_cpu_is_kept_without_a_deadline(pause_s: float, name: str) -> None:
    made = Controller(ACCURACIES, table(), Objective(max_cpu_share=0.3))
    for number in range(50):
        decision = made.decide(work=one(16), slack_ms=None, now=number * pause_s)
    assert (decision.name, decision.reason) == (name, "cpu_share")


@pytest.mark.parametrize("largest", range(7))
@pytest.mark.parametrize("slack_ms", [None, 1e6])
def test_a_cap_past_the_ladder_means_its_last_rung(largest: int, slack_ms: float | None) -> None:
    made = Controller(ACCURACIES, table())
    decision = made.decide(work=one(16), slack_ms=slack_ms, now=0.0, caps=Caps(largest))
    last = len(made.ladder) - 1
    assert (decision.name, decision.level) == (made.ladder[min(largest, last)], min(largest, last))


def test_what_nothing_fits_can_be_rejected_but_is_tried_after_a_second() -> None:
    made = Controller(ACCURACIES, table(), Objective(on_miss="reject"))
    assert made.decide(work=one(16), slack_ms=0.1, now=0.0).reason == "best_effort"
    fitting = made.decide(work=one(16), slack_ms=50.0, now=0.0)
    assert fitting.reason == "fits"
    made.record(fitting, run_ms=4.0, met=True, now=0.1)
    assert made.decide(work=one(16), slack_ms=0.1, now=0.5).reason == "rejected"
    assert made.decide(work=one(16), slack_ms=0.1, now=1.2).reason == "best_effort"


def test_it_steers_by_something_else_at_once_and_keeps_what_it_learnt() -> None:
    made = controller()
    for request in range(40):
        decision = made.decide(work=one(16), slack_ms=100.0, now=request / 10)
        made.record(decision, run_ms=(2.0 + 0.1 * (request % 2)) * decision.expected_ms, met=True, now=request / 10)
    slow_down, wide = made.slow_down, made.decide(work=one(16), slack_ms=100.0, now=4.0).predicted_ms
    made.steer(Objective(target=0.6, min_accuracy=0.85))
    assert made.slow_down == slow_down
    assert made.decide(work=one(16), slack_ms=None, now=4.1).name == "middle"
    for request in range(60):  # the factor moves to the mean of a period
        decision = made.decide(work=one(16), slack_ms=100.0, now=4.1 + request / 10)
        made.record(decision, run_ms=2.05 * decision.expected_ms, met=True, now=4.1 + request / 10)
    assert decision.predicted_ms < wide
    with pytest.raises(InputError, match="min_accuracy: expected at most"):
        made.steer(Objective(min_accuracy=0.99))
    assert made.objective == Objective(target=0.6, min_accuracy=0.85)


def test_a_floor_above_the_best_is_refused() -> None:
    with pytest.raises(InputError, match=r"min_accuracy: expected at most 0\.95"):
        Controller(ACCURACIES, table(), Objective(min_accuracy=0.99))
