"""Compares what an exported graph answers with what the trained model answers, for every subnet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from gearshift.export.segments import Array
from gearshift.runtime.bundle import Bundle
from gearshift.runtime.errors import ExportError
from gearshift.runtime.manifest import PoolEntry
from gearshift.runtime.session import ElasticSession
from gearshift.runtime.space import Subnet
from gearshift.trainer.batches import Batch, EncodedRows
from gearshift.trainer.evaluate import measure
from gearshift.trainer.model import ElasticClassifier

FP32_TOLERANCE = 1e-4
"""Largest difference of an fp32 logit between the graph and torch."""

INT8_TOLERANCE = 0.01
"""Largest loss of an int8 subnet against fp32, in the metric of its task: one point."""


@torch.no_grad()
def torch_logits(model: ElasticClassifier, subnets: Mapping[str, Subnet], batch: Batch) -> dict[str, Array]:
    """Name -> logits (batch, labels) of each subnet, from the trained model."""
    model.eval()
    return {name: model(batch, subnet).logits.numpy() for name, subnet in subnets.items()}


def graph_inputs(batch: Batch, names: Sequence[str]) -> dict[str, Array]:
    """The arrays that a graph takes for a batch."""
    return {name: getattr(batch, name).numpy() for name in names}


def check_parity(session: ElasticSession, bundle: Bundle, batch: Batch, expected: Mapping[str, Array]) -> float:
    """The largest difference of a logit over all fp32 pool subnets.

    Raises ExportError above FP32_TOLERANCE, and where two subnets give the same logits: such inputs
    could not tell them apart.
    """
    inputs = graph_inputs(batch, bundle.manifest.inputs)
    worst = 0.0
    seen: list[tuple[str, Array]] = []
    for name, entry in bundle.pool(session.precision).items():
        difference = float(np.abs(session.run(inputs, entry.choice) - expected[name]).max())
        if not difference <= FP32_TOLERANCE:
            raise ExportError(
                f"{session.path}: subnet {name}: expected logits within {FP32_TOLERANCE:g} of torch, "
                f"off by {difference:.2g}"
            )
        for other, logits in seen:
            if np.abs(logits - expected[name]).max() < FP32_TOLERANCE:
                raise ExportError(
                    f"{session.path}: subnets {other} and {name} give the same logits; nothing was compared"
                )
        seen.append((name, expected[name]))
        worst = max(worst, difference)
    return worst


def measure_accuracy(
    session: ElasticSession,
    inputs: Sequence[str],
    entry: PoolEntry,
    rows: EncodedRows,
    *,
    batch_size: int = 32,
) -> float:
    """The metric of the graph with one subnet, from 0 to 1."""
    return measure(lambda batch: session.run(graph_inputs(batch, inputs), entry.choice), rows, batch_size=batch_size)


def accuracy_losses(fp32: Mapping[str, float], int8: Mapping[str, float]) -> dict[str, float]:
    """Subnets whose int8 accuracy is more than INT8_TOLERANCE below fp32, with the loss."""
    losses = {name: fp32[name] - value for name, value in int8.items()}
    # A loss of exactly one point is allowed; the sum of two floats must not decide it.
    return {name: loss for name, loss in losses.items() if loss > INT8_TOLERANCE + 1e-9}
