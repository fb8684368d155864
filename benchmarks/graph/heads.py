"""Latency of one pass with two heads against a pass of each of two graphs with one head.

    python -m benchmarks.graph.heads [--shape minilm-l6] [--lengths 16,64] [--rounds 150]

The heads are those of SNIPS: an intent out of 7 for the text, a tag out of 72 for each token. The three graphs have the
same random encoder, all subnets in one stage as `export` writes them, and their calls are timed in turns on one core,
one thread, batch 1. Tokenizing, which two bundles do twice, is left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, Inputs
from benchmarks.report import markdown, save
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.runtime.profiles.timing import WARM_UP, Times, interleave, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.elastic import HEADS, ElasticClassifier, Head, HeadPart

PARTS = (HeadPart("intent", Head("classification"), 7), HeadPart("slots", Head("token-classification"), 72))
JOINT = "joint"
NAMES = (JOINT, *(part.name for part in PARTS))
SHOWN = ("w100-d100", "w050-d100", "w050-d050", "w025-d050")
"""Subnets that are timed, out of the twelve of each graph."""


@dataclass(frozen=True)
class Row:
    """Times of one subnet at one precision and length."""

    precision: str
    subnet: str
    tokens: int
    joint: Times
    intent: Times
    slots: Times

    @property
    def ratio(self) -> float:
        """Median of the two passes, one behind the other, / median of the one."""
        return (self.intent.median_ms + self.slots.median_ms) / self.joint.median_ms


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.heads", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--lengths", default="16,64", help="tokens")
    parser.add_argument("--rounds", type=int, default=150)
    options = parser.parse_args()
    cores = pin()
    shape, lengths = SHAPES[options.shape], [int(text) for text in options.lengths.split(",")]
    rows: list[Row] = []
    megabytes: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for precision in ("fp32", "int8"):
            graphs = write_graphs(shape, precision, Path(scratch))
            megabytes[precision] = {name: megabytes_of(path) for name, path in graphs.items()}
            rows += measure(shape, precision, graphs, lengths, options.rounds)
    command = f"python -m benchmarks.graph.heads --shape {options.shape} --lengths {options.lengths}"
    facts = {
        "command": f"{command} --rounds {options.rounds}",
        "cores": cores,
        "threads": 1,
        "batch": 1,
        "warm_up": WARM_UP,
        "megabytes": megabytes,
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
    }
    save(f"heads-{options.shape}", facts, table(rows, megabytes, options.shape))


def write_graphs(shape: EncoderShape, precision: str, folder: Path) -> dict[str, Path]:
    """Write the graph with both heads, and one for each of them."""
    torch.manual_seed(0)
    model = ElasticClassifier(shape, 0, head=Head(MULTI_TASK, parts=PARTS))
    heads: dict[str, tuple[Head, dict[str, torch.Tensor]]] = {JOINT: (model.head, model.head_state())}
    for place, part in enumerate(PARTS):
        own, of_heads = f"{HEADS}{place}.", model.head_state().items()
        weights = {name.removeprefix(own): tensor for name, tensor in of_heads if name.startswith(own)}
        heads[part.name] = (part.head, weights)
    space = cut_space(shape, list(uniform_grid(shape).values()), shape.layers)
    paths = {}
    for name, (head, weights) in heads.items():
        arrays: dict[str, Array] = {key: one.numpy() for key, one in {**model.encoder_state(), **weights}.items()}
        paths[name] = folder / f"{name}-{precision}.onnx"
        write_elastic_graph(paths[name], arrays, space, precision=precision, norm_eps=1e-12, head=head)
    return paths


def measure(shape: EncoderShape, precision: str, graphs: dict[str, Path], lengths: list[int], rounds: int) -> list[Row]:
    """Measure a row for each subnet and length."""
    grid = uniform_grid(shape)
    space = cut_space(shape, list(grid.values()), shape.layers)
    sessions = {name: our_session(path) for name, path in graphs.items()}
    calls: dict[tuple[str, str, int], Callable[[], object]] = {}
    for subnet in SHOWN:
        choice = np.array(space.choice(grid[subnet]), np.int64)
        for tokens in lengths:
            feeds = {**Inputs.of_length(shape, tokens).arrays, "choice": choice}
            for name, session in sessions.items():
                calls[name, subnet, tokens] = lambda session=session, feeds=feeds: session.run(None, feeds)  # type: ignore[misc]
    times = {key: Times.of(found) for key, found in interleave(calls, rounds=rounds).items()}
    return [
        Row(precision, subnet, tokens, *(times[name, subnet, tokens] for name in NAMES))
        for subnet in SHOWN
        for tokens in lengths
    ]


def megabytes_of(graph: Path) -> float:
    """Return the size of a graph and its weights in MB."""
    return (graph.stat().st_size + graph.with_suffix(".weights").stat().st_size) / 1e6


def table(rows: list[Row], megabytes: dict[str, dict[str, float]], shape: str) -> list[str]:
    """Return the lines of the report."""
    header = ["precision, subnet, tokens", "one pass, ms p50 / p95", "intent alone", "slots alone", "two / one"]
    cells = [
        [
            f"{row.precision}, {row.subnet}, {row.tokens}",
            *(f"{each.median_ms:.2f} / {each.p95_ms:.2f}" for each in (row.joint, row.intent, row.slots)),
            f"{row.ratio:.2f}",
        ]
        for row in rows
    ]
    sizes = [
        f"{precision}: {of[JOINT]:.1f} MB with both heads, {sum(of.values()) - of[JOINT]:.1f} MB for two graphs."
        for precision, of in megabytes.items()
    ]
    return [f"### {shape}: two heads in one pass against a pass for each", "", *markdown(header, cells), "", *sizes]


if __name__ == "__main__":
    main()
