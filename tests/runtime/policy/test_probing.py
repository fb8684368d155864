"""Tries of the graph while a DAN answers."""

from __future__ import annotations

import itertools

import pytest

from gearshift.runtime.batches import Work, one
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.restraint import LONGEST_S, SHORTEST_S, Probing
from tests.runtime.dans import made_table

ACCURACIES = {"large": 0.9, "small": 0.8, "dan": 0.7}
TIMES: dict[str, tuple[float, ...]] = {"large": (8.0,) * 2, "small": (2.0,) * 2, "dan": (0.03,) * 2}


def test_tries_follow_each_other_faster_while_they_are_in_time() -> None:
    probing, now, tries = Probing(), 0.0, []
    while now < 3.0:
        if probing.due(now):
            probing.begins(now)
            probing.ended(met=True)
            tries.append(now)
        now += 0.01
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert pauses[0] < LONGEST_S and pauses[-1] < 0.02
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(pauses))


def test_a_late_one_undoes_ten_that_were_in_time() -> None:
    probing = Probing()
    for _ in range(10):
        probing.ended(met=True)
    probing.begins(20.0)
    assert probing.due(20.1)
    probing.ended(met=False)
    assert not probing.due(20.49) and probing.due(20.51)
    assert probing.due(1.0)  # the clock was set back


def test_the_pause_has_bounds() -> None:
    probing = Probing()
    for _ in range(100):
        probing.ended(met=False)
    probing.begins(0.0)
    assert probing.due(LONGEST_S)
    for _ in range(100):
        probing.ended(met=True)
    assert not probing.due(SHORTEST_S - 1e-6) and probing.due(SHORTEST_S)


def _driven_down() -> Controller:
    """Return a controller in doubt about the graph: it was slow, now and then, and then not used for ten seconds."""
    controller = Controller(ACCURACIES, made_table(TIMES), dan="dan")
    for number in range(30):
        decision = controller.decide(work=one(8), slack_ms=60.0, now=number / 100, pinned="small")
        controller.record(decision, run_ms=2.0 if number % 3 else 16.0, met=True, now=number / 100)
    return controller


def _serve(controller: Controller, start: float, took_ms: float, slack_ms: float = 9.0) -> list[str]:
    """Two hundred requests in ten seconds."""
    reasons = []
    for number in range(200):
        now = start + number / 20
        decision = controller.decide(work=one(8), slack_ms=slack_ms, now=now)
        reasons.append(f"{decision.name} {decision.reason}")
        run_ms = 0.03 if decision.name == "dan" else took_ms * (1 if decision.name == "small" else 4)
        controller.record(decision, run_ms=run_ms, met=run_ms <= slack_ms, now=now + run_ms / 1e3)
    return reasons


def test_an_engine_that_was_driven_down_comes_back() -> None:
    reasons = _serve(_driven_down(), 10.0, took_ms=2.0)
    assert "dan fits" in reasons[:3]
    assert "small probe" in reasons
    assert {reason.split()[0] for reason in reasons[-20:]} <= {"small", "large"}  # 2 and 8 ms of the 9


def test_a_graph_that_stays_slow_is_tried_twice_a_second_at_most() -> None:
    reasons = _serve(_driven_down(), 10.0, took_ms=40.0)
    assert 1 <= reasons.count("small probe") <= 21
    assert reasons.count("dan fits") >= 175


@pytest.mark.parametrize(("slack_ms", "backlog"), [(2.5, []), (60.0, [(one(8), 1.0)])])
def test_nothing_is_tried_that_would_be_late_or_make_others_late(
    slack_ms: float, backlog: list[tuple[Work, float]]
) -> None:
    controller = _driven_down()
    decision = controller.decide(work=one(8), slack_ms=slack_ms, now=10.0, backlog=backlog)
    assert (decision.name, decision.reason) == ("dan", "fits")


def test_a_dan_that_is_late_holds_nothing_back() -> None:
    controller = Controller(ACCURACIES, made_table(TIMES), dan="dan")
    for number in range(10):
        decision = controller.decide(work=one(8), slack_ms=1.0, now=number / 50)
        assert decision.name == "dan"
        controller.record(decision, run_ms=1.2, met=False, now=number / 50)
    assert controller.decide(work=one(8), slack_ms=60.0, now=0.3).name == "large"


def test_a_belief_that_nothing_is_in_time_does_not_outlive_a_silence() -> None:
    """Check that what fits on the free machine is tried again, however slow the graph was when last heard from."""
    controller = Controller(ACCURACIES, made_table(TIMES), dan="dan")
    for number in range(30):
        decision = controller.decide(work=one(8), slack_ms=60.0, now=number / 100, pinned="small")
        controller.record(decision, run_ms=8.0, met=True, now=number / 100)
    slack_ms = 4.0  # the small one takes 2, and is believed to take 8
    names, now = [], 1.0
    for _ in range(400):
        decision = controller.decide(work=one(8), slack_ms=slack_ms, now=now)
        names.append(decision.name)
        took_ms = TIMES[decision.name][0]
        controller.record(decision, run_ms=took_ms, met=took_ms <= slack_ms, now=now + took_ms / 1e3)
        now += 0.05
    assert names[-50:].count("small") > 40
