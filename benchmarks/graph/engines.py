"""The elastic graph's full subnet against other engines: OpenVINO, and PyTorch with and without `torch.compile`.

    python -m benchmarks.graph.engines [--shape minilm-l6] [--lengths 16,64,128]

OpenVINO: dynamic shapes, one stream, latency hint, its default precision (bf16 if the CPU has it); int8 by NNCF's
post-training quantization for transformers.
PyTorch: fp32, `torch.compile` with dynamic shapes, and int8 by its dynamic quantization of linear layers.
One process, in turns, one core, one thread, batch 1. The elastic graphs hold DynaBERT's twelve uniform subnets in one
stage (four segments a layer) and six in two segments.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import openvino as ov
import torch
from tqdm import tqdm

from benchmarks.graph.elastic import POOLS, runner
from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, Inputs, cut_model, export_with_optimum, random_weights, write_graph
from benchmarks.report import save
from gearshift.export.graph.segments import Array
from gearshift.runtime.profiles.timing import Times, interleave, pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.uniform import uniform_grid

Candidate = Callable[[], object]
Prepared = Callable[[dict[str, Array]], Candidate]
"""Function from the token inputs to a call that runs them once."""

CALIBRATION_TEXTS = 32


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.engines", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--lengths", default="16,64,128", help="tokens")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    cores = pin()
    torch.set_num_threads(1)
    shape = SHAPES[options.shape]
    found: dict[int, dict[str, Times]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        engines = prepare(shape, Path(scratch))
        for tokens in tqdm([int(text) for text in options.lengths.split(",")], unit="length", disable=None):
            inputs = Inputs.of_length(shape, tokens).arrays
            runs = {name: engine(inputs) for name, engine in engines.items()}
            found[tokens] = {who: Times.of(values) for who, values in interleave(runs, rounds=options.rounds).items()}
    facts = {
        "command": f"python -m benchmarks.graph.engines --shape {options.shape}",
        "versions": {"openvino": ov.__version__, "torch": torch.__version__},
        "cores": cores,
        "threads": 1,
        "rounds": options.rounds,
        "times": {tokens: {name: asdict(value) for name, value in times.items()} for tokens, times in found.items()},
    }
    save(f"engines-{options.shape}", facts, table(found, options.shape))


def prepare(shape: EncoderShape, folder: Path) -> dict[str, Prepared]:
    """Return name -> engine with the full net loaded."""
    weights = random_weights(shape)
    engines: dict[str, Prepared] = {}
    for precision in ("fp32", "int8"):
        for pool, segments in (("uniform", "four segments"), ("halves", "two segments")):
            grid = uniform_grid(shape, **POOLS[pool])
            space = cut_space(shape, list(grid.values()), shape.layers)
            session = our_session(write_graph(folder / f"{pool}.{precision}.onnx", weights, space, precision))
            engines[f"elastic {precision}, {segments}"] = _elastic(session, space.choice(grid["w100-d100"]))
    full = next(iter(uniform_grid(shape).values()))
    plain = export_with_optimum(folder / "optimum", shape, full, "fp32")["plain"]
    core = ov.Core()
    model = core.read_model(plain)
    engines["OpenVINO"] = _openvino(core, model)
    engines["OpenVINO int8"] = _openvino(core, _quantized(model, shape))
    torch_model = cut_model(shape, full)
    engines["torch"] = _torch(torch_model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engines["torch.compile"] = _torch(torch.compile(torch_model, dynamic=True))
        quantize: Any = torch.ao.quantization.quantize_dynamic  # it has no types
        engines["torch int8"] = _torch(quantize(cut_model(shape, full), {torch.nn.Linear}, torch.qint8))
    return engines


def _elastic(session: ort.InferenceSession, choice: tuple[int, ...]) -> Prepared:
    return lambda inputs: runner(session, inputs, choice)


def _openvino(core: ov.Core, model: ov.Model) -> Prepared:
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    names = {name for port in model.inputs for name in port.names}

    def prepared(inputs: dict[str, Array]) -> Candidate:
        feeds = {name: array for name, array in inputs.items() if name in names}
        return lambda: request.infer(feeds)

    return prepared


def _quantized(model: ov.Model, shape: EncoderShape) -> ov.Model:
    """Quantise by NNCF's static int8 for transformers, calibrated on random texts: numbers do not change the time of a
    product."""
    import nncf

    lengths = np.random.default_rng(0).integers(16, 129, CALIBRATION_TEXTS).tolist()
    texts = [Inputs.of_length(shape, length).arrays for length in lengths]
    names = {name for port in model.inputs for name in port.names}

    def feeds(arrays: dict[str, Array]) -> dict[str, Array]:
        return {name: array for name, array in arrays.items() if name in names}

    dataset = nncf.Dataset(texts, feeds)
    return nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=CALIBRATION_TEXTS)


def _torch(model: Any) -> Prepared:
    def prepared(inputs: dict[str, Array]) -> Candidate:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}

        def run() -> object:
            with torch.inference_mode():
                return model(**tensors).logits

        return run

    return prepared


def table(found: dict[int, dict[str, Times]], shape: str) -> list[str]:
    """Format a row per engine as Markdown: its median in ms and the ratio of the elastic graphs of its kind to it."""
    lengths = list(found)
    header = [
        cell for tokens in lengths for cell in (f"{tokens} tokens, ms", "four segments / it", "two segments / it")
    ]
    lines = [
        f"### {shape}: the full subnet, and the elastic graph's median / the other engine's",
        "",
        "| engine | " + " | ".join(header) + " |",
        "|---|" + "---|" * len(header),
    ]
    for name in found[lengths[0]]:
        cells = []
        for tokens in lengths:
            median = found[tokens][name].median_ms
            kind = "int8" if "int8" in name else "fp32"
            ratios = [found[tokens][f"elastic {kind}, {cut} segments"].median_ms / median for cut in ("four", "two")]
            cells += [f"{median:.2f}", *(f"{ratio:.2f}" for ratio in ratios)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
