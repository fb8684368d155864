"""The simulator, its traces and its policies: small traces, run whole."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import DataError, InputError
from gearshift.runtime.policy.objective import Objective
from gearshift.runtime.serving.decision_log import DecisionLog
from gearshift.runtime.serving.record import LogHeader, ObjectiveChange, RequestRecord
from gearshift.runtime.simulate.policies import POLICIES
from gearshift.runtime.simulate.rivals import Rival
from gearshift.runtime.simulate.simulator import DROPPED, Ladder, Machine, Outcome, simulate
from gearshift.runtime.simulate.traces import TRACES, Scale, Trace, make_trace, read_log

TIMES: dict[str, tuple[float, ...]] = {"large": (8.0, 32.0), "middle": (4.0, 16.0), "small": (2.0, 8.0)}
TABLE = LatencyTable("0" * 64, "fp32", "CPUExecutionProvider", 1, (16, 64), TIMES, TIMES, 1, "by hand", "2026-01-31")
LADDER = Ladder.of({"large": 0.95, "middle": 0.9, "small": 0.8}, TABLE)


def made(name: str, seed: int = 1) -> Trace:
    return make_trace(name, Scale(TABLE, "large", seed, 24.0))


def outcome(policy: str, trace: Trace, **settings: Any) -> Outcome:
    machine = Machine(trace, LADDER)
    return simulate(POLICIES[policy](machine, **settings), machine)


def calm(arrivals: list[float], deadlines_ms: list[float], **others: Any) -> Trace:
    count = len(arrivals)
    return Trace("by hand", arrivals[-1] + 1, arrivals, [16] * count, deadlines_ms, [1.0] * count, **others)


@pytest.mark.parametrize("name", list(TRACES))
def test_a_trace_is_the_same_each_time_and_another_for_another_seed(name: str) -> None:
    trace = made(name)
    assert str(trace) == str(made(name)) != str(made(name, seed=2))
    assert trace.arrivals == sorted(trace.arrivals)
    assert 0 <= trace.arrivals[0] <= trace.arrivals[-1] <= trace.duration_s
    count = len(trace.arrivals)
    assert count > 10
    assert count == len(trace.lengths) == len(trace.deadlines_ms) == len(trace.noises)
    assert len(trace.edges) == len(trace.levels)


@pytest.mark.parametrize("policy", list(POLICIES))
def test_a_policy_does_the_same_each_time_and_every_request_is_accounted_for(policy: str) -> None:
    trace = made("contention")
    one, other = outcome(policy, trace), outcome(policy, trace)
    assert (one.rungs, one.run_ms) == (other.rungs, other.run_ms)
    assert sorted(one.order) == [index for index, rung in enumerate(one.rungs) if rung != DROPPED]
    assert not any(met for met, rung in zip(one.met, one.rungs, strict=True) if rung == DROPPED)


def test_a_policy_that_picks_nothing_cannot_be_made() -> None:
    made: Any = type("Idle", (Rival,), {})
    with pytest.raises(TypeError, match=r"abstract method '?pick"):
        made(Machine(calm([0.0], [1.0]), LADDER))


def test_requests_run_one_after_the_other_the_earliest_deadline_first() -> None:
    trace = calm([0.0, 0.001, 0.002], [100.0, 90.0, 20.0])
    result = outcome("static-large", trace)
    assert result.order == [0, 2, 1]
    # 9.2 ms is a first call; the second starts then, and ends at 17.2 of 22.
    assert result.run_ms == pytest.approx([8.0 * 1.15, 8.0, 8.0])
    assert result.met == [True, True, True]


def test_a_request_whose_deadline_has_passed_is_dropped_and_costs_no_time() -> None:
    trace = calm([0.0, 0.001, 0.002], [100.0, 5.0, 100.0])
    result = outcome("static-large", trace)
    assert result.rungs == [0, DROPPED, 0]
    assert result.goodput_accuracy == pytest.approx(2 * 0.95 / 3)


def test_the_slow_down_and_the_caps_hold_from_their_edges_on() -> None:
    trace = calm([0.0, 0.5], [100.0, 100.0], edges=(0.0, 0.4), levels=(1.0, 3.0), cap_edges=(0.0, 0.4), caps=(0, 2))
    result = outcome("static-large", trace)
    assert result.rungs == [0, 2]
    assert result.run_ms[1] == pytest.approx(2.0 * 3)


def test_measures_count_what_they_say() -> None:
    trace = calm([0.0, 0.1, 0.2, 0.3], [5.0] * 4)
    small, large = outcome("static-small", trace), outcome("static-large", trace)
    assert small.met == [True] * 4
    assert large.met_where(small) == 0.0
    assert small.met_where(small) == 1.0
    assert (small.switches_per_minute, math.isnan(small.coverage)) == (0.0, True)
    mixed = calm([0.0, 0.1, 0.2, 0.3], [50.0, 5.0, 50.0, 5.0])
    assert outcome("oracle-present", mixed).switches_per_minute == pytest.approx(3 * 60 / 1.3)


@pytest.mark.parametrize("name", ["steady", "contention", "ramp", "square"])
def test_ours_meets_nearly_all_that_can_be_met_and_no_oracle_of_the_future_is_beaten(name: str) -> None:
    trace = made(name)
    small, ours, future = (outcome(policy, trace) for policy in ("static-small", "gearshift", "oracle-future"))
    assert ours.met_where(small) > 0.97
    assert future.met_where(small) > 0.99
    assert small.goodput_accuracy < ours.goodput_accuracy <= future.goodput_accuracy


def logged(time: float, **others: Any) -> RequestRecord:
    facts = {"tokens": (16,), "deadline_ms": 30.0, "run_ms": 12.0, "expected_ms": 8.0, "latency_ms": 100.0, **others}
    return RequestRecord(arrival_s=0.0, time=time, **facts)


def test_a_decision_log_is_replayed(tmp_path: Path) -> None:
    header = LogHeader(
        time=4.0, objective=Objective(), ladder=LADDER.names, accuracies=dict.fromkeys(TIMES, 0.5), table=TABLE
    )
    with contextlib.closing(DecisionLog(tmp_path / "log.jsonl")) as log:
        for entry in (
            header,
            logged(5.5),
            ObjectiveChange(time=5.6, objective=Objective(target=0.9)),
            logged(5.0),
            logged(6.0, deadline_ms=None),
            logged(7.0, tokens=(9, 9)),
            header,
            logged(8.0, run_ms=None, latency_ms=None, error="shed"),
        ):
            log.write(entry)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "request", "ti')  # the program was killed
    trace = read_log(tmp_path / "log.jsonl")
    assert trace.arrivals == pytest.approx([0.0, 0.5])
    assert (trace.lengths, trace.deadlines_ms, trace.noises) == ([16, 16], [30.0, 30.0], [1.5, 1.5])
    assert outcome("static-large", trace).run_ms[1] == pytest.approx(12.0)


def test_what_is_no_decision_log_or_has_no_deadlines_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"time": 1}\n')
    with pytest.raises(DataError, match="line 1: expected a header or a request"):
        read_log(log)
    header = LogHeader(time=4.0, objective=Objective(), ladder=("large",), accuracies={"large": 0.5}, table=TABLE)
    log.write_text(json.dumps(header.to_dict()) + "\n")
    with pytest.raises(InputError, match="expected requests with deadlines, found none"):
        read_log(log)


@pytest.mark.parametrize(
    ("name", "seed", "seconds", "message"),
    [
        ("steady", 1, 0.0, "seconds: expected a number above 0, up to 2592000, got 0"),
        ("steady", 1, math.nan, "seconds: expected a number above 0, up to 2592000, got nan"),
        ("steady", 1, math.inf, "seconds: expected a number above 0, up to 2592000, got inf"),
        ("steady", 1, 1e300, "seconds: expected a number above 0, up to 2592000, got 1e.300"),
        ("steady", -1, 9.0, "seed: expected a whole number of at least 0, got -1"),
        ("idle-burst", 1, 9.0, "trace idle-burst: no request comes within 9 seconds"),
        ("steady", 1, 1e-9, "trace steady: no request comes within 1e-09 seconds"),
    ],
)
def test_a_trace_without_a_request_is_refused(name: str, seed: int, seconds: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_trace(name, Scale(TABLE, "large", seed, seconds))


def test_an_unknown_trace_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(InputError, match="unknown trace 'night'; expected a decision log or one of steady, poisson"):
        made("night")
