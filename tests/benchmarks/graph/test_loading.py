"""Loads of two versions are compared round by round."""

from __future__ import annotations

import pytest

from benchmarks.graph.loading import row_of, table


def rounds(*wall: float) -> list[dict[str, float]]:
    return [{"wall_ms": time, "cpu_ms": 2 * time, "answered_cpu_ms": 3 * time, "peak_mb": 100.0} for time in wall]


def test_growth_is_that_of_the_median_round_and_not_of_the_medians() -> None:
    """A round during which the machine is busy slows both versions down."""
    row = row_of("fp32", rounds(100, 200, 400, 100, 100), rounds(105, 210, 420, 90, 105))
    assert (row.rounds, row.before_wall, row.now_wall) == (5, 100, 105)
    assert row.wall_growth == row.cpu_growth == pytest.approx(0.05)
    assert (row.before_cpu, row.now_cpu) == (200, 210)
    assert (
        table([row], "minilm-l6")[-1]
        == "| fp32 | 100 | 105 | +5.0 % | 200 | 210 | +5.0 % | 300 | 315 | +5.0 % | 100 | 100 |"
    )
