"""Cost of the ways to run the texts of a list in int8.

    python -m benchmarks.graph.lists [--shape minilm-l6] [--lengths 8,16,64,128] [--lists 1,8,32] [--rounds 40]

Three ways, in turns in one process, one core, one thread, no padding:

* together: all texts in one call. `DynamicQuantizeLinear` and the fused operators take one activation scale a tensor,
  so that the scale of a text depends on its neighbours.
* apart: a call for each text, of the same graph.
* row scales: one call of another graph, which quantises each text by a scale of its own. The kernels take a scalar
  scale and zero point, so the scale is multiplied in after each product, the zero point is fixed, and attention runs
  in float (`QAttention` multiplies inside).

Figures are medians of the CPU time of the thread, so that no other process on the core counts.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.graph.elastic import POOLS, runner
from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, random_weights, write_graph
from benchmarks.graph.switch import timed
from benchmarks.report import markdown, save
from gearshift.export.graph.builder import CONTRIB, Scope
from gearshift.export.graph.elastic import GRAPHS
from gearshift.export.graph.operators import RECIPES, quantized
from gearshift.export.graph.recipe import Rows, View
from gearshift.export.graph.segments import Array, HeadSegment, NeuronSegment, Weights
from gearshift.runtime.bundle.manifest import INPUTS
from gearshift.runtime.profiles.timing import WARM_UP, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space, cut_space
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.elastic import Head

SUBNETS = ("w100-d100", "w050-d050", "w025-d050")
MIDDLE = 128
"""Zero point of a text's values: the middle of uint8."""


@dataclass(frozen=True)
class Row:
    """A subnet, with a list of texts of one length; times of the whole list."""

    subnet: str
    tokens: int
    texts: int
    cpu_ms: dict[str, float]
    """Way -> median CPU ms."""

    def ratio(self, way: str) -> float:
        """Return the median of a way / median of all texts together."""
        return self.cpu_ms[way] / self.cpu_ms["together"]


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.lists", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--lengths", default="8,16,64,128", help="tokens")
    parser.add_argument("--lists", default="1,8,32", help="texts")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    cores = pin()
    lengths, lists = ([int(text) for text in given.split(",")] for given in (options.lengths, options.lists))
    rows = measure(SHAPES[options.shape], lengths, lists, options.rounds)
    facts = {
        "command": f"python -m benchmarks.graph.lists --shape {options.shape} --lengths {options.lengths} "
        f"--lists {options.lists} --rounds {options.rounds}",
        "cores": cores,
        "threads": 1,
        "rounds": options.rounds,
        "warm_up": WARM_UP,
        "rows": [asdict(row) for row in rows],
    }
    save(f"lists-{options.shape}", facts, table(rows, options.shape))


