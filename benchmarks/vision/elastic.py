"""Elastic graph of a net of convolutions against dedicated graphs, one thread, batch 1.

python -m benchmarks.vision.elastic --model mobilenet-small --image-size 32 [-o FILE]

The net has random weights, and statistics of its own for each subnet: times do not depend on them. Dedicated is the
same exporter's graph of one subnet: no switch, no segments, its norms folded. Optimised is the graph of that subnet in
ONNX's own operators, with all of ONNX Runtime's optimisation: what an export of the subnet alone would give. All three
are called in turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from gearshift.export.graph.convolutional import write_convolutional_graph
from gearshift.runtime.inference.blocked import set_block
from gearshift.runtime.inference.session import session_options
from gearshift.runtime.profiles.timing import Times, interleave, pinned
from gearshift.runtime.space.convolutions import ConvolutionSubnet
from gearshift.trainer.data.images import ImageBatch
from gearshift.trainer.vision.elastic import ConvolutionalNet
from gearshift.trainer.vision.models import make_model
from gearshift.trainer.vision.statistics import calibrate

KINDS = ("elastic", "dedicated", "optimised")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenet-small")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument(
        "--shared-variances", action="store_true", help="norms with the variances of the full net: what scales cost"
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    net = ConvolutionalNet.convert(make_model(options.model, 10), options.image_size, options.image_size).eval()
    grid = net.grid(depths=(1.0, 0.5))
    pixels = torch.randn(16, 3, options.image_size, options.image_size)
    calibrate(net, grid.values(), [ImageBatch(pixels, torch.zeros(16), torch.arange(16))])
    if options.shared_variances:
        share_variances(net)
    with tempfile.TemporaryDirectory() as folder, pinned(1):
        times = measured(net, grid, pixels[:1].numpy(), Path(folder), options.rounds)
    text = report(net, grid, times, options)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n", encoding="utf-8")


def share_variances(net: ConvolutionalNet) -> None:
    """Give the norms of every subnet the variances of the full net, so that none needs scales of its own."""
    full = net.moments(net.full)
    for subnet, moments in net.statistics.items():
        net.statistics[subnet] = {name: (mean, full[name][1][: len(mean)]) for name, (mean, _) in moments.items()}


def measured(
    net: ConvolutionalNet, grid: Mapping[str, ConvolutionSubnet], pixels: Any, folder: Path, rounds: int
) -> dict[tuple[str, str], Times]:
    """Return (kind, subnet) -> times."""
    whole = opened(folder / "elastic.onnx", net, list(grid.values()), "fast")
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    for option, (name, subnet) in enumerate(grid.items()):
        feeds = {"pixels": pixels, "choice": np.array([option])}
        calls["elastic", name] = partial(whole.run, None, feeds)
        for kind, operators in (("dedicated", "fast"), ("optimised", "standard")):
            alone = opened(folder / f"{kind}-{name}.onnx", net, [subnet], operators)
            calls[kind, name] = partial(alone.run, None, {"pixels": pixels, "choice": np.array([0])})
    return {key: Times.of(values) for key, values in interleave(calls, rounds=rounds).items()}


def opened(path: Path, net: ConvolutionalNet, subnets: list[ConvolutionSubnet], operators: str) -> ort.InferenceSession:
    """Write a graph and open it with the session options of its bundle."""
    write_convolutional_graph(path, net, subnets, operators)
    fast = operators == "fast"
    options = session_options({"graph_optimization_level": "basic" if fast else "all"}, 1)
    if fast:
        set_block(options, path)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def report(
    net: ConvolutionalNet,
    grid: Mapping[str, ConvolutionSubnet],
    times: Mapping[tuple[str, str], Times],
    options: argparse.Namespace,
) -> str:
    """Write the table in Markdown."""
    pixels = options.image_size**2
    rows, against = [], {kind: list[float]() for kind in KINDS[1:]}
    for name, subnet in grid.items():
        mine = times["elastic", name].median_ms
        for kind, ratios in against.items():
            ratios.append(mine / times[kind, name].median_ms)
        shares = " | ".join(f"{each[-1]:.2f}" for each in against.values())
        macs = subnet.macs(net.shape, pixels) / 1e6
        rows.append(f"| {name} | {macs:.1f} M | {mine:.2f} | {times['elastic', name].p95_ms:.2f} | {shares} |")
    means = " | ".join(f"{statistics.mean(each):.2f}" for each in against.values())
    return "\n".join(
        [
            f"{options.model}, {options.image_size} x {options.image_size} pixels, fp32, 1 thread, batch 1, "
            f"{options.rounds} rounds in turns, onnxruntime {ort.__version__}; times in ms"
            + ("; norms share the variances of the full net" if options.shared_variances else ""),
            "",
            "| subnet | MACs | median | p95 | / dedicated | / optimised |",
            "|---|---|---|---|---|---|",
            *rows,
            f"| **mean** | | | | {means} |",
        ]
    )


if __name__ == "__main__":
    main()
