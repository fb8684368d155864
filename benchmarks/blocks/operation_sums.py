"""Accuracy of summed latencies of operations as predictions for nets of mixed operations:
`runtime.tables.operation_latency`.

    python -m benchmarks.blocks.operation_sums [--precision fp32,int8] [--random 200]

The operations of a search on all-MiniLM-L6-v2 (five hidden sizes; random weights) are timed as on a device, in the
graph of `gearshift nas-operations`. The errors are those of random nets of three blocks, each in a graph of its own as
`export` writes it, at 16, 64 and 128 tokens.
All run in turns, so that the weights of each are cold, pinned to one core, batch 1, one thread; figures are medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.device.latency_sums import LENGTHS, Measured, plot, table_of
from benchmarks.graph.elastic import runner
from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES
from benchmarks.report import RESULTS, markdown, save
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.export.probes.operations import operation_subnets, random_operations
from gearshift.runtime.bundle.manifest import INPUTS
from gearshift.runtime.profiles.timing import interleave, pin
from gearshift.runtime.space.blocks import OPERATIONS, Block, BlockSubnet
from gearshift.runtime.space.space import BlockSpace, block_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.tables.operation_latency import OperationLatency, fit_operation_latency
from gearshift.trainer.nasbert.blocks import block_sizes, bridged_shape

BLOCKS = 3
LONGEST = 4
EMBEDDING = 128
VOCABULARY = 1000
"""Number of words in the table. A look-up takes the same time in a table of any length, and two hundred long tables
would not fit into memory together."""


def main() -> None:
    """Measure, print tables and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.blocks.operation_sums", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--random", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    cores = pin(1)
    sizes = block_sizes(SHAPES["minilm-l6"])
    lone = dataclasses.replace(bridged_shape(SHAPES["minilm-l6"]), bridge=0, embedding=EMBEDDING, vocabulary=VOCABULARY)
    bridged = dataclasses.replace(lone, bridge=min(sizes))
    rows, drawn, costs = [], [], {}
    for precision in options.precision.split(","):
        operations = operation_subnets(sizes)
        nets = draw(sizes, options.random)
        together = block_space(bridged, operations.values())
        own = {name: (block_space(lone, [net]), net) for name, net in nets.items()}
        timed = {name: (together, net) for name, net in operations.items()}
        alone, times = measure(timed, own, precision, options.rounds)
        fit = fit_operation_latency(bridged, operations, table_of(alone, precision), switches=together.switches)
        points = [
            (float(np.median(runs)), fit.predict(nets[name], tokens, shape=lone))
            for name, columns in times.items()
            for tokens, runs in zip(LENGTHS, columns, strict=True)
        ]
        rows.append(judge(precision, points, times))
        drawn.append((precision, points))
        costs[precision] = fit
    header = ("precision", "error: median", "p95", "16 / 64 / 128 tokens, median", "noise")
    lines = [
        f"### Nets of mixed operations: summed against measured latency, {options.random} random nets x 3 lengths",
        "",
        *markdown(header, [_cells(row) for row in rows]),
        "",
        "What one more operation costs within a net, in microseconds, at 16 / 64 / 128 tokens:",
        "",
        *_operations(costs, sizes),
    ]
    facts = {
        "command": f"python -m benchmarks.blocks.operation_sums --random {options.random} --rounds {options.rounds}",
        "cores": cores,
        "threads": 1,
        "batch": 1,
        "rounds": options.rounds,
        "rows": rows,
        "operations_ms": {
            precision: {f"{size} {name}": list(times) for (size, name), times in fit.operations_ms.items()}
            for precision, fit in costs.items()
        },
    }
    save("latency-sums-operations", facts, lines)
    plot(drawn, RESULTS / "latency-sums-operations.png")