def measure(shape: EncoderShape, lengths: Sequence[int], lists: Sequence[int], rounds: int) -> list[Row]:
    """Measure a row per subnet, length and list."""
    weights, grid = random_weights(shape), uniform_grid(shape, **POOLS["uniform"])
    space = cut_space(shape, list(grid.values()), 1)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        ours = our_session(write_graph(Path(scratch) / "int8.onnx", weights, space, "int8"))
        rowwise = our_session(write_rowwise(Path(scratch) / "rows.onnx", weights, space))
        for name in SUBNETS:
            choice = space.choice(grid[name])
            for tokens in lengths:
                for texts in lists:
                    inputs = random_texts(shape, texts, tokens)
                    alone = [{key: array[row : row + 1] for key, array in inputs.items()} for row in range(texts)]
                    calls = [runner(ours, row, choice) for row in alone]
                    ways: dict[str, Callable[[], object]] = {
                        "together": runner(ours, inputs, choice),
                        "apart": lambda calls=calls: [call() for call in calls],  # type: ignore[misc]
                        "row scales": runner(rowwise, inputs, choice),
                    }
                    found.append(Row(name, tokens, texts, in_turns(ways, rounds)))
                    print(name, texts, "x", tokens, *(f"{way} {found[-1].ratio(way):.2f}" for way in ways), flush=True)
    return found


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Measure the median CPU milliseconds of each way, in a new order each round."""
    order, source = list(ways), random.Random(0)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(WARM_UP + rounds):
        source.shuffle(order)
        for way in order:
            spent = timed(ways[way], time.thread_time_ns)
            if round_ >= WARM_UP:
                times[way].append(spent)
    return {way: statistics.median(values) for way, values in times.items()}


def random_texts(shape: EncoderShape, texts: int, tokens: int) -> dict[str, Array]:
    """Return random token ids (texts, tokens), without padding."""
    ids = np.random.default_rng(tokens).integers(1, shape.vocabulary, (texts, tokens))
    return dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))


def write_rowwise(path: Path, weights: Weights, space: Space) -> Path:
    """Write the int8 graph of a space that quantises each text by a scale of its own."""
    rowwise = _Rowwise(f"layer{space.shape.layers - 1}.")
    recipe = replace(RECIPES["int8"], attention=rowwise.attention, ffn=rowwise.ffn)
    recipes = [recipe] * space.shape.layers
    GRAPHS[space.shape.kind](space, weights, recipe, recipes, 1e-12, Head()).build().save(path)
    return path


@dataclass(frozen=True)
class _Rowwise:
    """Operators of a layer that give each text a scale."""

    last: str
    """Prefix of the last layer's segments: after its attention, values are (texts, width), of the first token alone."""

    def attention(
        self,
        scope: Scope,
        hidden: str,
        view: View,
        segments: Sequence[HeadSegment],
        bias: Array | None,
        name: str,
        rows: Rows,
    ) -> list[str]:
        weight = scope.builder.weight
        quantised = _by_row(scope, hidden, 3)
        assert bias is not None
        terms = []
        for segment in segments:
            joined = _product(scope, *quantised, quantized(scope, f"{segment.name}.qkv", segment.qkv))
            parts = scope.node("Split", [joined], outputs=3, axis=2, num_outputs=3)
            assert segment.qkv_bias is not None
            inputs = [*parts, weight(f"{segment.name}.qkv_bias", segment.qkv_bias), view.mask]
            context = scope.value("MultiHeadAttention", inputs, domain=CONTRIB, num_heads=segment.heads)
            kept = _by_row(scope, rows(scope, context), self._rank(segment.name))
            terms.append(_product(scope, *kept, quantized(scope, f"{segment.name}.output", segment.output)))
        return [*terms, weight(name, bias)]

    def ffn(
        self, scope: Scope, hidden: str, segments: Sequence[NeuronSegment], bias: Array | None, bias_name: str
    ) -> list[str]:
        weight, rank = scope.builder.weight, self._rank(segments[0].name)
        quantised = _by_row(scope, hidden, rank)
        terms = []
        for segment in segments:
            inner = _product(scope, *quantised, quantized(scope, f"{segment.name}.in", segment.ffn_in))
            assert segment.ffn_in_bias is not None
            inner_bias = weight(f"{segment.name}.in_bias", segment.ffn_in_bias)
            active = scope.value("BiasGelu", [inner, inner_bias], domain=CONTRIB)
            out = quantized(scope, f"{segment.name}.out", segment.ffn_out)
            terms.append(_product(scope, *_by_row(scope, active, rank), out))
        assert bias is not None
        return [*terms, weight(bias_name, bias)]

    def _rank(self, segment: str) -> int:
        return 2 if segment.startswith(self.last) else 3


def _by_row(scope: Scope, value: str, rank: int) -> tuple[str, str]:
    """Quantise (texts, ..., width) by a scale for each text; return the values, and the scales (texts, 1, ...)."""
    constant = scope.builder.weight
    axes = scope.builder.constant(f"row.axes{rank}", list(range(1, rank)))
    largest = scope.value("ReduceMax", [scope.value("Abs", [value]), axes], keepdims=0)  # (texts,)
    floor, part = constant("row.floor", np.array(1e-12, np.float32)), constant("row.part", np.array(127, np.float32))
    scales = scope.value("Div", [scope.value("Max", [largest, floor]), part])
    middle = constant("row.middle", np.array([MIDDLE], np.uint8))
    zeros = scope.value("Expand", [middle, scope.value("Shape", [scales])])
    values = scope.value("QuantizeLinear", [value, scales, zeros], axis=0)
    return values, scope.value("Unsqueeze", [scales, axes])


def _product(scope: Scope, values: str, scales: str, matrix: tuple[str, str]) -> str:
    one = scope.builder.weight("row.one", np.array(1, np.float32))
    middle = scope.builder.weight("row.zero", np.array(MIDDLE, np.uint8))
    weight, weight_scale = matrix
    inputs = [values, weight, one, weight_scale, middle]
    return scope.value("Mul", [scope.value("MatMulIntegerToFloat", inputs, domain=CONTRIB), scales])


def table(rows: Sequence[Row], shape: str) -> list[str]:
    """Format the times of each list as Markdown."""
    cells = [
        [
            f"{row.subnet}, {row.texts} x {row.tokens}",
            *(f"{milliseconds:.2f}" for milliseconds in row.cpu_ms.values()),
            *(f"{row.ratio(way):.2f}" for way in ("apart", "row scales")),
        ]
        for row in rows
    ]
    header = [
        "subnet, texts x tokens",
        "together, CPU ms",
        "apart, CPU ms",
        "row scales, CPU ms",
        "apart",
        "row scales",
    ]
    return [f"### {shape}, int8: ways to run a list; the last two columns / together", "", *markdown(header, cells)]


if __name__ == "__main__":
    main()
