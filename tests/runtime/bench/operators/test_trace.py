"""A bundle is taken apart: its operators, what they compute, and costs that are fitted to them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.device_profiles.operators import ANY, Operator
from gearshift.runtime.bench.operators.fit import fit_operator_costs, non_negative
from gearshift.runtime.bench.operators.trace import Traced, operator_of, read_calls, trace
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.shape import EncoderShape

TOKENS = 8


def macs(call: Sequence[Traced]) -> int:
    return sum(one.operator.macs for one in call)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_products_of_a_subnet_are_those_of_its_layers(bundle: Bundle, precision: str) -> None:
    """But for the last layer, which computes less, and the head: the differences between subnets are whole layers."""
    shape = bundle.manifest.space.shape
    assert isinstance(shape, EncoderShape)
    pool = bundle.pool(precision)
    cells = [(pool[name].choice, TOKENS) for name in ("w100-d100", "w100-d075", "w050-d100", "w050-d075")]
    full, fewer, half, half_fewer = (call for (call,) in trace(bundle, precision, cells, warm_up=False))
    assert macs(full) > macs(fewer) > macs(half_fewer)
    dropped = macs(half) - macs(half_fewer)
    layer = sum(part.macs(TOKENS) for part in shape.layer_parts((shape.heads // 2, shape.neurons // 2)))
    head = dropped - layer
    assert abs(head) < layer  # depth .75 drops the last layer, and the one before computes for the first token alone


def test_which_operators_run_does_not_depend_on_the_round(bundle: Bundle) -> None:
    choice = bundle.entry("w050-d100", "int8").choice
    first, second = trace(bundle, "int8", [(choice, TOKENS)], rounds=2)[0]
    kinds = [Counter(one.operator for one in call) for call in (first, second)]
    assert kinds[0] == kinds[1]
    assert {"QAttention", "DynamicQuantizeMatMul", "If"} <= {operator.kind for operator in kinds[0]}


def event(kind: str, start: int, took: int) -> dict[str, object]:
    """One of the profiler's, of an operator on one vector."""
    shapes = [{"float": [1, 8]}]
    facts = {"op_name": kind, "input_type_shape": shapes, "output_type_shape": shapes}
    return {"cat": "Node", "name": f"{kind}_kernel_time", "ts": start, "dur": took, "args": facts}


END = {"cat": "Session", "name": "model_run", "ts": 0, "dur": 0}


def times(path: Path) -> list[list[tuple[str, float]]]:
    return [[(one.operator.kind, one.microseconds) for one in call] for call in read_calls(path, {8: 8}.__getitem__)]


def test_what_holds_others_takes_what_they_leave(tmp_path: Path) -> None:
    """An operator's event comes when it ends: those that it holds come before it, and begin after it."""
    inner = [event("MatMul", 120, 30), event("Add", 150, 5), event("If", 115, 45)]
    first = [event("Gather", 10, 70), *inner, event("Tanh", 170, 9), event("If", 100, 90), END]
    second = [event("Gather", 310, 60), event("MatMul", 405, 20), event("If", 400, 19), END]  # clocks of whole ticks
    path = tmp_path / "events.json"
    path.write_text(json.dumps([*first, *second]))
    assert times(path) == [
        [("Gather", 70), ("MatMul", 30), ("Add", 5), ("If", 10), ("Tanh", 9), ("If", 90 - 30 - 5 - 10 - 9)],
        [("Gather", 60), ("MatMul", 20), ("If", 0)],
    ]


