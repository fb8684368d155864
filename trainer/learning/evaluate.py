"""Measure every subnet by the metric of its task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch

from gearshift.runtime.bundle.tasks import TASKS
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning.metrics import Array
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.model.elastic import TaskModel


def measure(answer: Callable[[Batch], Array], rows: EncodedRows, *, batch_size: int) -> float:
    """Return the metric, from 0 to 1, of a function that answers a batch, (batch, ...)."""
    return OBJECTIVES[rows.task].score(_outputs(answer, rows, batch_size), rows)


@torch.no_grad()
def accuracy(model: TaskModel, subnet: object, rows: EncodedRows, *, batch_size: int = 64) -> float:
    """Return the metric of a subnet; rows of an embedding task must have their reference."""
    was_training = model.training
    model.eval()
    found = measure(partial(_answer, model, subnet), rows, batch_size=batch_size)
    model.train(was_training)
    return found


@torch.no_grad()
def measurements(model: TaskModel, subnet: object, rows: EncodedRows, *, batch_size: int = 64) -> dict[str, float]:
    """Return name -> every metric of the task, that of `accuracy` first."""
    was_training = model.training
    model.eval()
    outputs = _outputs(partial(_answer, model, subnet), rows, batch_size)
    model.train(was_training)
    objective = OBJECTIVES[rows.task]
    listed = {objective.metric: objective.score, **objective.others}
    return {name: score(outputs, rows) for name, score in listed.items()}


def accuracies(model: TaskModel, subnets: Mapping[str, object], rows: EncodedRows) -> Iterator[tuple[str, float]]:
    """Give name and metric of each subnet, one after the other, so that a caller can show progress."""
    for name, subnet in subnets.items():
        yield name, accuracy(model, subnet, rows)


@torch.no_grad()
def with_reference(model: TaskModel, rows: EncodedRows, *, batch_size: int = 64) -> EncodedRows:
    """Return rows of an embedding task with the full net's vectors as labels; rows of other tasks unchanged."""
    if rows.task != "embedding":
        return rows
    was_training = model.training
    model.eval()
    vectors = _outputs(partial(_answer, model, model.full), rows, batch_size)
    model.train(was_training)
    return dataclasses.replace(rows, labels=np.stack(vectors))


def _answer(model: TaskModel, subnet: object, batch: Batch) -> Array:
    """Return the subnet's answers, computed on the model's own device, as fp32 arrays."""
    answers: Array = model(batch.to(model.device), subnet).logits.float().cpu().numpy()
    return answers


def _outputs(answer: Callable[[Batch], Array], rows: EncodedRows, batch_size: int) -> list[Array]:
    """Return the answer to each row, in order and without padding."""
    outputs: dict[int, Array] = {}
    for batch in rows.batches(batch_size):
        for row, output in zip(batch.indices.tolist(), answer(batch), strict=True):
            outputs[row] = output[: len(rows.ids[row])] if TASKS[rows.task].per_token else output
    return [outputs[row] for row in range(len(rows))]
