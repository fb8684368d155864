"""Figures that no result file holds as they are told: each is computed again from the files."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest
from scipy.stats import spearmanr

from gearshift.device_profiles.roofline import SLACK
from tests.docs.figures import RESULTS
from tests.docs.pages import ROOT


def test_the_order_of_policies_is_ranked_as_results_say() -> None:
    """Spearman over the eight policies of both: the simulator's traces of contention on SNIPS, and the real machine."""
    real = {row["policy"]: row["goodput"] for row in _result("engine-sst2")["rows"]}
    names = {
        "static w025-d050": "static-small",
        "static w050-d075": "static-medium",
        "static w075-d100": "static-large",
    }
    found = {}
    for trace in ("contention", "memory-contention"):
        simulated = _simulated("snips-fp32", trace)
        pairs = [(value, simulated[names.get(policy, policy)]) for policy, value in real.items()]
        assert len(pairs) == 8
        found[trace] = f"{spearmanr(*zip(*pairs, strict=True)).statistic:.2f}".lstrip("0")
    said = "{contention} with its trace of processor contention, {memory-contention} with that of memory contention"
    for trace, value in found.items():
        said = said.replace(f"{{{trace}}}", value)
    assert f"rank correlation is {said}" in told("results")


def test_the_range_of_a_roofline_is_as_wide_as_results_say() -> None:
    """Check from the floor of the best constants to SLACK times that of the worst, median over subnets and lengths."""
    wide = {}
    for row in _result("roofline")["results"]:
        middle = statistics.median(most / least for least, most in row["floors"])
        wide[row["precision"]] = round(middle * SLACK[row["precision"]])
    assert f"a factor of {wide['fp32']} (fp32) and {wide['int8']} (int8) wide at the median" in told("results")


@pytest.mark.parametrize(
    ("accuracies", "rows", "said"),
    [
        ([0.98, 0.956], [700, 700], "a standard error is {} to {} points"),
        ([0.881, 0.962, 0.981], [1821, 500, 700], "A standard error is {}, {} and {} points"),
    ],
)
def test_a_standard_error_is_that_of_a_share(accuracies: list[float], rows: list[int], said: str) -> None:
    """Check it for the accuracies that stand beside it, on so many rows."""
    errors = [100 * (share * (1 - share) / count) ** 0.5 for share, count in zip(accuracies, rows, strict=True)]
    assert said.format(*(f"{error:.1f}".lstrip("0") for error in errors)) in told("download")


def told(page: str) -> str:
    """Text of a page under docs/, on one line."""
    return " ".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").split())


def _result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _simulated(model: str, trace: str) -> dict[str, float]:
    """Goodput of each policy on a trace, off the table of a model."""
    _, _, behind = (RESULTS / "policies.md").read_text().partition(f"### {model}: ")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in behind.splitlines() if line[:1] == "|"]
    values = next(row for row in rows if row[0] == trace)
    return {name: float(value) for name, value in zip(rows[0], values, strict=True) if value[:1].isdigit()}