def draw(sizes: tuple[int, ...], count: int) -> dict[str, Subnet[Block]]:
    """Draw random nets."""
    source = random.Random(0)

    def block() -> Block:
        return Block(source.choice(sizes), tuple(source.choice(OPERATIONS) for _ in range(source.randint(1, LONGEST))))

    found: dict[str, Subnet[Block]] = {}
    while len(found) < count:
        net = BlockSubnet(tuple(block() for _ in range(BLOCKS)))
        found[net.name] = net
    return found


Subjects = Mapping[str, tuple[BlockSpace, Subnet[Block]]]
"""Name -> a net and the space of the graph that holds it."""


def measure(one: Subjects, other: Subjects, precision: str, rounds: int) -> tuple[Measured, Measured]:
    """Measure both at every length: half of the rounds of one, half of the other's, and again, so that drift affects
    both."""
    with tempfile.TemporaryDirectory() as scratch:
        parts = [calls(part, precision, Path(scratch)) for part in (one, other)]
        raw: list[dict[tuple[str, int], list[float]]] = []
        for half in range(2):
            raw += [interleave(part, rounds=rounds // 2, warm_up=1, seed=half) for part in parts]
    found = [{key: first[key] + second[key] for key in first} for first, second in ((raw[0], raw[2]), (raw[1], raw[3]))]
    return (
        {name: tuple(tuple(found[0][name, tokens]) for tokens in LENGTHS) for name in one},
        {name: tuple(tuple(found[1][name, tokens]) for tokens in LENGTHS) for name in other},
    )


Calls = dict[tuple[str, int], Callable[[], object]]


def calls(subjects: Subjects, precision: str, folder: Path) -> Calls:
    """Return functions that run each net at each length; one graph a space."""
    sessions: dict[int, ort.InferenceSession] = {}
    for name, (space, _) in subjects.items():
        if id(space) not in sessions:
            sessions[id(space)] = our_session(write(folder / f"{name}.onnx", space, precision))
    inputs = {tokens: random_tokens(tokens) for tokens in LENGTHS}
    return {
        (name, tokens): runner(sessions[id(space)], inputs[tokens], space.choice(net))
        for name, (space, net) in subjects.items()
        for tokens in LENGTHS
    }


def write(path: Path, space: BlockSpace, precision: str) -> Path:
    """Write the graph of a space with random weights, which pools all tokens."""
    model = random_operations(space)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    write_elastic_graph(path, weights, space, precision=precision, norm_eps=model.norm_eps, head=model.head)
    return path


def random_tokens(tokens: int) -> dict[str, Array]:
    """Return one text without padding."""
    ids = np.random.default_rng(tokens).integers(1, VOCABULARY, (1, tokens))
    return dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))


def judge(precision: str, points: list[tuple[float, float]], times: Measured) -> dict[str, Any]:
    """Return the errors of the sums."""
    errors = [abs(predicted / measured - 1) for measured, predicted in points]
    odd, even = (np.array([[np.median(runs[part::2]) for runs in c] for c in times.values()]) for part in (0, 1))
    return {
        "precision": precision,
        "median": float(np.median(errors)),
        "p95": float(np.percentile(errors, 95)),
        "by_length": [float(np.median(errors[place :: len(LENGTHS)])) for place in range(len(LENGTHS))],
        "noise": float(np.median(np.abs(odd / even - 1))),
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    lengths = " / ".join(_percent(value) for value in row["by_length"])
    return row["precision"], _percent(row["median"]), _percent(row["p95"]), lengths, _percent(row["noise"])


def _operations(costs: Mapping[str, OperationLatency], sizes: tuple[int, ...]) -> list[str]:
    rows = [
        (
            f"{precision} {name}",
            *(" / ".join(f"{1000 * ms:.0f}" for ms in fit.operations_ms[size, name]) for size in sizes),
        )
        for precision, fit in costs.items()
        for name in OPERATIONS
    ]
    return markdown(("operation", *(f"hidden {size}" for size in sizes)), rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
