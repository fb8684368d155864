"""Probe: a graph that ships with gearshift, whose operators are timed on this device without any bundle."""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gearshift.runtime.bench.operators.trace import Traced, read_calls
from gearshift.runtime.bundle.manifest import CHOICE
from gearshift.runtime.inference.onnxruntime_calls import open_session
from gearshift.runtime.inference.session import session_options
from gearshift.runtime.native_calls import NATIVE_CALLS

LENGTHS = (16, 48, 128)
"""Lengths in tokens of the texts that the operators are timed with."""

Case = tuple[int, bool]
"""(tokens, whether the layers run). Without layers, only small operators and the time between operators are left."""

CASES: tuple[Case, ...] = tuple((length, layers) for length in LENGTHS for layers in (True, False))

FEWEST_ROUNDS = 3
"""Fewest calls of each case, with the tracer and without."""

OPTIONS = {"graph_optimization_level": "disable"}

MOST_ROUNDS = 10
"""Largest number of calls of each case: a traced call leaves some 150 kB of events to read."""

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Probe:
    """Probe graph on disk, with weights."""

    graph: Path
    head_sizes: Mapping[int, int]


@contextlib.contextmanager
def open_probe(precision: str) -> Iterator[Probe]:
    """Write the probe of a precision to a temporary directory for the duration of the context.

    It takes some 75 MB at fp32 and 20 MB at int8. Raises OSError if there is no room for it.
    """
    shipped = resources.files("gearshift.device_profiles")
    with tempfile.TemporaryDirectory(prefix="gearshift-") as scratch:
        graph = Path(scratch) / f"probe-{precision}.onnx"
        graph.write_bytes((shipped / graph.name).read_bytes())
        facts = json.loads((shipped / f"probe-{precision}.json").read_text(encoding="utf-8"))
        _fill(graph.with_suffix(".weights"), facts["weights"])
        yield Probe(graph, {int(hidden): size for hidden, size in facts["head_sizes"].items()})


def time_probe(precision: str, *, threads: int, seconds: float) -> list[tuple[list[Traced], float]]:
    """Time the probe for about `seconds`; return the operators of each traced call, with its ms without the tracer."""
    with open_probe(precision) as probe, tempfile.TemporaryDirectory(prefix="gearshift-") as scratch:
        plain = session_options(OPTIONS, threads)
        timed = _rounds(open_session(probe.graph, plain), seconds / 2)
        whole = {case: statistics.median(ms for other, ms in timed if other == case) for case in CASES}
        traced = session_options(OPTIONS, threads, trace=Path(scratch))
        session = open_session(probe.graph, traced)
        order = [case for case, _ in _rounds(session, seconds / 2)]
        calls = list(read_calls(Path(session.end_profiling()), probe.head_sizes.__getitem__))[-len(order) :]
    return [(call, whole[case]) for call, case in zip(calls, order, strict=True)]


def _rounds(session: ort.InferenceSession, seconds: float) -> list[tuple[Case, float]]:
    """Return the time in ms of every call: each case once per round, after a warm-up round."""
    inputs = {case: _inputs(session, *case) for case in CASES}
    run = functools.partial(NATIVE_CALLS.call, session.run)
    for case in CASES:
        run(None, inputs[case])
    timed: list[tuple[Case, float]] = []
    began = time.perf_counter()
    for number in range(MOST_ROUNDS):
        if number >= FEWEST_ROUNDS and time.perf_counter() - began >= seconds:
            break
        for case in CASES:
            start = time.perf_counter_ns()
            run(None, inputs[case])
            timed.append((case, (time.perf_counter_ns() - start) / 1e6))
    return timed


def _inputs(session: ort.InferenceSession, length: int, layers: bool) -> Inputs:
    draw = np.random.default_rng(length)
    arrays: Inputs = {}
    for node in session.get_inputs():
        if node.name == CHOICE:
            arrays[node.name] = np.full(node.shape, int(layers), np.int64)
        elif node.type == "tensor(float)":
            arrays[node.name] = draw.standard_normal((1, length, node.shape[-1]), np.float32)
        else:
            arrays[node.name] = np.ones((1, length), np.int64)
    return arrays


def _fill(path: Path, places: list[tuple[str, int, int]]) -> None:
    """Write a weights file of small random numbers."""
    draw = np.random.default_rng(0)
    with path.open("wb") as file:
        for kind, offset, size in places:
            file.write(b"\0" * (offset - file.tell()))
            if kind == "float32":
                file.write((0.02 * draw.standard_normal(size // 4, np.float32)).tobytes())
            else:
                file.write(draw.integers(-127, 128, size, np.int8).tobytes())
