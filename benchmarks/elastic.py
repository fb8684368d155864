"""How fast one elastic graph runs each subnet, against a graph that holds that subnet alone.

    python -m benchmarks.elastic [--shape minilm-l6] [--precision fp32,int8] [--lengths 16,64,128]

Two elastic graphs of the 12 uniform subnets (a stage per layer; one stage that lists them) against two
rivals: the same operators in a dedicated, unsegmented graph, and what a user gets today (the subnet
exported alone through optimum; the faster of plain and fused by median). All run in turns in one process,
pinned to one core, one thread, batch 1; figures are medians and their ratios. Results are written to
`benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tqdm import tqdm

from benchmarks.subjects import (
    SHAPES,
    Inputs,
    export_with_optimum,
    our_session,
    random_weights,
    their_session,
    write_graph,
)
from benchmarks.timing import Times, device, interleave, pin_to_one_core
from gearshift.export.segments import Array
from gearshift.runtime.space import EncoderShape, Subnet, cut_space, uniform_grid

RESULTS = Path(__file__).parent / "results"
WARM_UP = 3


@dataclass(frozen=True)
class Row:
    """One subnet at one length."""

    subnet: str
    segments: int
    """Segments that the elastic graphs run in each kept layer; the rivals have one."""
    tokens: int
    times: dict[str, Times]

    @property
    def optimum(self) -> str:
        """The faster of optimum's graphs."""
        return min((name for name in self.times if name.startswith("optimum")), key=lambda n: self.times[n].median_ms)

    def ratio(self, mine: str, rival: str) -> float:
        """Median of one candidate / median of another."""
        return self.times[mine].median_ms / self.times[self.optimum if rival == "optimum" else rival].median_ms


def main() -> None:
    """Measure, print a table per precision and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elastic", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--lengths", default="16,64,128", help="tokens")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    core = pin_to_one_core()
    lengths = [int(text) for text in options.lengths.split(",")]
    RESULTS.mkdir(exist_ok=True)
    for precision in options.precision.split(","):
        rows = measure(SHAPES[options.shape], precision, lengths, options.rounds)
        lines = table(rows, lengths, f"{options.shape} {precision}")
        report = {
            "command": f"python -m benchmarks.elastic --shape {options.shape} --precision {precision}",
            "date": datetime.date.today().isoformat(),
            "device": device(),
            "core": core,
            "threads": 1,
            "batch": 1,
            "rounds": options.rounds,
            "warm_up": WARM_UP,
            "rows": [asdict(row) for row in rows],
        }
        stem = RESULTS / f"elastic-{options.shape}-{precision}"
        stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        stem.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print("\n".join(["", *lines]))


def measure(shape: EncoderShape, precision: str, lengths: list[int], rounds: int) -> list[Row]:
    """A row per subnet and length."""
    weights = random_weights(shape)
    grid = uniform_grid(shape)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        elastic = {}
        for name, layers in (("layer", 1), ("pool", shape.layers)):
            space = cut_space(shape, list(grid.values()), layers)
            elastic[name] = (space, our_session(write_graph(folder / f"{name}.onnx", weights, space, precision)))
        for name, subnet in tqdm(grid.items(), desc=precision, unit="subnet", disable=None):
            alone = cut_space(shape, [subnet], shape.layers)
            dedicated = our_session(write_graph(folder / f"{name}.onnx", weights, alone, precision))
            theirs = export_with_optimum(folder / name, shape, subnet, precision)
            sessions = {kind: their_session(path) for kind, path in theirs.items()}
            for tokens in lengths:
                inputs = Inputs.of_length(shape, tokens).arrays
                runs = {
                    **{
                        kind: _runner(session, inputs, space.choice(subnet))
                        for kind, (space, session) in elastic.items()
                    },
                    "dedicated": _runner(dedicated, inputs, alone.choice(subnet)),
                    **{f"optimum {kind}": _runner(session, inputs, ()) for kind, session in sessions.items()},
                }
                segments = _segments(subnet, elastic["layer"][0].head_cuts(0))
                rows.append(Row(name, segments, tokens, interleave(runs, rounds=rounds, warm_up=WARM_UP)))
    return rows


def _segments(subnet: Subnet, cuts: tuple[int, ...]) -> int:
    return sum(cut <= subnet.kept()[0].heads for cut in cuts)


def _runner(session: ort.InferenceSession, inputs: dict[str, Array], choice: tuple[int, ...]) -> Callable[[], object]:
    wanted = {node.name for node in session.get_inputs()}
    feeds = {name: array for name, array in inputs.items() if name in wanted}
    if "choice" in wanted:
        feeds["choice"] = np.array(choice, np.int64)
    return lambda: session.run(None, feeds)


COLUMNS = (("layer", "dedicated"), ("pool", "dedicated"), ("layer", "optimum"), ("pool", "optimum"))


def table(rows: list[Row], lengths: list[int], title: str) -> list[str]:
    """Markdown: the ratios of each subnet per length, and their means."""
    header = [f"{mine} / {rival}, {tokens}" for tokens in lengths for mine, rival in COLUMNS]
    lines = [
        f"### {title}: median of the elastic graph / median of the rival, by tokens",
        "",
        "| subnet (segments) | " + " | ".join(header) + " |",
        "|---|" + "---|" * len(header),
    ]
    for name in dict.fromkeys(row.subnet for row in rows):
        found = [row for row in rows if row.subnet == name]
        cells = [f"{row.ratio(*column):.2f}" for row in found for column in COLUMNS]
        lines.append(f"| {name} ({found[0].segments}) | " + " | ".join(cells) + " |")
    means = [
        f"{statistics.mean(row.ratio(*column) for row in rows if row.tokens == tokens):.2f}"
        for tokens in lengths
        for column in COLUMNS
    ]
    return [*lines, "| **mean** | " + " | ".join(means) + " |"]


if __name__ == "__main__":
    main()
