"""Ladders that the simulated policies switch between, and one simulated day of a policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS
from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.simulate.policies import POLICIES
from gearshift.runtime.simulate.simulator import Ladder, Machine, Outcome, simulate
from gearshift.runtime.simulate.traces import Trace

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Times:
    """Median times of subnets by length, and what is told of their measurement."""

    lengths: Sequence[int]
    median_ms: Mapping[str, Sequence[float]]
    rounds: int
    command: str
    date: str

    def table(self, precision: str) -> LatencyTable:
        """Return the latency table that an engine would have; the policies use its medians alone."""
        medians = {name: tuple(times) for name, times in self.median_ms.items()}
        return LatencyTable(
            "0" * 64, precision, "CPUExecutionProvider", 1, tuple(self.lengths), medians, medians,
            self.rounds, self.command, self.date,
        )  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A pool with its accuracies (pools.json), at a precision, and its times."""

    pool: str
    precision: str
    times: Callable[[str], Times]


def _minilm(precision: str) -> Times:
    """Return the times of MiniLM-L6 as benchmarks.graph.elastic measured them."""
    report = _read(RESULTS / f"elastic-minilm-l6-uniform-{precision}.json")
    rows = report["rows"]
    lengths = sorted({row["tokens"] for row in rows})
    medians = {
        name: [row["times"]["pool"]["median_ms"] for row in rows if row["subnet"] == name]
        for name in dict.fromkeys(row["subnet"] for row in rows)
    }
    return Times(lengths, medians, report["rounds"], report["command"], report["date"])


def _with_dan(precision: str) -> Times:
    """Return the times of MiniLM-L6, and of a DAN below it as benchmarks.dan.speed measured it on texts of at least as
    many words."""
    graph, report = _minilm(precision), _read(RESULTS / "dan-speed-imdb.json")
    measured = [*report["short"], {"words": report["words"], "median": report["us"]["DAN int8"]["median"]}]
    dan = [next(row["median"] for row in measured if row["words"] >= length) / 1e3 for length in graph.lengths]
    return Times(graph.lengths, {**graph.median_ms, "dan": dan}, graph.rounds, graph.command, graph.date)


def _mpnet(precision: str) -> Times:
    """Return the times of MPNet-base from text to answer, as benchmarks.device.ladder measured them."""
    report = _read(RESULTS / "ladder-mpnet-sick.json")
    times = report["median_ms"][precision]
    lengths = sorted({int(key.split(", ")[1]) for key in times})
    medians = {
        entry["name"]: [times[f"{entry['name']}, {length}"] for length in lengths] for entry in report["accuracies"]
    }
    return Times(lengths, medians, 1, report["command"], report["date"])


def _board(name: str, precision: str) -> Times:
    """Return the times that benchmarks.serving.boards estimated."""
    found = _read(HERE / "boards.json")[name]
    return Times(found["lengths"], found["median_ms"], 1, "python -m benchmarks.serving.boards", "2026-12-01")


SUBJECTS = {
    "snips-fp32": Subject("snips", "fp32", _minilm),
    "snips-int8": Subject("snips", "int8", _minilm),
    "sst2-fp32": Subject("sst2", "fp32", _minilm),
    "squad-int8": Subject("squad", "int8", _minilm),
    "trec-dan-int8": Subject("trec-dan", "int8", _with_dan),
    "sick-mpnet-int8": Subject("sick-mpnet", "int8", _mpnet),
    "squad-pi4-int8": Subject("squad", "int8", partial(_board, "raspberry-pi-4-b")),
    "sick-mpnet-pi5-int8": Subject("sick-mpnet", "int8", partial(_board, "raspberry-pi-5")),
}


def ladder_of(name: str) -> Ladder:
    """Return the ladder of a subject."""
    subject = SUBJECTS[name]
    pool = _read(HERE / "pools.json")[subject.pool]
    accuracies, table = pool["accuracies"][subject.precision], subject.times(subject.precision).table(subject.precision)
    reported = pool.get("reported", pool["accuracies"])[subject.precision]
    return Ladder.of(accuracies, table, rows=pool["rows"], reported=reported, dan=pool.get("dan"))


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def play(policy: str, trace: Trace, ladder: Ladder, settings: Mapping[str, Any]) -> Outcome:
    """Simulate one policy on one trace."""
    machine = Machine(trace, ladder)
    return simulate(POLICIES[policy](machine, **settings), machine)
