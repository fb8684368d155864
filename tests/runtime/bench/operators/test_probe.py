"""The probe runs on a device that has no bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gearshift.runtime.bench.operators import probe
from gearshift.runtime.bench.operators.fit import fit_operator_costs
from gearshift.runtime.bench.operators.probe import CASES, FEWEST_ROUNDS, open_probe, time_probe


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_its_weights_are_filled_on_the_device(precision: str) -> None:
    with open_probe(precision) as opened:
        weights = opened.graph.with_suffix(".weights")
        size = weights.stat().st_size
        assert 5e6 < size < 1e8
        start = np.fromfile(weights, np.uint8, 4096)
        assert len(set(start.tolist())) > 30
    assert not weights.exists()


def test_costs_come_from_the_probe_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LENGTHS", (16,))
    monkeypatch.setattr(probe, "CASES", ((16, True), (16, False)))
    calls = time_probe("int8", threads=1, seconds=0.01)
    assert len(calls) == 2 * FEWEST_ROUNDS
    assert all(call and whole_ms > 0 for call, whole_ms in calls)
    heavy, light = calls[0][0], calls[1][0]
    assert sum(one.operator.macs for one in heavy) > 50 * sum(one.operator.macs for one in light)
    costs = fit_operator_costs(calls, precision="int8", provider="x", threads=1)
    assert {"QAttention", "MatMulIntegerToFloat", "LayerNormalization", "Gather", "If", "Gemm"} <= set(
        costs.microseconds
    )
    assert json.dumps(costs.to_dict())
    assert len(CASES) == 6
