"""Compare the answers of an exported graph with those of the trained model, for every subnet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gearshift.errors import ExportError
from gearshift.export.graph.segments import Array
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.inference.session import ElasticSession
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.learning.evaluate import Measure, measure
from gearshift.trainer.learning.no_answer import with_threshold
from gearshift.trainer.model.elastic import TaskModel

FP32_TOLERANCE = 1e-4
"""Largest difference of an fp32 logit between the graph and torch."""

SEPARATION = 100 * FP32_TOLERANCE
"""Least difference of a logit at which inputs tell two subnets apart."""

FP16_TOLERANCE = 0.02
"""Largest mean difference of the logits of an fp16 subnet from torch, over their standard deviation. A value of 11 bits
has a relative error of 2**-12; some 150 roundings, in twelve layers in a row, add up to .003."""

INT8_TOLERANCE = 0.01
"""Largest loss of an int8 subnet against fp32 in the metric of its task, unless another is asked for: one point."""


Logits = tuple[Array, ...]
"""Logits of each head, (batch, labels), or (batch, tokens, labels) for a task per token."""


@torch.no_grad()
def torch_logits(model: TaskModel, subnets: Mapping[str, object], batch: Any) -> dict[str, Logits]:
    """Return name -> logits of each subnet of the trained model."""
    model.eval()
    answers = {name: model(batch, subnet).logits for name, subnet in subnets.items()}
    several = bool(model.head.parts)
    return {name: tuple(part.numpy() for part in (one if several else (one,))) for name, one in answers.items()}


def graph_inputs(batch: Any, names: Sequence[str]) -> dict[str, Array]:
    """Return the input arrays of a graph for a batch."""
    return {name: getattr(batch, name).numpy() for name in names}


def check_parity(session: ElasticSession, bundle: Bundle, batch: Any, expected: Mapping[str, Logits]) -> float:
    """Return the largest difference of a logit over all fp32 pool subnets.

    If the inputs separate two subnets by less than SEPARATION, the tolerance shrinks from FP32_TOLERANCE in proportion,
    so that one subnet's answer never passes for another's.
    Raises ExportError above the tolerance, and if two subnets differ by less than FP32_TOLERANCE.
    """
    inputs = graph_inputs(batch, bundle.manifest.inputs)
    tolerance = FP32_TOLERANCE
    if len(expected) > 1:
        one, other, apart = closest(expected, batch)
        if apart < FP32_TOLERANCE:
            raise ExportError(
                f"{session.path}: subnets {one} and {other} give the same logits; nothing was compared: they differ by "
                f"{apart:.1g} at most, over held-out rows and random tokens; leave one out of the pool, or train on"
            )
        tolerance = min(tolerance, tolerance * apart / SEPARATION)
    worst = 0.0
    for name, entry in bundle.pool(session.precision).items():
        difference = distance(session.run_heads(inputs, entry.choice), expected[name])
        if not difference <= tolerance:
            raise ExportError(
                f"{session.path}: subnet {name}: expected logits within {tolerance:.3g} of torch, "
                f"off by {difference:.2g}"
            )
        worst = max(worst, difference)
    return worst


def distance(one: Logits, other: Logits) -> float:
    """Return the largest difference of a logit; NaN if one is."""
    return float(np.max([np.abs(mine - theirs).max() for mine, theirs in zip(one, other, strict=True)]))


def closest(expected: Mapping[str, Logits], batch: Any) -> tuple[str, str, float]:
    """Return the two subnets with the most similar answers, and the largest difference of a logit between them.

    For a task that answers per token, padding does not count.
    """
    real = {name: _real(logits, batch) for name, logits in expected.items()}
    distances = {(one, other): distance(real[one], real[other]) for one, other in itertools.combinations(real, 2)}
    one, other = min(distances, key=lambda pair: np.nan_to_num(distances[pair], nan=np.inf))
    return one, other, distances[one, other]


def _real(logits: Logits, batch: Any) -> Logits:
    if all(own.ndim != 3 for own in logits):
        return logits  # of images too, which have no mask
    mask = batch.attention_mask.numpy().astype(bool)
    return tuple(own[mask] if own.ndim == 3 else own for own in logits)


def check_fp16(session: ElasticSession, bundle: Bundle, batch: Any, expected: Mapping[str, Logits]) -> None:
    """Raise ExportError if an fp16 subnet is off by more than FP16_TOLERANCE, for example because a value overflows."""
    inputs = graph_inputs(batch, bundle.manifest.inputs)
    for name, entry in bundle.pool(session.precision).items():
        pairs = zip(_real(session.run_heads(inputs, entry.choice), batch), _real(expected[name], batch), strict=True)
        errors = [np.abs(own - wanted).mean() / max(float(wanted.std()), FP32_TOLERANCE) for own, wanted in pairs]
        error = float(np.max(errors))
        if not error <= FP16_TOLERANCE:
            raise ExportError(
                f"{session.path}: subnet {name}: expected logits within {FP16_TOLERANCE:g} of their spread of torch, "
                f"off by {error:.3g}; a value may be too large for fp16: export another precision"
            )


def measure_accuracy(
    session: ElasticSession,
    inputs: Sequence[str],
    entry: PoolEntry,
    rows: EncodedRows,
    *,
    batch_size: int = 32,
) -> Measure:
    """Measure the metric of a graph with one subnet, at its threshold of no answer, and those of several heads."""
    rows = with_threshold(rows, entry.null_threshold)
    run: Callable[..., Any] = session.run_heads if rows.heads else session.run
    return measure(lambda batch: run(graph_inputs(batch, inputs), entry.choice), rows, batch_size=batch_size)


def accuracy_losses(
    fp32: Mapping[str, float], int8: Mapping[str, float], tolerance: float = INT8_TOLERANCE
) -> dict[str, float]:
    """Return subnet -> loss, for those whose int8 accuracy is more than `tolerance` below fp32."""
    losses = {name: fp32[name] - value for name, value in int8.items()}
    # A loss of exactly the tolerance is allowed; rounding of the difference must not decide it.
    return {name: loss for name, loss in losses.items() if loss > tolerance + 1e-9}
