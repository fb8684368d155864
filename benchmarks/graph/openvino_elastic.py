"""The elastic fp32 graphs in OpenVINO: their numbers against ONNX Runtime's, and their times, for every subnet.

    python -m benchmarks.graph.openvino_elastic [--rounds 20]

MiniLM-L6's shape with random weights, DynaBERT's twelve subnets in a stage for each layer; fast operators, which are
ONNX Runtime's own in part, and standard ones. Both engines with one thread on one core, fp32 asked for, one text of 16
tokens, in turns. The int8 graph is tried too, and what becomes of it is kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, Inputs, random_weights, their_session
from benchmarks.report import markdown, save
from gearshift.errors import one_line
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.runtime.profiles.timing import Times, interleave, pin
from gearshift.runtime.space.space import layer_space
from gearshift.runtime.space.uniform import uniform_grid

TOKENS = 16
SHOWN = ("w100-d100", "w050-d100", "w050-d050", "w025-d050")
SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
}


@dataclass(frozen=True)
class Compared:
    """A graph in both engines."""

    compile_s: float
    worst: float
    """Largest difference of a logit, of all subnets."""
    same: int
    """Subnets with the same best label."""
    times: dict[str, dict[str, Times]]
    """Subnet -> engine -> times."""


def compared(
    path: Path, session: Any, choices: dict[str, list[int]], inputs: dict[str, Array], rounds: int
) -> Compared:
    """Compare the numbers of every subnet, and time some."""
    core, began = ov.Core(), time.perf_counter()
    request = core.compile_model(core.read_model(path), "CPU", SETTINGS).create_infer_request()
    compile_s = time.perf_counter() - began
    differences, same = [], 0
    for choice in choices.values():
        given = {**inputs, "choice": np.array(choice, np.int64)}
        (theirs,) = request.infer(given).values()
        (ours,) = session.run(None, given)
        differences.append(float(np.abs(theirs - ours).max()))
        same += int((theirs.argmax(-1) == ours.argmax(-1)).all())
    times = {}
    for name in SHOWN:
        given = {**inputs, "choice": np.array(choices[name], np.int64)}
        runs = {
            "OpenVINO": lambda given=given: request.infer(given),
            "ONNX Runtime": lambda given=given: session.run(None, given),
        }
        times[name] = {who: Times.of(values) for who, values in interleave(runs, rounds=rounds).items()}
    return Compared(compile_s, max(differences), same, times)


def refusal(path: Path) -> str:
    """Return why OpenVINO does not compile a graph; empty if it does."""
    try:
        ov.Core().compile_model(str(path), "CPU", SETTINGS)
    except RuntimeError as error:
        return one_line(error).rpartition("Summary:")[2].strip(" -")
    return ""


def main() -> None:
    """Compare both graphs, and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    cores = pin()
    shape = SHAPES["minilm-l6"]
    grid, weights = uniform_grid(shape), random_weights(shape)
    space = layer_space(shape, list(grid.values()))
    choices = {name: list(space.choice(subnet)) for name, subnet in grid.items()}
    inputs = Inputs.of_length(shape, TOKENS).arrays
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        for operators, open_session in (("fast", our_session), ("standard", their_session)):
            path = Path(scratch) / f"{operators}.fp32.onnx"
            write_elastic_graph(path, weights, space, precision="fp32", norm_eps=1e-12, operators=operators)
            found[operators] = compared(path, open_session(path), choices, inputs, rounds)
        path = Path(scratch) / "fast.int8.onnx"
        write_elastic_graph(path, weights, space, precision="int8", norm_eps=1e-12)
        refused = refusal(path)
    rows = [
        (
            f"{operators}, {name}",
            *(f"{times[who].median_ms:.2f} / {times[who].p95_ms:.2f}" for who in ("OpenVINO", "ONNX Runtime")),
            f"{times['OpenVINO'].median_ms / times['ONNX Runtime'].median_ms:.2f}",
        )
        for operators, one in found.items()
        for name, times in one.times.items()
    ]
    lines = [
        f"### The elastic graphs in OpenVINO {ov.__version__.split('-')[0]}, MiniLM-L6, {TOKENS} tokens",
        "",
        *(
            f"* fp32, {operators} operators: compiled in {one.compile_s:.1f} s; largest difference from ONNX Runtime "
            f"{one.worst:.1e}, the same label for {one.same} of {len(choices)} subnets"
            for operators, one in found.items()
        ),
        f"* int8: {'refused: ' + refused if refused else 'compiled'}",
        "",
        f"Core {cores}, one thread, {rounds} rounds in turns; median / p95 in ms.",
        "",
        *markdown(("graph, subnet", "OpenVINO", "ONNX Runtime", "OpenVINO / ONNX Runtime"), rows),
    ]
    facts = {
        "rounds": rounds,
        "graphs": {
            operators: {"compile_s": one.compile_s, "worst": one.worst, "same": one.same}
            for operators, one in found.items()
        },
        "int8": refused,
        "openvino": ov.__version__,
    }
    save("openvino-minilm-l6", facts, lines)


if __name__ == "__main__":
    main()
