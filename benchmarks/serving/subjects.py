"""Ladders that the simulated policies switch between, and one simulated day of a policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS
from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.simulate.policies import POLICIES
from gearshift.runtime.simulate.simulator import Ladder, Machine, Outcome, simulate
from gearshift.runtime.simulate.traces import Trace

SUBJECTS = (("snips", "fp32"), ("snips", "int8"), ("sst2", "fp32"))


def ladder_of(pool: str, precision: str) -> Ladder:
    """Return MiniLM-L6 as benchmarks.graph.elastic timed it, with a pool's accuracies."""
    report = json.loads((RESULTS / f"elastic-minilm-l6-uniform-{precision}.json").read_text())
    rows = report["rows"]
    lengths = tuple(sorted({row["tokens"] for row in rows}))
    times = {
        kind: {
            name: tuple(row["times"]["pool"][kind] for row in rows if row["subnet"] == name)
            for name in dict.fromkeys(row["subnet"] for row in rows)
        }
        for kind in ("median_ms", "p95_ms")
    }
    table = LatencyTable(
        "0" * 64, precision, "CPUExecutionProvider", report["threads"], lengths, times["median_ms"], times["p95_ms"],
        report["rounds"], report["command"], report["date"],
    )  # fmt: skip
    measured = json.loads((Path(__file__).parent / "pools.json").read_text())[pool]
    return Ladder.of(measured["accuracies"][precision], table, rows=measured["rows"])


def play(policy: str, trace: Trace, ladder: Ladder, settings: Mapping[str, Any]) -> Outcome:
    """Simulate one policy on one trace."""
    machine = Machine(trace, ladder)
    return simulate(POLICIES[policy](machine, **settings), machine)
