"""Measure every subnet by the metric of its task."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gearshift.runtime.bundle.tasks import TASKS
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning.metrics import Array
from gearshift.trainer.learning.no_answer import best_threshold, with_threshold
from gearshift.trainer.learning.objectives import OBJECTIVES, head_scores, joint_metrics, objective_of
from gearshift.trainer.model.elastic import TaskModel

MEASURED_ROWS = 64
"""Number of rows that are answered at once when a subnet is measured."""


@dataclass(frozen=True)
class Measure:
    """Metric of some answers."""

    score: float
    """Metric of the task, from 0 to 1."""
    heads: dict[str, float]
    """Metric of each head, if there are several."""


NO_THRESHOLDS: Mapping[str, float] = {}


@dataclass(frozen=True)
class HeldOutMetrics:
    """Metrics of every subnet on the held-out rows: those of dev choose, those of test are reported."""

    task: str
    dev: dict[str, dict[str, float]]
    """Name -> every metric of the subnet on the dev rows, at the threshold of no answer that they chose."""
    test: dict[str, dict[str, float]]
    """Name -> every metric of the subnet on the test rows."""

    @property
    def facts(self) -> dict[str, dict[str, dict[str, float]]]:
        """Metrics in the form that a run stores; `metrics` were those of test before there were any of dev."""
        return {"metrics": self.test, "dev_metrics": self.dev}

    @property
    def accuracies(self) -> dict[str, float]:
        """Metric of the task by subnet, on the test rows."""
        return {name: each[objective_of(self.task).metric] for name, each in self.test.items()}

    @property
    def dev_accuracies(self) -> dict[str, float]:
        """Metric of the task by subnet, on the dev rows."""
        return {name: each[objective_of(self.task).metric] for name, each in self.dev.items()}


def measure(answer: Callable[[Batch], Any], rows: EncodedRows, *, batch_size: int) -> Measure:
    """Measure a function that answers a batch, (batch, ...); for several heads with a tuple of their answers."""
    outputs = _outputs(answer, rows, batch_size)
    return Measure(objective_of(rows.task).score(outputs, rows), head_scores(outputs, rows))


def accuracy(model: TaskModel, subnet: object, rows: EncodedRows, *, batch_size: int = MEASURED_ROWS) -> float:
    """Return the metric of a subnet; rows of an embedding task must have their reference."""
    return objective_of(rows.task).score(outputs_of(model, subnet, rows, batch_size=batch_size), rows)


def dev_accuracy(model: TaskModel, subnet: object, dev: EncodedRows, *, batch_size: int = MEASURED_ROWS) -> float:
    """Return the metric of a subnet on dev rows; if they have a threshold of no answer, then at the best one."""
    outputs = outputs_of(model, subnet, dev, batch_size=batch_size)
    if dev.null_threshold is not None:
        dev = with_threshold(dev, best_threshold(outputs, dev))
    return objective_of(dev.task).score(outputs, dev)


def null_thresholds(
    model: TaskModel, subnets: Mapping[str, object], dev: EncodedRows, *, batch_size: int = MEASURED_ROWS
) -> dict[str, float]:
    """Return name -> threshold of no answer that is best for a subnet on dev rows, for a net that learnt of it."""
    return {
        name: best_threshold(outputs_of(model, subnet, dev, batch_size=batch_size), dev)
        for name, subnet in subnets.items()
    }


def measurements(
    model: TaskModel, subnet: object, rows: EncodedRows, *, batch_size: int = MEASURED_ROWS
) -> dict[str, float]:
    """Return name -> every metric of the task that the rows have, that of `accuracy` first."""
    return metrics_of(outputs_of(model, subnet, rows, batch_size=batch_size), rows)


def metrics_of(outputs: Sequence[Array], rows: EncodedRows) -> dict[str, float]:
    """Return name -> every metric of outputs, as in `measurements`."""
    if rows.heads:
        return joint_metrics(outputs, rows)
    objective = OBJECTIVES[rows.task]
    listed = {objective.metric: objective.score, **objective.others}
    found = {name: score(outputs, rows) for name, score in listed.items()}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def held_out_metrics(
    model: TaskModel,
    subnets: Mapping[str, object],
    held_out: Mapping[str, EncodedRows],
    thresholds: Mapping[str, float] = NO_THRESHOLDS,
) -> HeldOutMetrics:
    """Measure every subnet on the splits `dev` and `test`, with a progress bar; arguments as in `accuracies`."""
    found = {
        split: {
            name: measurements(model, subnet, with_threshold(held_out[split], thresholds.get(name)))
            for name, subnet in tqdm(subnets.items(), desc=split, unit="subnet", disable=None)
        }
        for split in ("dev", "test")
    }
    return HeldOutMetrics(held_out["test"].task, found["dev"], found["test"])


def accuracies(
    model: TaskModel,
    subnets: Mapping[str, object],
    rows: EncodedRows,
    thresholds: Mapping[str, float] = NO_THRESHOLDS,
) -> Iterator[tuple[str, float]]:
    """Give name and metric of each subnet, one after the other, so that a caller can show progress.

    `thresholds`: those of `null_thresholds`, for a net that knows questions without an answer.
    """
    for name, subnet in subnets.items():
        yield name, accuracy(model, subnet, with_threshold(rows, thresholds.get(name)))


def with_reference(model: TaskModel, rows: EncodedRows, *, batch_size: int = MEASURED_ROWS) -> EncodedRows:
    """Return rows of an embedding task with the full net's vectors as labels; rows of other tasks unchanged."""
    if rows.task != "embedding":
        return rows
    return dataclasses.replace(rows, labels=np.stack(outputs_of(model, model.full, rows, batch_size=batch_size)))


@torch.no_grad()
def outputs_of(model: TaskModel, subnet: object, rows: EncodedRows, *, batch_size: int = MEASURED_ROWS) -> list[Any]:
    """Return the subnet's answer to each row, in order and without padding: an array, or for several heads a tuple with
    one of each."""
    was_training = model.training
    model.eval()
    outputs = _outputs(partial(_answer, model, subnet), rows, batch_size)
    model.train(was_training)
    return outputs


def _answer(model: TaskModel, subnet: object, batch: Batch) -> Any:
    """Return the subnet's answers, computed on the model's own device, as fp32 arrays."""
    logits = model(batch.to(model.device), subnet).logits
    return tuple(map(_array, logits)) if batch.heads else _array(logits)


def _array(logits: Tensor) -> Array:
    answers: Array = logits.float().cpu().numpy()
    return answers


def _outputs(answer: Callable[[Batch], Any], rows: EncodedRows, batch_size: int) -> list[Any]:
    """Return the answer to each row, in order and without padding."""
    outputs: dict[int, Any] = {}
    for batch in rows.batches(batch_size):
        answers = answer(batch)
        by_row = zip(*answers, strict=True) if rows.heads else answers
        for row, output in zip(batch.indices.tolist(), by_row, strict=True):
            outputs[row] = _without_padding(output, rows, row)
    return [outputs[row] for row in range(len(rows))]


def _without_padding(output: Any, rows: EncodedRows, row: int) -> Any:
    if rows.heads:
        return tuple(_without_padding(own, head.rows, row) for own, head in zip(output, rows.heads, strict=True))
    return output[: len(rows.ids[row])] if TASKS[rows.task].per_token else output
