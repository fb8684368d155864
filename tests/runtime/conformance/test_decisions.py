"""Decision vectors: the controller gives them again, and another rule does not."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import SchemaError, SelfTestError
from gearshift.runtime.conformance.decisions import (
    DECISIONS,
    SCENARIOS,
    check_decision_vectors,
    make_decision_vectors,
    write_decision_vectors,
)
from gearshift.runtime.policy import choose, controller, latency_model, outlook, restraint, slow_down


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return make_decision_vectors()


@pytest.fixture
def folder(made: dict[str, Any], tmp_path: Path) -> Path:
    write_decision_vectors(tmp_path, made)
    return tmp_path


def test_the_controller_gives_every_decision_again(folder: Path) -> None:
    assert check_decision_vectors(folder) == sum(scenario.steps for scenario in SCENARIOS.values())


def test_they_are_the_same_each_time(made: dict[str, Any]) -> None:
    assert make_decision_vectors() == made


def test_every_reason_and_several_subnets_occur(made: dict[str, Any]) -> None:
    steps = [step for scenario in made["scenarios"] for step in scenario["steps"]]
    reasons = {"fits", "likely", "best_effort", "rejected", "no_deadline", "accuracy_floor", "cpu_share", "pinned"}
    assert {step["reason"] for step in steps} == reasons
    assert {step["met"] for step in steps} == {True, False, None}
    assert len({step["subnet"] for step in steps if step["reason"] == "fits"}) >= 4
    assert {step["level"] for step in steps} >= {0, 1, 2}
    assert any(scenario["rows"] for scenario in made["scenarios"])
    assert len({tuple(scenario["ladder"]) for scenario in made["scenarios"]}) == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subnet", "w000"),
        ("reason", "probe"),
        ("expected_ms", 1.0),
        ("predicted_ms", 1.0),
        ("level", 9),
        ("slow_down", 1.0000001),
        ("met", None),
    ],
)
def test_every_change_of_a_decision_is_found(field: str, value: Any, folder: Path) -> None:
    raw = json.loads((folder / DECISIONS).read_bytes())
    raw["scenarios"][1]["steps"][20][field] = value
    (folder / DECISIONS).write_text(json.dumps(raw))
    with pytest.raises(SelfTestError, match="a load that comes and goes: step 20: another decision"):
        check_decision_vectors(folder)


def test_another_ladder_is_found(folder: Path) -> None:
    raw = json.loads((folder / DECISIONS).read_bytes())
    raw["scenarios"][0]["ladder"].pop()
    (folder / DECISIONS).write_text(json.dumps(raw))
    with pytest.raises(SelfTestError, match="calm: another ladder"):
        check_decision_vectors(folder)


RULES = [
    (slow_down, name)
    for name in (
        "PRIOR_DEVIATION", "DRIFT_PER_SECOND", "DRIFT_PER_UPDATE", "AGILITY_STEP", "CLIPPED_SQUARE",
        "MEAN_CLIPPED_SQUARE", "EXCESS_WEIGHT", "LARGEST_VARIANCE", "NOISE_MEMORY", "CALM", "OUTLIER_DEVIATIONS",
        "OUTLIERS_OF_A_STEP", "ALARMS_FADE_S", "LEAST_TRUST", "FIRST_NOISE", "NOISE_PRIOR_COUNT", "TRUST_IN_TWO",
    )
] + [
    (latency_model, name)
    for name in (
        "IDLE_S", "BIAS_MEMORY", "BIAS_SHRINK", "LARGEST_RESIDUAL", "FIRST_CALL", "FIRST_CALL_MEMORY",
        "FIRST_REQUESTS", "DWELL_S", "STILL", "PERIOD_S",
    )
] + [
    (restraint, name)
    for name in (
        "FIRST_HOLD_S", "LONGEST_HOLD_S", "MISSES_TOGETHER_S", "MEMORY", "PER_LOG", "EVERY", "FOLLOWED",
    )
] + [
    (outlook, name)
    for name in (
        "SPREAD_MEMORY", "PRIOR_COUNT", "FIRST_CLIP", "CLIP", "OUTLIER_PRIOR", "EXCESS_PRIOR", "FIRST_ONES",
        "MEAN_CLIPPED_SQUARE", "OUTLIER_MEMORY", "EXCESS_MEMORY",
    )
] + [(choose, "SURE"), (choose, "HOPELESS"), (controller, "GAP_MEMORY")]  # fmt: skip
"""Constants of the rules, but for one whose small change shows in hardly any request, MISSES_TOGETHER, and bounds that
nothing reaches."""


def test_the_normal_distribution_is_stated_in_every_part_of_an_approximation(made: dict[str, Any]) -> None:
    shares, quantiles = made["normal"]["shares"], made["normal"]["quantiles"]
    assert shares[-2][1] == pytest.approx(0.99998665, abs=1e-8)
    assert all(one[1] < other[1] for one, other in itertools.pairwise(shares[:-1]))
    assert {at <= -3 for at, _ in shares} == {at < -0.425 for at, _ in shares} == {True, False}
    assert all(0.5 * math.erfc(-value * math.sqrt(0.5)) == pytest.approx(share) for share, value in quantiles)
    assert {abs(share - 0.5) <= 0.425 for share, _ in quantiles} == {True, False}
    assert any(math.sqrt(-math.log(min(share, 1 - share))) > 5 for share, _ in quantiles)


@pytest.mark.parametrize(("module", "name"), RULES, ids=[name for _, name in RULES])
def test_every_constant_of_the_rules_shows(
    module: Any, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = getattr(module, name)
    monkeypatch.setattr(module, name, value + 1 if isinstance(value, int) else value * 0.9)
    with pytest.raises(SelfTestError):
        check_decision_vectors(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 2}'])
def test_another_file_is_refused(content: str, folder: Path) -> None:
    (folder / DECISIONS).write_text(content)
    with pytest.raises(SchemaError):
        check_decision_vectors(folder)
