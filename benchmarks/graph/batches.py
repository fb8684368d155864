"""Latency of a call by the number of its texts, against as many calls of one text.

    python -m benchmarks.graph.batches [--shape minilm-l6] [--lengths 8,16,64] [--texts 2,4,8,16] [--rounds 15]

One core, one thread, no padding; all sizes of one subnet, length and precision run in turns. Figures are medians of the
CPU time of the thread, so that no other process on the core counts. The ratio of a call of n texts is its time over n
times that of a call of one: 1 is a list that gains nothing by running together.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.graph.elastic import POOLS, runner
from benchmarks.graph.lists import in_turns, random_texts
from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, random_weights, write_graph
from benchmarks.report import markdown, save
from gearshift.runtime.profiles.timing import WARM_UP, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_grid

SUBNETS = ("w100-d100", "w050-d050", "w025-d050")
PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class Row:
    """A subnet, with texts of one length; CPU milliseconds of a call by its number of texts."""

    precision: str
    subnet: str
    tokens: int
    cpu_ms: dict[int, float]

    def ratio(self, texts: int) -> float:
        """Return the time of a call of so many texts / so many times that of one text."""
        return self.cpu_ms[texts] / (texts * self.cpu_ms[1])


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.batches", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--lengths", default="8,16,64", help="tokens")
    parser.add_argument("--texts", default="2,4,8,16", help="texts of a call")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cores = pin()
    lengths, texts = ([int(text) for text in given.split(",")] for given in (options.lengths, options.texts))
    rows = measure(SHAPES[options.shape], lengths, texts, options.rounds)
    facts = {
        "command": f"python -m benchmarks.graph.batches --shape {options.shape} --lengths {options.lengths} "
        f"--texts {options.texts} --rounds {options.rounds}",
        "cores": cores,
        "threads": 1,
        "rounds": options.rounds,
        "warm_up": WARM_UP,
        "rows": [asdict(row) for row in rows],
    }
    save(f"batches-{options.shape}", facts, table(rows, texts, options.shape))


def measure(shape: EncoderShape, lengths: Sequence[int], texts: Sequence[int], rounds: int) -> list[Row]:
    """Measure a row for each precision, subnet and length."""
    weights, grid = random_weights(shape), uniform_grid(shape, **POOLS["uniform"])
    space = cut_space(shape, list(grid.values()), 1)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for precision in PRECISIONS:
            session = our_session(write_graph(Path(scratch) / f"{precision}.onnx", weights, space, precision))
            for name in SUBNETS:
                call = functools.partial(runner, session, choice=space.choice(grid[name]))
                for tokens in lengths:
                    ways = {str(count): call(inputs=random_texts(shape, count, tokens)) for count in (1, *texts)}
                    times = {int(count): ms for count, ms in in_turns(ways, rounds).items()}
                    found.append(Row(precision, name, tokens, times))
                    print(precision, name, tokens, *(f"{found[-1].ratio(n):.2f}" for n in texts), flush=True)
    return found


def table(rows: Sequence[Row], texts: Sequence[int], shape: str) -> list[str]:
    """Format the time of one text, and the ratios of several, as Markdown."""
    cells = [
        [
            f"{row.precision}, {row.subnet}, {row.tokens}",
            f"{row.cpu_ms[1]:.2f}",
            *(f"{row.ratio(count):.2f}" for count in texts),
        ]
        for row in rows
    ]
    header = ["precision, subnet, tokens", "1 text, CPU ms", *(f"{count} texts" for count in texts)]
    return [
        f"### {shape}: a call of n texts / n calls of one text, one thread",
        "",
        *markdown(header, cells),
    ]


if __name__ == "__main__":
    main()
