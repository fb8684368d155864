"""The operators that a choice of a graph executes, with their shapes and times, as ONNX Runtime's own profiler tells.

So any bundle can be taken apart, whatever its operators, task and stages; a call of each choice is enough.
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
"""A choice, and the tokens of a text."""
Shape = tuple[int, ...]
HeadSize = Callable[[int], int]
"""Hidden size of a layer -> dimensions of one head."""

PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
ATTENTIONS = ("Attention", "QAttention")
CONTAINERS = ("If",)
"""Hold other operators, which are events of their own and end before them."""

END_OF_CALL = "model_run"
"""The event that follows those of a call."""


@dataclass(frozen=True)
class Traced:
    """One operator of one call."""

    operator: Operator
    microseconds: float
    """Whole ones, as the profiler counts."""


def trace(
    bundle: Bundle, precision: str, cells: Sequence[Cell], *, threads: int = 1, rounds: int = 1, warm_up: bool = True
) -> list[list[list[Traced]]]:
    """For each cell, for each round: the operators of one call in order, after a round that warms up.

    Which operators run, and their shapes, do not depend on the device: for these alone no warm-up is needed.

    Some 100 kB of events a call go through a temporary file. Raises BundleError where they are not as expected.
    """
    shape = bundle.manifest.space.shape
    with tempfile.TemporaryDirectory(prefix="gearshift-") as scratch:
        with contextlib.closing(ElasticSession(bundle, precision, threads=threads, trace=Path(scratch))) as session:
            inputs = {length: random_inputs(bundle, length) for _, length in cells}
            for _ in range(rounds + warm_up):
                for choice, length in cells:
                    session.run(inputs[length], choice)
            path = session.end_trace()
        calls = list(read_calls(path, lambda hidden: shape.head_size))
    if len(calls) != (rounds + warm_up) * len(cells):
        raise BundleError(f"{bundle.path}: traced {(rounds + warm_up) * len(cells)} calls, found {len(calls)}")
    return [calls[warm_up * len(cells) + place :: len(cells)] for place in range(len(cells))]


def read_calls(path: Path, head_size: HeadSize) -> Iterator[list[Traced]]:
    """The operators of every call in a file of the profiler's events; of a head by hidden size.

    Of an operator that holds others (`If`), the time is what the others leave.
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
    """Shapes of the values that an operator takes or gives; packed weights are not among them."""
    return [tuple(shape) for value in raw for shape in value.values()]


def operator_of(kind: str, inputs: Sequence[Shape], outputs: Sequence[Shape], head_size: HeadSize) -> Operator:
    """What an operator with these inputs and outputs computes and moves.

    A product of (rows, inner) with a constant (inner, columns): the constant is seldom among the inputs, because it
    was packed. Attention: its three projections and, of each head, scores and their product with the values.
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
    if kind in CONTAINERS:
        return Operator(kind)
    if kind == "Gather":  # takes rows of a table, not the table
        return Operator(kind, values=math.prod(outputs[0]))
    if kind == "Slice":
        return Operator(kind, values=2 * math.prod(outputs[0]))
    return Operator(kind, values=values)
