"""The controller alone: the same decisions as the engine makes, without one."""

from __future__ import annotations

import pytest

from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.caps import Caps
from gearshift.runtime.controller import Controller

ACCURACIES = {"large": 0.95, "middle": 0.9, "small": 0.8, "dominated": 0.7}
TIMES: dict[str, tuple[float, ...]] = {
    "large": (4.0, 16.0),
    "middle": (2.0, 8.0),
    "small": (1.0, 4.0),
    "dominated": (2.0, 9.0),
}


def table() -> LatencyTable:
    return LatencyTable("0" * 64, "fp32", "CPUExecutionProvider", 1, (16, 64), TIMES, TIMES, 1, "by hand", "2026-01-31")


def controller() -> Controller:
    return Controller(ACCURACIES, table())


def test_the_ladder_holds_what_nothing_dominates() -> None:
    assert controller().ladder == ("large", "middle", "small")


@pytest.mark.parametrize(("rung", "name"), [(0, "large"), (1, "middle"), (2, "small"), (9, "small")])
@pytest.mark.parametrize("slack_ms", [100.0, None])
def test_nothing_above_the_cap_is_used(rung: int, name: str, slack_ms: float | None) -> None:
    decision = controller().decide(length=16, slack_ms=slack_ms, now=0.0, caps=Caps(rung, ("battery",)))
    assert decision.name == name


def test_what_is_pinned_is_used_even_if_capped_or_not_on_the_ladder() -> None:
    decision = controller().decide(length=16, slack_ms=0.1, now=0.0, caps=Caps(2), pinned="dominated")
    assert (decision.name, decision.reason, decision.expected_ms) == ("dominated", "pinned", 2.0)


def test_longer_texts_get_a_smaller_subnet_within_the_same_time() -> None:
    names = [controller().decide(length=length, slack_ms=9.0, now=0.0).name for length in (16, 40, 64)]
    assert names == ["large", "middle", "small"]


def test_a_slow_machine_gets_a_smaller_subnet() -> None:
    loaded = controller()
    for request in range(20):
        decision = loaded.decide(length=16, slack_ms=10.0, now=request / 10)
        loaded.record(decision, run_ms=4 * decision.expected_ms, met=True, now=request / 10 + 0.01)
    assert loaded.slow_down == pytest.approx(4.0, rel=0.05)
    assert loaded.decide(length=16, slack_ms=14.0, now=2.0).name == "middle"
