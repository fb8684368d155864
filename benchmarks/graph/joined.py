"""Speed of each subnet with the weights of its segments joined, as the packed-weight cache keeps them.

    python -m benchmarks.graph.joined [--shape minilm-l6] [--precision int8] [--lengths 16,64,128] [--graphs DIR]

A graph of one stage that lists DynaBERT's twelve uniform subnets in four segments, as a bundle has it and as the cache
joins it, against the same operators in a dedicated graph of each subnet. All run in turns in one process, on one core,
batch 1; figures are medians and their ratios. With `--graphs` they are written to a directory first, and taken from
there if they are in it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime as ort

from benchmarks.graph.elastic import runner
from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, Inputs, random_weights, write_graph
from benchmarks.report import markdown, save
from gearshift.runtime.packed.joined_files import JoinedFiles
from gearshift.runtime.profiles.timing import WARM_UP, Times, interleave, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space, cut_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid

APART, JOINED, ALONE = "segments", "joined", "dedicated"


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
        """Return the place of a graph: APART, JOINED, or a subnet's own."""
        return self.folder / f"{name}-{self.precision}.onnx"

    def write(self) -> None:
        """Write the graphs that are not there."""
        weights = None
        for name, subnets in {APART: [*self.pool.values()], **{name: [one] for name, one in self.pool.items()}}.items():
            if not self.path(name).exists():
                weights = weights or random_weights(self.shape)
                write_graph(self.path(name), weights, self.space(subnets), self.precision)
        if not self.path(JOINED).exists():
            files = JoinedFiles.of(self.path(APART))
            assert files is not None, "a pool of several widths has segments"
            files.write(self.path(JOINED))


def measure(graphs: Graphs, lengths: Sequence[int], rounds: int) -> Iterator[Row]:
    """Measure a row for each subnet and length."""
    space = graphs.space([*graphs.pool.values()])
    sessions = {name: our_session(graphs.path(name)) for name in (APART, JOINED)}
    for name, subnet in graphs.pool.items():
        choices = {APART: space.choice(subnet), JOINED: space.choice(subnet), ALONE: ()}
        candidates: dict[str, ort.InferenceSession] = {**sessions, ALONE: our_session(graphs.path(name))}
        for tokens in lengths:
            inputs = Inputs.of_length(graphs.shape, tokens).arrays
            runs = {who: runner(session, inputs, choices[who] or (0,)) for who, session in candidates.items()}
            found = interleave(runs, rounds=rounds)
            yield Row(name, tokens, {who: Times.of(times) for who, times in found.items()})


def table(rows: Sequence[Row], lengths: Sequence[int], title: str) -> list[str]:
    """Format the ratios of each subnet, and their means, as Markdown."""
    columns = [(mine, tokens) for tokens in lengths for mine in (APART, JOINED)]
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.joined", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--lengths", default="16,64,128", help="tokens")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--graphs", type=Path)
    options = parser.parse_args()
    cores = pin(1)
    lengths = [int(text) for text in options.lengths.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        graphs = Graphs(options.graphs or Path(scratch), SHAPES[options.shape], options.precision)
        graphs.folder.mkdir(exist_ok=True)
        graphs.write()
        sizes = {name: graphs.path(name).with_suffix(".weights").stat().st_size for name in (APART, JOINED)}
        rows = list(measure(graphs, lengths, options.rounds)) if options.rounds else []
    if not rows:
        return
    facts = {
        "command": f"python -m benchmarks.graph.joined --shape {options.shape} --precision {options.precision} "
        f"--rounds {options.rounds}",
        "cores": cores,
        "threads": 1,
        "batch": 1,
        "rounds": options.rounds,
        "warm_up": WARM_UP,
        "onnxruntime": ort.__version__,
        "bytes_of_weights": sizes,
        "rows": [asdict(row) for row in rows],
    }
    lines = table(rows, lengths, f"{options.shape} {options.precision}")
    lines += ["", *(f"{name}: {size / 1e6:.1f} MB of weights" for name, size in sizes.items())]
    save(f"joined-{options.shape}-{options.precision}", facts, lines)


if __name__ == "__main__":
    main()
