"""Attention within windows, block by block against masked, by length of the text.

    python -m benchmarks.graph.windows --shape modernbert-base [--lengths 16,128,256,384,512,1024,2048]
        [--precision fp32,int8]

A ModernBERT-base with random weights (22 layers, or three) of which every third layer sees all tokens and the others 64
on either side, as graphs of ours that differ in nothing else, with an answer for every token. Both run in turns in one
process on one core, batch 1, one thread; their answers are compared.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.graph.elastic import runner
from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, Inputs, random_weights
from benchmarks.report import markdown, save
from gearshift.export.graph.elastic import GRAPHS
from gearshift.export.graph.operators import RECIPES
from gearshift.runtime.profiles.timing import WARM_UP, Times, interleave, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_subnet
from gearshift.trainer.model.elastic import Head

FORMS = {"blocks": True, "masked": False}


@dataclass(frozen=True)
class Row:
    """A precision and length."""

    precision: str
    tokens: int
    times: dict[str, Times]
    apart: float
    """Largest difference between the answers of both forms."""

    @property
    def ratio(self) -> float:
        """Median in blocks / median masked."""
        return self.times["blocks"].median_ms / self.times["masked"].median_ms


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.windows", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=[name for name, shape in SHAPES.items() if shape.windows], required=True)
    parser.add_argument("--lengths", default="16,128,256,384,512,1024,2048", help="tokens")
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    cores = pin()
    lengths = [int(text) for text in options.lengths.split(",")]
    rows = [
        row
        for precision in options.precision.split(",")
        for row in measure(SHAPES[options.shape], precision, lengths, options.rounds)
    ]
    facts = {
        "command": f"python -m benchmarks.graph.windows --shape {options.shape} --lengths {options.lengths} "
        f"--precision {options.precision} --rounds {options.rounds}",
        "cores": cores,
        "threads": 1,
        "batch": 1,
        "rounds": options.rounds,
        "warm_up": WARM_UP,
        "rows": [asdict(row) for row in rows],
    }
    save(f"windows-{options.shape}", facts, table(options.shape, rows))


def measure(shape: EncoderShape, precision: str, lengths: list[int], rounds: int) -> list[Row]:
    """Measure a row per length."""
    weights = random_weights(shape)
    space = cut_space(shape, [uniform_subnet(shape, 1, 1)], shape.layers)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        sessions = {}
        for name, blocks in FORMS.items():
            recipe = replace(RECIPES[precision], blocks=blocks)
            path = Path(scratch) / f"{name}.onnx"
            recipes = [recipe] * shape.layers
            GRAPHS[shape.kind](space, weights, recipe, recipes, 1e-5, Head("token-classification")).build().save(path)
            sessions[name] = our_session(path)
        for tokens in tqdm(lengths, desc=precision, disable=None):
            inputs = Inputs.of_length(shape, tokens).arrays
            runs = {name: runner(session, inputs, (0,)) for name, session in sessions.items()}
            one, other = (np.asarray(run()) for run in runs.values())
            times = {name: Times.of(values) for name, values in interleave(runs, rounds=rounds).items()}
            rows.append(Row(precision, tokens, times, float(np.abs(one - other).max())))
    return rows


def table(shape: str, rows: list[Row]) -> list[str]:
    """Format a row each as Markdown."""
    cells = [
        [
            row.precision,
            str(row.tokens),
            *(f"{row.times[name].median_ms:.1f} / {row.times[name].p95_ms:.1f}" for name in FORMS),
            f"{row.ratio:.2f}",
            f"{row.apart:.1g}",
        ]
        for row in rows
    ]
    return [
        f"### {shape}: windows in blocks against masked ones",
        "",
        *markdown(["precision", "tokens", "blocks, ms (median / p95)", "masked", "blocks / masked", "apart"], cells),
    ]


if __name__ == "__main__":
    main()
