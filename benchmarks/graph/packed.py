"""Speed of each subnet as the packed-weight cache keeps a graph: int8 segments joined, a session for each option.

    python -m benchmarks.graph.packed [--shape minilm-l6] [--precision int8] [--lengths 16,64,128] [--clock cpu]
        [--graphs DIR]

A graph of one stage that lists DynaBERT's twelve uniform subnets in four segments, as a bundle has it and as the cache
makes it, against the same operators in a dedicated graph of each subnet. All run in turns in one process, on one core,
batch 1; figures are medians and their ratios, by the clock or (`--clock cpu`, for a core that others use too) of the
CPU time of the thread. With `--graphs` they are written to a directory first, and taken from
there if they are in it.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.graph.cached import cached_graph, opened
from benchmarks.graph.subjects import SHAPES, Inputs, random_weights, write_graph
from benchmarks.report import markdown, save
from gearshift.export.graph.segments import Array
from gearshift.runtime.bundle.manifest import CHOICE
from gearshift.runtime.bundle.tasks import LOGITS
from gearshift.runtime.packed.making import GRAPH
from gearshift.runtime.profiles.timing import WARM_UP, Times, interleave, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space, cut_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid

APART, CACHED, ALONE = "bundle", "cache", "dedicated"


@dataclass(frozen=True)
class Row:
    """A subnet at one length."""

    subnet: str
    tokens: int
    times: dict[str, Times]

    def ratio(self, mine: str) -> float:
        """Return the median of one graph / that of the dedicated one."""
        return self.times[mine].median_ms / self.times[ALONE].median_ms


@dataclass(frozen=True)
class Graphs:
    """Graphs of one shape and precision on disk."""

    folder: Path
    shape: EncoderShape
    precision: str

    @property
    def pool(self) -> dict[str, Subnet]:
        """Subnets by name."""
        return uniform_grid(self.shape)

    def space(self, subnets: Sequence[Subnet]) -> Space:
        """Return the space of one stage that lists some subnets."""
        return cut_space(self.shape, list(subnets), self.shape.layers)

    def path(self, name: str) -> Path:
        """Return the place of a graph: APART, CACHED, or a subnet's own."""
        if name == CACHED:
            return self.folder / f"cache-{self.precision}" / GRAPH
        return self.folder / f"{name}-{self.precision}.onnx"

    def write(self) -> None:
        """Write the graphs that are not there."""
        weights = None
        for name, subnets in {APART: [*self.pool.values()], **{name: [one] for name, one in self.pool.items()}}.items():
            if not self.path(name).exists():
                weights = weights or random_weights(self.shape)
                write_graph(self.path(name), weights, self.space(subnets), self.precision)
        if not self.path(CACHED).exists():
            space = self.space([*self.pool.values()])
            cached_graph(self.path(CACHED).parent, self.path(APART), space, self.precision)


def measure(graphs: Graphs, lengths: Sequence[int], rounds: int, clock: str) -> Iterator[Row]:
    """Measure a row for each subnet and length."""
    space = graphs.space([*graphs.pool.values()])
    sessions = {name: opened(graphs.path(name)) for name in (APART, CACHED)}
    for name, subnet in graphs.pool.items():
        choices = {APART: space.choice(subnet), CACHED: space.choice(subnet), ALONE: (0,)}
        candidates = {**sessions, ALONE: opened(graphs.path(name))}
        for tokens in lengths:
            inputs = Inputs.of_length(graphs.shape, tokens).arrays
            runs = {who: runner_of(session, inputs, choices[who]) for who, session in candidates.items()}
            found = interleave(runs, rounds=rounds) if clock == "wall" else cpu_times(runs, rounds)
            yield Row(name, tokens, {who: Times.of(times) for who, times in found.items()})


def cpu_times(runs: Mapping[str, Callable[[], object]], rounds: int, seed: int = 0) -> dict[str, list[float]]:
    """Measure the milliseconds of CPU of every call, in turns, in a new order each round, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    source = random.Random(seed)
    for done in range(WARM_UP + rounds):
        for name, run in source.sample([*runs.items()], len(runs)):
            began = time.thread_time_ns()
            run()
            if done >= WARM_UP:
                times[name].append((time.thread_time_ns() - began) / 1e6)
    return times


def runner_of(session: Any, inputs: dict[str, Array], choice: Sequence[int]) -> Callable[[], object]:
    """Return a function that runs a graph once on these inputs."""
    feeds = {**inputs, CHOICE: np.array(choice, np.int64)}
    return lambda: session.run([LOGITS], feeds)


def table(rows: Sequence[Row], lengths: Sequence[int], title: str) -> list[str]:
    """Format the ratios of each subnet, and their means, as Markdown."""
    columns = [(mine, tokens) for tokens in lengths for mine in (APART, CACHED)]
    cells = [
        [name, *(f"{row.ratio(mine):.2f}" for mine, tokens in columns for row in rows if is_of(row, name, tokens))]
        for name in dict.fromkeys(row.subnet for row in rows)
    ]
    means = [statistics.mean(row.ratio(mine) for row in rows if row.tokens == tokens) for mine, tokens in columns]
    header = ["subnet", *(f"{mine} / {ALONE}, {tokens}" for mine, tokens in columns)]
    return [
        f"### {title}: medians by tokens",
        "",
        *markdown(header, [*cells, ["**mean**", *(f"{mean:.2f}" for mean in means)]]),
    ]


def is_of(row: Row, name: str, tokens: int) -> bool:
    """Return whether a row is of this subnet and length."""
    return row.subnet == name and row.tokens == tokens


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.packed", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--lengths", default="16,64,128", help="tokens")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--graphs", type=Path)
    options = parser.parse_args()
    cores = pin(1)
    lengths = [int(text) for text in options.lengths.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        graphs = Graphs(options.graphs or Path(scratch), SHAPES[options.shape], options.precision)
        graphs.folder.mkdir(exist_ok=True)
        graphs.write()
        sizes = {name: graphs.path(name).with_suffix(".weights").stat().st_size for name in (APART, CACHED)}
        rows = list(measure(graphs, lengths, options.rounds, options.clock)) if options.rounds else []
    if not rows:
        return
    facts = {
        "command": f"python -m benchmarks.graph.packed --shape {options.shape} --precision {options.precision} "
        f"--rounds {options.rounds} --clock {options.clock}",
        "cores": cores,
        "threads": 1,
        "batch": 1,
        "rounds": options.rounds,
        "warm_up": WARM_UP,
        "onnxruntime": ort.__version__,
        "bytes_on_disk": sizes,
        "rows": [asdict(row) for row in rows],
    }
    lines = table(rows, lengths, f"{options.shape} {options.precision}")
    lines += ["", *(f"{name}: {size / 1e6:.1f} MB on disk" for name, size in sizes.items())]
    save(f"packed-{options.shape}-{options.precision}", facts, lines)


if __name__ == "__main__":
    main()
