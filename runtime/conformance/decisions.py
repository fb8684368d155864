"""Decision vectors: requests one after another with their observed latencies, and what the controller makes of them.

A port of the policy to another language gives the same decisions (docs/bundle.md).
"""

from __future__ import annotations

import copy
import functools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

from gearshift.device_profiles.latency_table import CPU_PROVIDER, LatencyTable
from gearshift.errors import SelfTestError
from gearshift.runtime.batches import one
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.policy.choose import REJECTED
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import Objective, Wanted
from gearshift.runtime.sensors.caps import Caps
from gearshift.schema import Schema

DECISIONS = "decisions.json"

SCHEMA = Schema(version=1, advice="make the vectors again with `gearshift vectors`")

TOLERANCE = 1e-9
"""Largest relative difference of a number: languages differ in the last bit of exponentials and logarithms."""

LENGTHS = (8, 32, 128)

MEDIAN_MS: dict[str, tuple[float, ...]] = {
    "w100": (2.5, 4.0, 12.0),
    "w075": (1.9, 3.1, 9.2),
    "w075-twin": (1.9, 3.1, 9.2),
    "uneven": (1.6, 2.7, 7.9),
    "w050": (1.2, 2.0, 5.5),
    "w040": (0.9, 1.6, 4.1),
    "w025": (0.6, 1.1, 2.6),
    "w010": (0.3, 0.5, 1.3),
}
"""Latency table of a made-up pool: subnet -> median in ms at each of LENGTHS."""

ACCURACIES = {
    "w100": 0.936, "w075": 0.944, "w075-twin": 0.938, "uneven": 0.925, "w050": 0.943, "w040": 0.934, "w025": 0.9,
    "w010": 0.81,
}  # fmt: skip
"""Accuracies of the made-up pool: one is worse than a faster one by more than noise, some by less, two are as fast."""

LARGEST_MS = MEDIAN_MS["w100"][-1]

CPUS = 2

CROSSED = {**ACCURACIES, "uneven": 0.9, "w050": 0.933, "w040": 0.93, "w025": 0.934}
"""Accuracies whose smoothing puts one rung above another that is stated to be more accurate: a floor between the two
leaves out the upper one."""

ROWS = (0, 700)
"""Numbers of rows behind the accuracies, one scenario after another: taken as they are, and smoothed."""

CLOSE_MS = {
    **{name: MEDIAN_MS[name] for name in ("w100", "w050")},
    "w010": (0.3, 0.5, 1.3),
    "w009": (0.297, 0.495, 1.287),
}
CLOSE = {"w100": 0.94, "w050": 0.93, "w010": 0.81, "w009": 0.4}
"""Another pool: its two fastest subnets take almost the same time, and so the slower one is taken as soon as it has a
chance."""

FINISH_MS = 0.2
"""Time in ms that a made-up request takes beside the graph."""


@dataclass(frozen=True)
class Scenario:
    """Made-up requests: how they come, what they want, and how slow the machine is."""

    objective: Wanted
    steps: int = 32
    pause_s: tuple[float, float] = (0.03, 0.12)
    """Shortest and longest pause between two requests in seconds."""
    burst: int = 0
    """Number of requests after each of which a pause of 20 to 70 seconds follows, the last but one an outlier half of
    the time; 0 for none."""
    slack: tuple[float, float] | None = (0.2, 1.5)
    """Least and largest slack, as a share of the time of the largest subnet; None: no deadlines."""
    load: tuple[float, ...] = (1.0,)
    """Slow-down of the machine, part by part."""
    noise: float = 0.05
    outliers: float = 0.0
    """Share of runs that take three to eight times as long."""
    slices: bool = False
    """Whether most runs of more than 2 ms take four times as long, as where the processor is taken away in slices."""
    waits: bool = False
    """Whether a request that comes while another one runs waits for it."""
    capped: bool = False
    pinned: bool = False
    edges: int = 0
    """Number of requests of which one has its slack, that at its turn, moved to where another subnet begins to be
    chosen, so that a small change of any rule shows; 0 for none."""
    pairs: int = 0
    """Number of requests of which the last two take three to eight times as long; 0 for none."""
    accuracies: Mapping[str, float] = field(default_factory=lambda: ACCURACIES)
    median_ms: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MEDIAN_MS)
    rows: int | None = None
    """Rows behind the accuracies; None: those of its turn, one of ROWS."""
    seed: int = 0
    """Seed of the chance, chosen so that every rule shows in some decision (a test changes each)."""