def test_the_operators_of_a_call_take_together_what_the_outermost_take(bundle: Bundle, tmp_path: Path) -> None:
    """No time of what the library wrote is counted twice or lost, however long it was."""
    with contextlib.closing(ElasticSession(bundle, "fp32", threads=1, trace=tmp_path)) as session:
        session.run(random_inputs(bundle, TOKENS), bundle.entry("w100-d100", "fp32").choice)
        path = session.end_trace()
    events = [one for one in json.loads(path.read_bytes()) if one.get("cat") == "Node"]
    switches = [(place, one["ts"]) for place, one in enumerate(events) if one["args"]["op_name"] == "If"]
    outermost = [
        one["dur"]
        for place, one in enumerate(events)
        if not any(ended > place and start <= one["ts"] for ended, start in switches)
    ]
    (call,) = read_calls(path, lambda hidden: 8)
    assert len(switches) == sum(one.operator.kind == "If" for one in call) >= 4
    assert len(events) - len(outermost) > 8  # most of a layer is within its switch
    # A whole number of microseconds each: what a switch holds can seem a little longer than the switch.
    assert sum(outermost) <= sum(one.microseconds for one in call) <= sum(outermost) + len(events)


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "expected"),
    [
        ("MatMul", [(1, 16, 96)], [(1, 16, 384)], Operator("MatMul", 16 * 96 * 384, 96 * 384, 16 * (96 + 384))),
        ("Gemm", [(1, 384), (2,)], [(1, 2)], Operator("Gemm", 768, 768, 386)),
        (
            "MatMul",  # scores of four heads in standard operators
            [(1, 4, 16, 8), (1, 4, 8, 16)],
            [(1, 4, 16, 16)],
            Operator("MatMul", 4 * 16 * 16 * 8, 0, 2 * 4 * 16 * 8 + 4 * 16 * 16),
        ),
        (
            "Attention",
            [(1, 16, 384), (288,), (1, 16)],
            [(1, 16, 96)],
            Operator("Attention", 16 * 384 * 288 + 2 * 256 * 96, 3 * 384 * 96, 16 * (384 + 96), 256 * 3),
        ),
        (
            "MultiHeadAttention",
            [(1, 16, 384)] * 3,
            [(1, 16, 384)],
            Operator("MultiHeadAttention", 2 * 256 * 384, 0, 4 * 16 * 384, 256 * 12),
        ),
        ("Gather", [(30522, 384), (1, 16)], [(1, 16, 384)], Operator("Gather", values=16 * 384)),
        ("Slice", [(512, 384), (1,), (1,)], [(16, 384)], Operator("Slice", values=2 * 16 * 384)),
        ("If", [()], [(1, 16, 384)], Operator("If")),
        ("Sum", [(1, 16, 8), (8,)], [(1, 16, 8)], Operator("Sum", values=2 * 128 + 8)),
        ("Shape", [(1, 16)], [(1,)], Operator("Shape", values=17)),
    ],
)
def test_an_operator_is_what_it_computes_and_moves(
    kind: str, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]], expected: Operator
) -> None:
    assert operator_of(kind, inputs, outputs, {384: 32}.__getitem__) == expected


def made_up(costs_us: tuple[float, ...], *, extra_us: float) -> list[tuple[list[Traced], float]]:
    """Calls of products of many shapes whose times follow the costs, and the whole calls' milliseconds."""
    calls = []
    for rows in (1, 16, 64, 128):
        work = [
            Operator("MatMul", rows * inner * columns, inner * columns, rows * (inner + columns))
            for inner in (96, 384, 1536)
            for columns in (96, 384, 1536)
        ]
        call = [Traced(one, sum(c * a for c, a in zip(costs_us, one.amounts, strict=True))) for one in work]
        whole_us = sum(one.microseconds + extra_us for one in call)
        calls.append((call, whole_us / 1e3))
    return calls


def test_costs_that_made_the_times_are_found_again() -> None:
    truth = (3.0, 9.0, 120.0, 40.0, 0.0)
    fitted = fit_operator_costs(made_up(truth, extra_us=-1.5), precision="fp32", provider="x", threads=1)
    assert fitted.microseconds["MatMul"] == pytest.approx(truth, rel=0.01, abs=0.01)
    assert fitted.between_us == pytest.approx(-1.5, abs=0.05)
    assert ANY in fitted.microseconds
    assert fitted.shapes == 24  # a product and its transpose are alike
    call, whole_ms = made_up(truth, extra_us=-1.5)[0]
    assert fitted.predict_ms(one.operator for one in call) == pytest.approx(whole_ms, rel=0.01)


@given(
    truth=st.lists(st.floats(0, 10), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
def test_the_solution_is_not_negative_and_no_worse_than_the_truth(truth: list[float], seed: int) -> None:
    draw = np.random.default_rng(seed)
    matrix = draw.uniform(0, 1, (12, 3)) * np.array([1.0, 100.0, 0.01])
    target = matrix @ np.array(truth) + draw.normal(0, 0.01, 12)
    solution = non_negative(matrix, target)
    assert (solution >= 0).all()
    residual, best = matrix @ solution - target, matrix @ np.array(truth) - target
    assert residual @ residual <= best @ best + 1e-6


def test_costs_can_be_kept_without_a_check() -> None:
    fitted = fit_operator_costs(made_up((1.0,) * 5, extra_us=0.0), precision="fp32", provider="x", threads=1)
    assert (fitted.error_median, fitted.error_p95) == (None, None)
    assert dataclasses.replace(fitted, error_median=0.05).error_median == 0.05
