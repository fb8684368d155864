"""Trace of the operators that a choice executes, with their shapes and times, by the profiler of ONNX Runtime.

It works for any bundle, whatever its operators, task and stages; one call of each choice is enough.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.device_profiles.operators import Operator
from gearshift.errors import BundleError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.space import Choice

Cell = tuple[Choice, int]
"""(choice, tokens of a text)."""
Shape = tuple[int, ...]
HeadSize = Callable[[int], int]
"""Hidden size of a layer -> dimensions of one head."""

PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
ATTENTIONS = ("Attention", "QAttention")
SCORES = "MultiHeadAttention"
CONTAINERS = ("If",)
"""Operators that contain others; the contained ones are events of their own and end first."""

END_OF_CALL = "model_run"
"""Event that ends a call."""


@dataclass(frozen=True)
class Traced:
    """Operator of one call, with its time."""

    operator: Operator
    microseconds: float
    """Time in whole microseconds, the resolution of the profiler."""


def trace(
    bundle: Bundle, precision: str, cells: Sequence[Cell], *, threads: int = 1, rounds: int = 1, warm_up: bool = True
) -> list[list[list[Traced]]]:
    """Trace calls; return the operators of each call in order, by cell and round, without those of a warm-up round.

    The operators and their shapes do not depend on the device: to get these alone, no warm-up is needed.
    Some 100 kB of events per call go through a temporary file. Raises BundleError if events are missing.
    """
    shape = bundle.manifest.space.shape
    with tempfile.TemporaryDirectory(prefix="gearshift-") as scratch:
        with contextlib.closing(ElasticSession(bundle, precision, threads=threads, trace=Path(scratch))) as session:
            inputs = {length: random_inputs(bundle, length) for _, length in cells}
            for _ in range(rounds + warm_up):
                for choice, length in cells:
                    session.run_heads(inputs[length], choice)
            path = session.end_trace()
        calls = list(read_calls(path, lambda hidden: shape.head_size))
    if len(calls) != (rounds + warm_up) * len(cells):
        raise BundleError(f"{bundle.path}: expected {(rounds + warm_up) * len(cells)} traced calls, found {len(calls)}")
    return [calls[warm_up * len(cells) + place :: len(cells)] for place in range(len(cells))]


def read_calls(path: Path, head_size: HeadSize) -> Iterator[list[Traced]]:
    """Read the operators of every call from a file of profiler events.

    `head_size`: dimensions of an attention head, by hidden size. The time of an operator that contains others (`If`) is
    counted without theirs.
    """
    call: list[tuple[float, Traced]] = []
    for event in json.loads(path.read_bytes()):
        if event.get("cat") == "Node":
            facts, start, took = event["args"], float(event["ts"]), float(event["dur"])
            inputs, outputs = (_shapes(facts[f"{side}_type_shape"]) for side in ("input", "output"))
            operator = operator_of(facts["op_name"], inputs, outputs, head_size)
            if operator.kind in CONTAINERS:
                took -= sum(one.microseconds for began, one in call if began >= start)
            call.append((start, Traced(operator, max(took, 0.0))))
        elif event.get("name") == END_OF_CALL:
            yield [one for _, one in call]
            call = []


def _shapes(raw: list[dict[str, list[int]]]) -> list[Shape]:
    """Return the shapes of an operator's inputs or outputs; packed weights are not among them."""
    return [tuple(shape) for value in raw for shape in value.values()]


def operator_of(kind: str, inputs: Sequence[Shape], outputs: Sequence[Shape], head_size: HeadSize) -> Operator:
    """Return the MACs of an operator and the values that it moves, from the shapes of its inputs and outputs.

    Product: (rows, inner) x a constant (inner, columns); the constant is seldom among the inputs, as it was packed.
    Attention: its three projections and, for each head, the scores and their product with the values.
    """
    values = sum(math.prod(shape) for shape in (*inputs, *outputs))
    if kind in PRODUCTS and inputs and inputs[0] and outputs[0]:
        inner, columns = inputs[0][-1], outputs[0][-1]
        both_move = len(inputs) > 1 and len(inputs[1]) > 2  # scores and values of attention in standard operators
        weights = 0 if both_move else inner * columns
        moved = values if both_move else math.prod(inputs[0]) + math.prod(outputs[0])
        return Operator(kind, math.prod(outputs[0]) * inner, weights, moved)
    if kind in ATTENTIONS and len(inputs[0]) == 3:
        (batch, tokens, hidden), width = inputs[0], outputs[0][-1]
        projections = batch * tokens * hidden * 3 * width
        scores = batch * tokens * tokens * max(1, width // head_size(hidden))
        moved = batch * tokens * (hidden + width)
        return Operator(kind, projections + 2 * batch * tokens * tokens * width, 3 * hidden * width, moved, scores)
    if kind == SCORES:  # of queries, keys and values side by side, without projections
        (batch, tokens, width), seen = inputs[0], inputs[1][1]
        scores = batch * tokens * seen * max(1, width // head_size(width))
        return Operator(kind, 2 * batch * tokens * seen * width, 0, 2 * batch * (tokens + seen) * width, scores)
    if kind in CONTAINERS:
        return Operator(kind)
    if kind == "Gather":  # takes rows of a table, not the table
        return Operator(kind, values=math.prod(outputs[0]))
    if kind == "Slice":
        return Operator(kind, values=2 * math.prod(outputs[0]))
    return Operator(kind, values=values)
