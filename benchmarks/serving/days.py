"""Simulated days of a machine under every policy: what each gave, by trace and by state of the machine."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.hindsight import WIDTH, all_static, best_by_state, by_state, states_of
from benchmarks.serving.recorded.traces import RECORDED, recorded_trace
from benchmarks.serving.subjects import ladder_of, play
from gearshift.runtime import policy as policy_folder
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.simulate.policies import POLICIES
from gearshift.runtime.simulate.simulator import Outcome
from gearshift.runtime.simulate.traces import TRACES, Scale, Trace, make_trace

SEEDS = (21, 22, 23)
"""Seeds for measuring, different from those for tuning and from the one that the controller was written on (1)."""

DURATION_S = 60.0
OURS, PRESENT, FUTURE = "gearshift", "oracle-present", "oracle-future"
BEST_STATIC, BEST_BY_STATE = "static-best", "best-by-state"
HINDSIGHT = (BEST_STATIC, BEST_BY_STATE)
"""The best fixed subnet of a trace, and the best of each state of its machine, both in hindsight."""

LEAST_REQUESTS = 100
"""Number of requests, over the seeds, of the smallest state that is compared."""

WINDOW, WINDOWS = 100, 4
"""Size and number of the windows of requests after a step of the slow-down over which coverage is tracked."""

MAKERS: dict[str, Callable[[str, Scale], Trace]] = {
    **dict.fromkeys(TRACES, make_trace),
    **dict.fromkeys(RECORDED, recorded_trace),
}
"""Name of a trace -> function that makes it."""


@dataclass(frozen=True)
class Cell:
    """A policy on a trace, as means over the seeds."""

    subject: str
    trace: str
    policy: str
    met: float
    """Share of deadlines met, among those that the smallest subnet met."""
    goodput_accuracy: float
    coverage: float
    switches_per_minute: float


@dataclass(frozen=True)
class StateCell:
    """Ours and the best fixed subnet of one state of the machine, on a trace."""

    subject: str
    trace: str
    slow_down: float
    requests: int
    ours: float
    best_fixed: float


@dataclass
class Measured:
    """All that is measured."""

    cells: list[Cell]
    states: list[StateCell]
    after_steps: dict[str, list[str]]
    """Trace -> for each step of its slow-down, whether each request after it took no longer than predicted: 1 or 0."""
    requests: int = 0
    spent_s: float = 0.0
    """CPU seconds of the simulator with ours."""


@dataclass(frozen=True)
class Day:
    """One seed of a trace under every policy."""

    requests: int
    spent_s: float
    """CPU seconds of the simulator with ours."""
    outcomes: dict[str, list[float]]
    """Policy -> share of deadlines met among those that the smallest subnet met, goodput-accuracy, coverage, switches a
    minute."""
    states: dict[str, list[float]]
    """State of the machine -> number of requests, and what they gave under ours and under each fixed rung."""
    after_steps: list[str]


def measure(
    settings: Mapping[str, Mapping[str, float]], subjects: Sequence[str], seeds: Sequence[int], kept: Path
) -> Measured:
    """Play every policy on every trace, seed by seed.

    `kept`: folder of the days that are done, which an interrupted run goes on from. It is of these settings and of the
    present code (`digest`).
    """
    folder = kept / digest(settings)
    folder.mkdir(parents=True, exist_ok=True)
    days: dict[tuple[str, str], list[Day]] = {}
    for seed, subject, name in itertools.product(seeds, subjects, MAKERS):
        path = folder / f"{subject}-{name}-{seed}.json"
        if not path.exists():
            replace_file(path, json.dumps(vars(play_day(subject, name, seed, settings))).encode())
            print(path.stem, flush=True)
        days.setdefault((subject, name), []).append(Day(**json.loads(path.read_text(encoding="utf-8"))))
    found = Measured([], [], {name: [] for name in MAKERS})
    for (subject, name), those in days.items():
        for policy in those[0].outcomes:
            means = [statistics.mean(column) for column in zip(*(day.outcomes[policy] for day in those), strict=True)]
            found.cells.append(Cell(subject, name, policy, *means))
        found.states += _state_cells(subject, name, [day.states for day in those])
        found.after_steps[name] += [step for day in those for step in day.after_steps]
        found.requests += sum(day.requests for day in those)
        found.spent_s += sum(day.spent_s for day in those)
    return found


def digest(settings: Mapping[str, Mapping[str, float]]) -> str:
    """Return a name for all that a simulated day depends on."""
    runtime, here = Path(policy_folder.__file__).parent.parent, Path(__file__).parent
    code = [*runtime.glob("policy/*.py"), *runtime.glob("simulate/*.py"), *here.glob("recorded/*.py")]
    code += [here / name for name in ("days.py", "hindsight.py", "subjects.py", "pools.json", "boards.json")]
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(code):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def play_day(subject: str, name: str, seed: int, settings: Mapping[str, Mapping[str, float]]) -> Day:
    """Play every policy, and every fixed rung, on one seed of a trace."""
    ladder = ladder_of(subject)
    trace = MAKERS[name](name, Scale(ladder.table, ladder.names[0], seed, DURATION_S))
    static, states = all_static(trace, ladder), states_of(trace)
    outcomes = {
        BEST_STATIC: max(static, key=lambda one: one.goodput_accuracy),
        BEST_BY_STATE: best_by_state(trace, ladder, static, states),
    }
    spent_s = 0.0
    for policy in POLICIES:
        began = time.process_time()
        outcomes[policy] = play(policy, trace, ladder, settings.get(policy, {}))
        spent_s = time.process_time() - began if policy == OURS else spent_s
    ours = outcomes[OURS]
    return Day(
        len(trace.arrivals),
        spent_s,
        {policy: _values(outcome, static[-1]) for policy, outcome in outcomes.items()},
        {str(state): values for state, values in _sums(ours, static, states).items()},
        ["".join(str(int(one)) for one in step) for step in _after_steps(ours)],
    )


def _values(outcome: Outcome, smallest: Outcome) -> list[float]:
    """Return what `Day.outcomes` has of a policy."""
    return [outcome.met_where(smallest), outcome.goodput_accuracy, outcome.coverage, outcome.switches_per_minute]


def _sums(ours: Outcome, static: Sequence[Outcome], states: Sequence[int]) -> dict[int, list[float]]:
    """Return by state: the number of requests, and what they gave under ours and under each fixed rung."""
    each = [by_state(outcome, states) for outcome in (ours, *static)]
    return {state: [float(states.count(state)), *(one[state] for one in each)] for state in each[0]}


def _state_cells(subject: str, trace: str, sums: Sequence[Mapping[str, Sequence[float]]]) -> list[StateCell]:
    total: dict[int, list[float]] = {}
    for one in sums:
        for state, values in one.items():
            before = total.get(int(state), [])
            total[int(state)] = [a + b for a, b in itertools.zip_longest(before, values, fillvalue=0.0)]
    return [
        StateCell(subject, trace, math.exp(WIDTH * state), int(count), ours / count, max(fixed) / count)
        for state, (count, ours, *fixed) in sorted(total.items())
        if count >= LEAST_REQUESTS
    ]


def _after_steps(outcome: Outcome) -> Iterator[list[bool]]:
    """Give, for each step of the slow-down by a tenth or more, whether each request up to the next step took no longer
    than predicted."""
    trace = outcome.trace
    if len(trace.edges) < 2:
        return
    now_at: list[list[bool]] = [[] for _ in trace.edges]
    for index in outcome.order:
        place = sum(edge <= trace.arrivals[index] for edge in trace.edges) - 1
        now_at[place].append(outcome.run_ms[index] <= outcome.predicted_ms[index])
    for place in range(1, len(trace.edges)):
        if abs(math.log(trace.levels[place] / trace.levels[place - 1])) >= 0.1:
            yield now_at[place]


def shares_after(found: Sequence[str]) -> list[float]:
    """Return the coverage of requests 0 to 99, 100 to 199 and so on after a step, over all steps; NaN without any."""
    windows = ["".join(one[at : at + WINDOW] for one in found) for at in range(0, WINDOW * WINDOWS, WINDOW)]
    return [window.count("1") / len(window) if window else math.nan for window in windows]
