"""Accuracy and download of an int8 bundle whose weights were rounded to few bits, on the dev rows of trained runs.

    python -m benchmarks.training.weight_bits TREC=runs/trec SST-2=runs/sst2

Forms: int8 as it is exported; 4 bits in blocks of 32 inputs with a scale of 8 bits each, the best of 21 clips by
squared error, symmetric or not, as the int8 graph that a device would unpack; and coarse steps
(`export.graph.quantizer`), with and without making up for errors. Bytes are those of the codes of all weights in the
form of a compressed bundle. Loss: the accuracy of int8 less that of the form, in points, mean and worst of all subnets.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import markdown, save
from benchmarks.training.accuracy_tasks import by_hash
from gearshift.export.calibrate import ROWS, input_products
from gearshift.export.checks.parity import measure_accuracy
from gearshift.export.graph.quantizer import CoarseQuantizer, Quantizer
from gearshift.export.graph.segments import Array
from gearshift.export.prepare import Prepared, prepare
from gearshift.export.write import write_graph
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.files.sparse_file import Extent, write_sparse
from gearshift.runtime.graph.quantize import TABLE_BITS, WEIGHT_BITS, Quantized, quantize
from gearshift.runtime.inference.session import ElasticSession
from gearshift.trainer.model.run import load_supernet
from gearshift.trainer.model.run_data import read_run_data

BLOCK = 32
CLIPS = np.linspace(0.6, 1, 21)
LEVELS = 15
STEPS = (0.3, 0.35, 0.4, 0.5)


class Counted(Quantizer):
    """Quantiser that counts the bytes of what another made."""

    def __init__(self, other: Quantizer) -> None:
        self.other = other
        self.bytes = 0
        self.weights = 0

    def matrix(self, name: str, matrix: Array) -> Quantized:
        return self._counted(self.other.matrix(name, matrix))

    def table(self, table: Array) -> Quantized:
        return self._counted(self.other.table(table))

    def _counted(self, made: Quantized) -> Quantized:
        codes = made.codes if isinstance(made, InBlocks) else [made.values, made.scales.view(np.int8)]
        self.bytes += sum(map(packed_bytes, codes))
        self.weights += made.values.size
        return made


@dataclasses.dataclass(frozen=True)
class InBlocks(Quantized):
    """Int8 matrix that was unpacked from blocks, with what a file would have of them."""

    codes: Sequence[Array] = ()


@dataclasses.dataclass(frozen=True)
class Blocks(Quantizer):
    """Quantiser to 4 bits in blocks along the inputs."""

    lopsided: bool = False
    """Whether a block has a zero of its own."""
    of_table: bool = True

    def matrix(self, name: str, matrix: Array) -> Quantized:
        return in_blocks(matrix, WEIGHT_BITS, lopsided=self.lopsided)

    def table(self, table: Array) -> Quantized:
        return in_blocks(table.T, TABLE_BITS, lopsided=self.lopsided) if self.of_table else super().table(table)


def in_blocks(matrix: Array, bits: int, *, lopsided: bool) -> InBlocks:
    """Round each block of a column to 4 bits, and the result to the int8 matrix that a device would make of it."""
    rows, columns = matrix.shape
    blocks = np.pad(matrix, ((0, -rows % BLOCK), (0, 0))).reshape(-1, BLOCK, columns)
    low = np.minimum(blocks.min(1, keepdims=True), 0) if lopsided else -np.abs(blocks).max(1, keepdims=True)
    high = np.maximum(blocks.max(1, keepdims=True), 0) if lopsided else -low
    best = (np.full_like(low, np.inf), np.zeros_like(blocks), np.ones_like(low), np.zeros_like(low))
    for clip in CLIPS:
        scale = np.maximum(clip * (high - low) / (LEVELS if lopsided else LEVELS - 1), 1e-12)
        zero = np.rint(-clip * low / scale) if lopsided else np.full_like(scale, LEVELS // 2)
        codes = np.clip(np.rint(blocks / scale) + zero, 0, LEVELS)
        error = np.square((codes - zero) * scale - blocks).sum(1, keepdims=True)
        found = (error, codes, scale, zero)
        best = tuple(np.where(error < best[0], new, old) for new, old in zip(found, best, strict=True))
    _, codes, scale, zero = best
    largest = scale.max(0, keepdims=True)
    levels = np.maximum(np.rint(scale / largest * 255), 1)
    made = ((codes - zero) * levels * largest / 255).reshape(-1, columns)[:rows]
    packed = quantize(made.astype(np.float32), bits=bits)
    stored = [codes.astype(np.int8), levels.astype(np.uint8), *([zero.astype(np.int8)] if lopsided else [])]
    return InBlocks(packed.values, packed.scales, [*stored, largest.astype(np.float32).view(np.int8)])


def packed_bytes(codes: Array) -> int:
    """Return the bytes of codes of one byte each in the form of a compressed bundle."""
    with tempfile.TemporaryFile() as file:
        write_sparse(codes.tobytes(), [Extent(codes.size, 1)], file)
        return file.tell()


def main() -> None:
    """Measure every form on every run, print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--rows", type=int, help="most dev rows of a run, picked by hash")
    parser.add_argument("--forms", default="", metavar="F;F", help="some of the forms (default: all)")
    options = parser.parse_args()
    chosen = [form for form in options.forms.split(";") if form]
    found = {
        name: _measured(Path(path), options.rows, chosen)
        for name, _, path in (run.partition("=") for run in options.runs)
    }
    save("weight-bits", {"command": "python -m benchmarks.training.weight_bits", "runs": found}, _lines(found))


