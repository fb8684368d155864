"""A bundle made only to be timed: every operation at every hidden size, several times in a row.

Measured on a device (`gearshift run BUNDLE --save-profile`), its latency table yields the latencies of the operations
(`runtime.tables.operation_latency`).
It has as few subnets as tell the operations apart, since each option is a switch that takes time too. At each size:
REPEATED times each operation; a single operation, which shows the rest of a block without any; a second block of that
size, with two projections more.
The bridge is as wide as the narrowest blocks, which need no projection. All tokens are pooled, so that no operation is
reduced to the first token. Weights are random, and the answers mean nothing.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from gearshift.export.pipeline import export_bundle
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.runtime.space.blocks import OPERATIONS, Block, BlockSubnet
from gearshift.runtime.space.space import BlockSpace, block_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.elastic import Head
from gearshift.trainer.model.encoder.layer import Dropout
from gearshift.trainer.nasbert.model import MixedModel
from gearshift.trainer.nasbert.run import MixedCheckpoint, MixedRun

REPEATED = 4
"""Number of operations in a row."""

ROWS = 8
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "runs", "away", "from", "them"]


def operation_subnets(sizes: Sequence[int]) -> dict[str, Subnet[Block]]:
    """Return name -> subnet of two blocks. The least of the hidden sizes is the bridge's."""
    ones = {size: Block(size, (OPERATIONS[0],)) for size in sizes}
    small = ones[min(sizes)]
    repeated = [Block(size, (name,) * REPEATED) for size in sizes for name in OPERATIONS]
    pairs = [*((block, small) for block in (*repeated, *ones.values())), *((one, one) for one in ones.values())]
    return {subnet.name: subnet for subnet in map(BlockSubnet, dict.fromkeys(pairs))}


def export_operations(
    source: MixedCheckpoint, sizes: Sequence[int], out: Path, *, precisions: Sequence[str] = CPU_PRECISIONS
) -> Bundle:
    """Write the bundle of a search's operations at these sizes, atomically."""
    shape = dataclasses.replace(source.model.shape, bridge=min(sizes))
    subnets = operation_subnets(sizes)
    model = random_operations(block_space(shape, subnets.values()))
    rows = [Row(" ".join(WORDS[: 2 + number]), None, None) for number in range(ROWS)]
    with tempfile.TemporaryDirectory() as nowhere:
        checkpoint = dataclasses.replace(source, model=model, labels=())
        run = MixedRun(Path(nowhere), checkpoint, subnets, dict.fromkeys(subnets, 0.0), {"max_length": shape.positions})
        return export_bundle(run, out, rows, precisions=precisions, int8_tolerance=1.0).bundle


def random_operations(space: BlockSpace) -> MixedModel:
    """Return a model with random weights whose values keep their magnitude from operation to operation; the same for
    the same space."""
    torch.manual_seed(0)
    model = MixedModel(space, 0, head=Head("embedding", pooling="mean"), dropout=Dropout(0.0, 0.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and not name.startswith("embeddings"):
                parameter.normal_(0, parameter[0].numel() ** -0.5)
    return model.eval()