SCENARIOS = {
    "calm": Scenario({}, steps=150, noise=0.01, load=(1.0, 1.06, 1.0, 0.94, 1.02)),
    "a load that comes and goes": Scenario({}, steps=48, load=(1.0, 3.0, 1.2, 0.7)),
    "pauses": Scenario({}, pause_s=(0.8, 1.25), load=(1.0, 1.6), noise=0.2),
    "alarms": Scenario({}, steps=72, burst=6, seed=6),
    "outliers": Scenario({}, steps=48, outliers=0.15),
    "slices": Scenario({"target": 0.6}, steps=160, slack=(0.2, 0.9), slices=True, pause_s=(0.03, 0.14), seed=10),
    "misses": Scenario(
        {"target": 0.6}, steps=100, slack=(0.3, 0.9), outliers=0.2, pause_s=(0.02, 0.1), noise=0.15, seed=2
    ),
    "one behind another": Scenario({}, steps=120, pause_s=(0.0, 0.012), slack=(0.6, 2.5), waits=True, noise=0.15),
    "a floor": Scenario({"min_accuracy": 0.0}, slack=(0.1, 2.0), load=(1.0, 2.0)),
    "rejecting": Scenario({"on_miss": "reject"}, slack=(0.02, 0.5), load=(1.0, 4.0), pause_s=(0.03, 1.2)),
    "caps and pins": Scenario({"target": 0.95}, capped=True, pinned=True, noise=0.15),
    "a target": Scenario({"target": 0.95}, steps=80, slack=(0.2, 1.2), outliers=0.05, noise=0.1, seed=7),
    "late answers are worth something": Scenario(
        {"late_value": 0.7}, steps=80, slack=(0.05, 1.0), load=(1.0, 2.0, 1.2), noise=0.15, seed=8
    ),
    "close calls": Scenario({}, steps=240, slack=(0.05, 1.1), outliers=0.25, noise=0.2, seed=26),
    "misses soon after another": Scenario(
        {"target": 0.6}, steps=160, slack=(0.3, 0.9), outliers=0.3, pause_s=(0.1, 0.3), noise=0.2, seed=20
    ),
    "no deadlines": Scenario({}, steps=6, slack=None),
    "no deadlines, a floor": Scenario({"min_accuracy": 0.0}, steps=6, slack=None),
    "a share of the CPUs": Scenario({"max_cpu_share": 0.1}, steps=12, slack=None, pause_s=(0.01, 0.05)),
    "a floor that leaves out a rung": Scenario(
        {"min_accuracy": 0.934}, slack=(0.1, 2.0), load=(1.0, 2.0), accuracies=CROSSED, rows=700
    ),
    "a share of the CPUs, and such a floor": Scenario(
        {"max_cpu_share": 0.3, "min_accuracy": 0.934},
        steps=40,
        slack=None,
        pause_s=(0.001, 0.02),
        accuracies=CROSSED,
        rows=700,
        seed=4,
    ),
    "at the edge": Scenario({}, steps=60, slack=(0.05, 1.0), outliers=0.1, noise=0.1, edges=1),
    "two slow ones at the edge": Scenario({}, steps=80, slack=(0.3, 1.5), pairs=10, edges=1, rows=700, seed=1),
    "a queue at the edge": Scenario(
        {}, steps=211, slack=(0.02, 0.08), pause_s=(0.0, 0.0014), waits=True, edges=30, rows=700, seed=1
    ),
    "hardly a chance": Scenario(
        {}, steps=24, slack=(0.04, 0.05), noise=0.1, edges=1, accuracies=CLOSE, median_ms=CLOSE_MS, rows=0
    ),
}
"""Name -> scenario. A floor of 0 stands for the accuracy in the middle of the ladder."""


SHARES_AT = (-37.0, -9.0, -6.5, -4.2, -3.05, -3.0, -2.95, -1.3, -0.4, 0.0, 0.4, 1.3, 2.95, 3.05, 4.2, 9.0)
QUANTILES_AT = (1e-13, 1e-6, 0.01, 0.0749, 0.0751, 0.3, 0.5, 0.6, 0.9249, 0.9251, 0.99, 0.9999, 1 - 1e-13)
"""Places at which the normal distribution is stated: in each part of a usual approximation, and beside their ends."""


