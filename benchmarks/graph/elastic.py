"""Speed of each subnet in one elastic graph, against a graph that holds that subnet alone.

    python -m benchmarks.graph.elastic [--shape minilm-l6] [--pool uniform] [--precision fp32,int8]
        [--lengths 16,64,128]

Two elastic graphs of a pool of subnets (a stage per layer; one stage that lists them) run against two rivals: the same
operators in a dedicated, unsegmented graph, and the usual way today (the subnet exported alone through optimum; the
faster of plain and fused by median).
All run in turns in one process, pinned to one core (with `--threads 2`: to two), batch 1; figures are medians and their
ratios. Results are written to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tqdm import tqdm

from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, Inputs, export_with_optimum, random_weights, their_session, write_graph
from benchmarks.report import save
from gearshift.export.graph.segments import Array
from gearshift.runtime.profiles.timing import WARM_UP, Times, interleave, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid

POOLS: dict[str, dict[str, tuple[float, ...]]] = {
    "uniform": {"widths": (1.0, 0.75, 0.5, 0.25), "depths": (1.0, 0.75, 0.5)},
    "halves": {"widths": (1.0, 0.5), "depths": (1.0, 0.75, 0.5)},
    "corners": {"widths": (1.0, 0.5), "depths": (1.0, 0.5)},
}
"""Pools of uniform subnets: DynaBERT's twelve (four segments a layer), six that cut each layer once, and the first and
last of those at either width."""


@dataclass(frozen=True)
class Row:
    """A subnet at one length."""

    subnet: str
    segments: int
    """Number of segments that the elastic graphs run in each kept layer; the rivals have one."""
    tokens: int
    times: dict[str, Times]

    @property
    def optimum(self) -> str:
        """Name of the faster of optimum's graphs."""
        return min((name for name in self.times if name.startswith("optimum")), key=lambda n: self.times[n].median_ms)

    def ratio(self, mine: str, rival: str) -> float:
        """Return the median of one candidate / median of another."""
        return self.times[mine].median_ms / self.times[self.optimum if rival == "optimum" else rival].median_ms


@dataclass(frozen=True)
class Plan:
    """Plan of a measurement."""

    shape: EncoderShape
    pool: str
    threads: int
    optimum: bool
    """Whether optimum's graphs run too."""
    rounds: int

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Ratios that the table shows: (ours, rival)."""
        return [(mine, rival) for rival in ("dedicated", "optimum")[: 1 + self.optimum] for mine in ("layer", "pool")]


def main() -> None:
    """Measure, print a table per precision and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.elastic", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--pool", choices=POOLS, default="uniform")
    parser.add_argument("--rivals", default="dedicated,optimum", help="dedicated, or dedicated,optimum")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--lengths", default="16,64,128", help="tokens")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    cores = pin(options.threads)
    lengths = [int(text) for text in options.lengths.split(",")]
    for precision in options.precision.split(","):
        plan = Plan(SHAPES[options.shape], options.pool, options.threads, "optimum" in options.rivals, options.rounds)
        rows = measure(plan, precision, lengths)
        name = f"{options.shape}-{options.pool}-{precision}" + ("-threads2" if options.threads > 1 else "")
        lines = table(rows, lengths, name.replace("-", " "), plan.columns)
        facts = {
            "command": f"python -m benchmarks.graph.elastic --shape {options.shape} --pool {options.pool} "
            f"--rivals {options.rivals} --threads {options.threads} --precision {precision}",
            "cores": cores,
            "threads": options.threads,
            "batch": 1,
            "rounds": options.rounds,
            "warm_up": WARM_UP,
            "rows": [asdict(row) for row in rows],
        }
        save(f"elastic-{name}", facts, lines)


def measure(plan: Plan, precision: str, lengths: list[int]) -> list[Row]:
    """Measure a row per subnet and length."""
    shape = plan.shape
    weights = random_weights(shape)
    grid = uniform_grid(shape, **POOLS[plan.pool])
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        elastic = {}
        for name, layers in (("layer", 1), ("pool", shape.layers)):
            space = cut_space(shape, list(grid.values()), layers)
            path = write_graph(folder / f"{name}.onnx", weights, space, precision)
            elastic[name] = (space, our_session(path, plan.threads))
        for name, subnet in tqdm(grid.items(), desc=precision, unit="subnet", disable=None):
            alone = cut_space(shape, [subnet], shape.layers)
            dedicated = our_session(write_graph(folder / f"{name}.onnx", weights, alone, precision), plan.threads)
            theirs = export_with_optimum(folder / name, shape, subnet, precision) if plan.optimum else {}
            sessions = {kind: their_session(path, plan.threads) for kind, path in theirs.items()}
            for tokens in lengths:
                inputs = Inputs.of_length(shape, tokens).arrays
                runs = {
                    **{
                        kind: runner(session, inputs, space.choice(subnet))
                        for kind, (space, session) in elastic.items()
                    },
                    "dedicated": runner(dedicated, inputs, alone.choice(subnet)),
                    **{f"optimum {kind}": runner(session, inputs, ()) for kind, session in sessions.items()},
                }
                segments = _segments(subnet, elastic["layer"][0].head_cuts(0))
                times = {who: Times.of(values) for who, values in interleave(runs, rounds=plan.rounds).items()}
                rows.append(Row(name, segments, tokens, times))
    return rows


def _segments(subnet: Subnet, cuts: tuple[int, ...]) -> int:
    return sum(cut <= subnet.kept()[0].heads for cut in cuts)


def runner(session: ort.InferenceSession, inputs: dict[str, Array], choice: tuple[int, ...]) -> Callable[[], object]:
    """Return a function that runs a graph once on these inputs."""
    wanted = {node.name for node in session.get_inputs()}
    feeds = {name: array for name, array in inputs.items() if name in wanted}
    if "choice" in wanted:
        feeds["choice"] = np.array(choice, np.int64)
    return lambda: session.run(None, feeds)


def table(rows: list[Row], lengths: list[int], title: str, columns: list[tuple[str, str]]) -> list[str]:
    """Format the ratios of each subnet per length, and their means, as Markdown."""
    header = [f"{mine} / {rival}, {tokens}" for tokens in lengths for mine, rival in columns]
    lines = [
        f"### {title}: median of the elastic graph / median of the rival, by tokens",
        "",
        "| subnet (segments) | " + " | ".join(header) + " |",
        "|---|" + "---|" * len(header),
    ]
    for name in dict.fromkeys(row.subnet for row in rows):
        found = [row for row in rows if row.subnet == name]
        cells = [f"{row.ratio(*column):.2f}" for row in found for column in columns]
        lines.append(f"| {name} ({found[0].segments}) | " + " | ".join(cells) + " |")
    means = [
        f"{statistics.mean(row.ratio(*column) for row in rows if row.tokens == tokens):.2f}"
        for tokens in lengths
        for column in columns
    ]
    return [*lines, "| **mean** | " + " | ".join(means) + " |"]


if __name__ == "__main__":
    main()
