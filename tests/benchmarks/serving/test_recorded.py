"""Tests of traces from recorded logs, and of what hindsight makes of a trace."""

from __future__ import annotations

import pytest

from benchmarks.serving.hindsight import all_static, best_by_state, by_state, gained, states_of
from benchmarks.serving.recorded.traces import RECORDED, recorded_trace
from benchmarks.serving.subjects import ladder_of
from gearshift.runtime.simulate.traces import Pace, Scale, Trace

LADDER = ladder_of("snips-fp32")


def made(name: str, seed: int = 3) -> Trace:
    return recorded_trace(name, Scale(LADDER.table, LADDER.names[0], seed, 20.0))


@pytest.mark.parametrize("name", list(RECORDED))
def test_a_trace_is_the_same_each_time_and_another_for_another_seed(name: str) -> None:
    trace, again, other = made(name), made(name), made(name, seed=4)
    assert (trace.arrivals, trace.lengths, trace.levels) == (again.arrivals, again.lengths, again.levels)
    assert (trace.arrivals, trace.lengths, trace.levels) != (other.arrivals, other.lengths, other.levels)
    assert trace.name == name
    assert trace.arrivals == sorted(trace.arrivals)
    assert trace.arrivals[-1] <= trace.duration_s
    assert len(trace.arrivals) == len(trace.lengths) == len(trace.deadlines_ms) == len(trace.noises) > 10


def test_a_recorded_pace_takes_the_time_in_which_the_work_was_done() -> None:
    pace = Pace([1.0, 0.0, 0.5, 1.0], bin_ms=2.0)
    assert pace.took_ms(0.0, 1.0) == pytest.approx(1.0)
    assert pace.took_ms(0.0, 2.5) == pytest.approx(5.0)  # a bin, one without work, and half a bin at half speed
    assert pace.took_ms(0.002, 0.5) == pytest.approx(3.0)
    assert pace.took_ms(0.006, 3.0) == pytest.approx(3.0)  # full speed beyond the record
    assert pace.took_ms(1.0, 3.0) == pytest.approx(3.0)


def test_the_best_of_each_state_is_the_best_of_a_trace_in_one_state() -> None:
    trace = made("processor-hogs")
    static, states = all_static(trace, LADDER), states_of(trace)
    assert len(set(states)) > 1
    for outcome in static:
        assert sum(by_state(outcome, states).values()) == pytest.approx(sum(gained(outcome)))
        assert sum(gained(outcome)) / len(states) == pytest.approx(outcome.goodput_accuracy)
    best = best_by_state(trace, LADDER, static, states)
    assert set(best.rungs) <= {-1, *range(len(LADDER.names))}
    one = best_by_state(trace, LADDER, static, [0] * len(states))
    assert one.goodput_accuracy <= max(outcome.goodput_accuracy for outcome in static) + 1e-9
