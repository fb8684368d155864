"""How fast one elastic graph runs each subnet, against a graph that holds that subnet alone.

    python -m benchmarks.elastic [--shape minilm-l6] [--precision fp32,int8] [--lengths 16,64,128]

Two rivals: the same operators in a dedicated, unsegmented graph, and what a user gets today (the subnet
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
from pathlib import Path

import numpy as np
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
from benchmarks.timing import device, interleave, pin_to_one_core
from gearshift.export.segments import Array
from gearshift.runtime.space import EncoderShape, Subnet, layer_space, uniform_grid

RESULTS = Path(__file__).parent / "results"


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
    for precision in options.precision.split(","):
        rows = measure(SHAPES[options.shape], precision, lengths, options.rounds)
        report = {
            "command": f"python -m benchmarks.elastic --shape {options.shape} --precision {precision}",
            "date": datetime.date.today().isoformat(),
            "device": device(),
            "core": core,
            "threads": 1,
            "rounds": options.rounds,
            "warm_up": 3,
            "granularity": "layer",
            "rows": rows,
        }
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"elastic-{options.shape}-{precision}.json"
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print("\n".join(table(rows, lengths, f"{options.shape} {precision}")))


def measure(shape: EncoderShape, precision: str, lengths: list[int], rounds: int) -> list[dict[str, object]]:
    """One row per subnet and length: medians and p95 of the three candidates, and the ratios."""
    weights = random_weights(shape)
    grid = uniform_grid(shape)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        space = layer_space(shape, list(grid.values()))
        elastic = our_session(write_graph(folder / "elastic.onnx", weights, space, precision))
        for name, subnet in tqdm(grid.items(), desc=precision, unit="subnet", disable=None):
            alone = layer_space(shape, [subnet])
            dedicated = our_session(write_graph(folder / f"{name}.onnx", weights, alone, precision))
            theirs = {
                kind: their_session(path)
                for kind, path in export_with_optimum(folder / name, shape, subnet, precision).items()
            }
            for tokens in lengths:
                inputs = Inputs.of_length(shape, tokens).arrays
                runs = {
                    "elastic": _runner(elastic, inputs, space.choice(subnet)),
                    "dedicated": _runner(dedicated, inputs, alone.choice(subnet)),
                    **{f"optimum {kind}": _runner(session, inputs, None) for kind, session in theirs.items()},
                }
                times = interleave(runs, rounds=rounds)
                best = min((times[key].median_ms, key) for key in times if key.startswith("optimum"))[1]
                elastic_ms = times["elastic"].median_ms
                rows.append(
                    {
                        "subnet": name,
                        "segments": _segments(subnet, space.head_cuts(0)),
                        "tokens": tokens,
                        "times": {key: vars(value) for key, value in times.items()},
                        "optimum": best,
                        "ratio_to_dedicated": elastic_ms / times["dedicated"].median_ms,
                        "ratio_to_optimum": elastic_ms / times[best].median_ms,
                    }
                )
    return rows


def _segments(subnet: Subnet, cuts: tuple[int, ...]) -> int:
    """Segments of heads that the elastic graph runs in each kept layer."""
    return sum(cut <= subnet.kept()[0].heads for cut in cuts)


def _runner(session: object, inputs: dict[str, Array], choice: tuple[int, ...] | None) -> Callable[[], object]:
    feeds = {node.name: inputs[node.name] for node in session.get_inputs() if node.name in inputs}  # type: ignore[attr-defined]
    if choice is not None and any(node.name == "choice" for node in session.get_inputs()):  # type: ignore[attr-defined]
        feeds["choice"] = np.array(choice, np.int64)
    return lambda: session.run(None, feeds)  # type: ignore[attr-defined]


def table(rows: list[dict[str, object]], lengths: list[int], title: str) -> list[str]:
    """Markdown: the ratios of each subnet, and their means."""
    lines = [
        f"\n### {title}: elastic / dedicated, elastic / optimum",
        "",
        "| subnet | " + " | ".join(f"{tokens} tokens" for tokens in lengths) + " |",
        "|---|" + "---|" * len(lengths),
    ]
    by_name: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_name.setdefault(str(row["subnet"]), []).append(row)
    for name, found in by_name.items():
        cells = [f"{row['ratio_to_dedicated']:.2f}, {row['ratio_to_optimum']:.2f}" for row in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    means = []
    for tokens in lengths:
        chosen = [row for row in rows if row["tokens"] == tokens]
        ratios = (
            statistics.mean(float(str(row[key])) for row in chosen)
            for key in ("ratio_to_dedicated", "ratio_to_optimum")
        )
        means.append(", ".join(f"{ratio:.2f}" for ratio in ratios))
    return [*lines, "| **mean** | " + " | ".join(means) + " |"]


if __name__ == "__main__":
    main()