def _measured(path: Path, most: int | None, chosen: Sequence[str]) -> dict[str, Any]:
    run = load_supernet(path)
    splits = read_run_data(run).splits
    dev = splits["dev"] if most is None else by_hash(splits["dev"])[:most]
    prepared = prepare(
        run, dev, "trial", dev=(), precisions=["int8"], layers_per_stage=run.depth, operators="fast",
        vocabulary=None, licence="none", typical=splits["train"][:ROWS],
    )  # fmt: skip
    products = input_products(run.checkpoint.model, run.subnets, prepared.typical)
    size = prepared.draft.space.shape.head_size
    forms: dict[str, Callable[[], Quantizer]] = {
        "int8": Quantizer,
        "4 bits, blocks of 32; words in 8 bits": lambda: Blocks(of_table=False),
        "4 bits, blocks of 32": Blocks,
        "4 bits, blocks of 32 with zeros": lambda: Blocks(lopsided=True),
        "coarse .4, without making up": lambda: _Plain(0.4, {}, size),
        **{
            f"coarse {step:.2g}".replace("0.", "."): functools.partial(CoarseQuantizer, step, products, size)
            for step in STEPS
        },
    }  # fmt: skip
    forms = {name: forms[name] for name in chosen or forms}
    return {"dev_rows": len(dev), "forms": {name: _of(prepared, make()) for name, make in forms.items()}}


class _Plain(CoarseQuantizer):
    """Coarse quantiser that rounds each weight to the nearest step."""

    def _products(self, name: str, rows: int) -> Array | None:
        return None


def _of(prepared: Prepared, quantizer: Quantizer) -> dict[str, Any]:
    """Return bytes, weights and accuracies of the graph of a quantiser."""
    counted = Counted(quantizer)
    with tempfile.TemporaryDirectory() as folder:
        write_graph(dataclasses.replace(prepared, quantizer=counted), Path(folder), "int8")
        bundle = Bundle(Path(folder), prepared.draft, hash="", known=True)
        session = ElasticSession(bundle, "int8", threads=1)
        accuracy = {
            name: measure_accuracy(session, bundle.manifest.inputs, entry, prepared.encoded).score
            for name, entry in bundle.pool("int8").items()
        }
        session.close()
    print(type(quantizer).__name__, counted.bytes, f"{statistics.mean(accuracy.values()):.4f}", flush=True)
    return {"bytes": counted.bytes, "weights": counted.weights, "accuracy": accuracy}


def _lines(found: Mapping[str, Any]) -> list[str]:
    header = ["form", "MB", "of int8", "bits a weight"]
    for name, run in found.items():
        header += [f"{name} ({run['dev_rows']} dev rows), mean", "loss", "worst subnet's loss"]
    header += ["mean loss"]
    first = next(iter(found.values()))["forms"]
    table = []
    for form, facts in first.items():
        cells = [form, f"{facts['bytes'] / 1e6:.2f}", f"{100 * facts['bytes'] / first['int8']['bytes']:.0f} %"]
        cells.append(f"{8 * facts['bytes'] / facts['weights']:.2f}")
        means = []
        for run in found.values():
            exact, own = run["forms"]["int8"]["accuracy"], run["forms"][form]["accuracy"]
            losses = [100 * (exact[name] - own[name]) for name in own]
            means.append(statistics.mean(losses))
            cells += [f"{100 * statistics.mean(own.values()):.2f}", f"{means[-1]:.2f}", f"{max(losses):.1f}"]
        table.append([*cells, f"{statistics.mean(means):.2f}"])
    return ["### Weights of an int8 bundle in few bits: bytes, and accuracy on dev rows", "", *markdown(header, table)]


if __name__ == "__main__":
    main()