def _table(lengths: Sequence[int], median_ms: Mapping[str, Sequence[float]]) -> LatencyTable:
    """Return the latency table of a made-up pool."""
    times = {name: tuple(values) for name, values in median_ms.items()}
    return LatencyTable("", "fp32", CPU_PROVIDER, 1, tuple(lengths), times, times, 1, "made up", "2026-01-01")


TABLE = _table(LENGTHS, MEDIAN_MS)
"""Latency table of the made-up pool."""


def _plain(lengths: Sequence[int], median_ms: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return {"lengths": list(lengths), "median_ms": {name: list(values) for name, values in median_ms.items()}}


def make_decision_vectors() -> dict[str, Any]:
    """Make the decision vectors, as plain values for JSON."""
    return {"table": _plain(LENGTHS, MEDIAN_MS), "normal": _normal(), "scenarios": _scenarios()}


@functools.cache
def _scenarios() -> list[dict[str, Any]]:
    """Make the scenarios, once: they are the same for every bundle."""
    return [_made(name, ROWS[number % len(ROWS)]) for number, name in enumerate(SCENARIOS)]


def _normal() -> dict[str, Any]:
    """Return shares of the normal distribution below some numbers, and its quantiles at some shares, as pairs."""
    shares = [[at, 0.5 * math.erfc(-at * math.sqrt(0.5))] for at in SHARES_AT]
    return {"shares": shares, "quantiles": [[at, NormalDist().inv_cdf(at)] for at in QUANTILES_AT]}


def _made(name: str, rows: int) -> dict[str, Any]:
    scenario = SCENARIOS[name]
    rows = rows if scenario.rows is None else scenario.rows
    wanted = dict(scenario.objective)
    table = TABLE if scenario.median_ms is MEDIAN_MS else _table(LENGTHS, scenario.median_ms)
    own = {} if table is TABLE else {"table": _plain(LENGTHS, scenario.median_ms)}
    if wanted.get("min_accuracy") == 0:
        free = Controller(scenario.accuracies, table, rows=rows)
        wanted["min_accuracy"] = free.stated[free.ladder[len(free.ladder) // 2]]
    objective = Objective(**wanted)  # type: ignore[arg-type]
    controller = Controller(scenario.accuracies, table, objective, rows=rows, cpus=CPUS)
    return {
        "name": name,
        **own,
        "objective": asdict(objective),
        "cpus": CPUS,
        "accuracies": dict(scenario.accuracies),
        "rows": rows,
        "ladder": list(controller.ladder),
        "steps": list(_steps(scenario, controller, random.Random(scenario.seed))),
    }


Run = Callable[[float], float]
"""Function from the expected ms of a run to those that it takes."""


def _steps(scenario: Scenario, controller: Controller, source: random.Random) -> Iterator[dict[str, Any]]:
    """Yield made-up requests, each with its decision and its outcome."""
    came, free, longest = 100.0, 100.0, LENGTHS[-1]
    for number in range(scenario.steps):
        ends = scenario.burst and number % scenario.burst == scenario.burst - 2
        begins = scenario.burst and number and number % scenario.burst == 0
        came += source.uniform(20, 70) if begins else source.uniform(*scenario.pause_s)
        now = round(max(came, free) if scenario.waits else came, 6)
        waited_ms = (now - came) * 1e3
        tokens = source.randint(2, longest)
        slack = deadline = None
        if scenario.slack is not None:
            wanted = source.uniform(*scenario.slack) * LARGEST_MS * tokens / longest
            if scenario.edges and number % scenario.edges == 0:
                wanted = _edge(controller, tokens, wanted, now, source) + waited_ms
            slack = round(wanted - waited_ms, 4)
            deadline = round(wanted + FINISH_MS, 4) if scenario.waits else None
        request = {
            "now": now,
            "tokens": tokens,
            "slack_ms": slack,
            "deadline_ms": deadline,
            "first": number % 3 if scenario.capped else 0,
            "pinned": source.choice(list(controller.accuracies)) if scenario.pinned and number % 5 == 4 else None,
        }
        factor = scenario.load[number * len(scenario.load) // scenario.steps]
        factor *= math.exp(scenario.noise * source.gauss(0, 1))
        is_of_pair = scenario.pairs and number % scenario.pairs >= scenario.pairs - 2
        if source.random() < (1 if is_of_pair else 0.5 if ends else scenario.outliers):
            factor *= source.uniform(3, 8)
        sliced = scenario.slices and source.random() < 0.8
        step = _step(controller, request, _run(factor, sliced=sliced))
        free = step["learnt_s"] or now
        yield step


def _run(factor: float, *, sliced: bool) -> Run:
    return lambda expected_ms: expected_ms * factor * (4 if sliced and expected_ms > 2 else 1)


EDGE_REACH, EDGE_HALVINGS = 20.0, 12
"""Multiple of a slack up to which an edge is looked for, and number of times that the place of one is halved."""


def _edge(controller: Controller, tokens: int, slack_ms: float, now: float, source: random.Random) -> float:
    """Return a slack in ms beside one from which on another subnet is chosen, a little less or more; the given one if
    there is none up to EDGE_REACH times that."""

    def chosen(slack_ms: float) -> str:
        return copy.deepcopy(controller).decide(work=one(tokens), slack_ms=slack_ms, now=now).name

    low, high = slack_ms, slack_ms * EDGE_REACH
    name = chosen(low)
    if chosen(high) == name:
        return slack_ms
    for _ in range(EDGE_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if chosen(middle) == name else (low, middle)
    return source.choice((low, high))


def _step(controller: Controller, request: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Decide a request and learn from it; return the request, the decision, and the outcome."""
    decision = controller.decide(
        work=one(request["tokens"]),
        slack_ms=request["slack_ms"],
        now=request["now"],
        caps=Caps(request["first"]),
        pinned=request["pinned"],
        deadline_ms=request["deadline_ms"],
    )
    outcome: dict[str, Any] = {"run_ms": None, "met": None, "learnt_s": None}
    if decision.reason != REJECTED:
        run_ms = round(run(decision.expected_ms), 4)
        met = None if request["slack_ms"] is None else run_ms <= request["slack_ms"]
        outcome = {"run_ms": run_ms, "met": met, "learnt_s": round(request["now"] + run_ms / 1e3, 6)}
        controller.record(decision, run_ms=run_ms, met=met, now=outcome["learnt_s"])
    made = {"subnet": decision.name, **decision._asdict()}
    del made["name"]
    return {**request, **made, **outcome, "slow_down": controller.slow_down}


def write_decision_vectors(folder: Path, vectors: Mapping[str, Any]) -> None:
    """Write decision vectors to a folder; raise StorageError."""
    content = json.dumps({"schema_version": SCHEMA.version, **vectors}, ensure_ascii=False)
    replace_file(folder / DECISIONS, (content.replace('{"now"', '\n{"now"') + "\n").encode())


def check_decision_vectors(folder: Path) -> int:
    """Decide the requests of a folder's vectors anew; return their number.

    Raises SchemaError for a file of another form, SelfTestError where a decision differs.
    """
    place = folder / DECISIONS
    read = SCHEMA.read(
        place, lambda raw: [(one["name"], one["steps"], _difference(raw["table"], one)) for one in raw["scenarios"]]
    )
    for name, _, difference in read:
        if difference is not None:
            raise SelfTestError(f"{place}: {name}: {difference}; {SCHEMA.advice}")
    return sum(len(steps) for _, steps, _ in read)


def _difference(table_of_most: Mapping[str, Any], scenario: Mapping[str, Any]) -> str | None:
    """Return in words how a scenario differs from what the controller makes of it; None if it does not."""
    table = _table(**scenario.get("table", table_of_most))
    objective = Objective(**scenario["objective"])
    controller = Controller(scenario["accuracies"], table, objective, rows=scenario["rows"], cpus=scenario["cpus"])
    if list(controller.ladder) != scenario["ladder"]:
        return "another ladder"
    for number, step in enumerate(scenario["steps"]):
        found = _step(controller, {name: step[name] for name in _REQUEST}, _known(step["run_ms"]))
        if not _same(step, found):
            return f"step {number}: another decision"
    return None


def _known(run_ms: float | None) -> Run:
    return lambda expected_ms: 0.0 if run_ms is None else run_ms


_REQUEST = ("now", "tokens", "slack_ms", "deadline_ms", "first", "pinned")


def _same(expected: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return expected.keys() == found.keys() and all(
        math.isclose(value, found[name], rel_tol=TOLERANCE)
        if isinstance(value, float) and isinstance(found[name], float)
        else value == found[name]
        for name, value in expected.items()
    )
