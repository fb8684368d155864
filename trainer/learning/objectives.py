"""Losses and metrics of each task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gearshift.runtime.bundle.tasks import MEAN, MULTI_TASK
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning import losses, metrics

Metric = Callable[[Sequence[metrics.Array], EncodedRows], float]


@dataclass(frozen=True)
class TaskObjective:
    """Losses and metrics of a task."""

    loss: Callable[[Any, Batch], Tensor]
    """Loss of the model's output for a batch. The teacher stage minimises it, and heads and neurons are ranked by
    it."""
    distillation: Callable[[Any, Any, Batch], Tensor]
    """Loss of the outputs of a subnet and the teacher for a batch."""
    metric: str
    """Name of the metric `score`."""
    score: Metric
    taught: bool = True
    """Whether there are labels to fine-tune a teacher on."""
    others: Mapping[str, Metric] = field(default_factory=dict)
    """Further common metrics of the task, from -1 or 0 to 1; a run stores them, and nothing is chosen by them.
    NaN for one that the rows do not have."""


OBJECTIVES = {
    "classification": TaskObjective(
        losses.label_loss,
        losses.label_distillation,
        "accuracy",
        metrics.accuracy,
        others={"macro_f1": metrics.macro_f1, "matthews": metrics.matthews},
    ),
    "multi-label-classification": TaskObjective(
        losses.labels_loss,
        losses.labels_distillation,
        "micro_f1",
        metrics.micro_f1,
        others={"macro_f1": metrics.macro_f1_of_several, "exact_match": metrics.all_labels_right},
    ),
    "regression": TaskObjective(
        losses.number_loss,
        losses.number_distillation,
        "spearman",
        metrics.spearman,
        others={"pearson": metrics.pearson},
    ),
    "token-classification": TaskObjective(
        losses.token_loss,
        losses.token_distillation,
        "entity_f1",
        metrics.entity_f1,
        others={"precision": metrics.entity_precision, "recall": metrics.entity_recall},
    ),
    "question-answering": TaskObjective(
        losses.span_loss,
        losses.span_distillation,
        "answer_f1",
        metrics.answer_f1,
        others={
            "exact_match": metrics.exact_match,
            "has_answer_f1": metrics.has_answer_f1,
            "has_answer_exact_match": metrics.has_answer_exact_match,
            "no_answer_accuracy": metrics.no_answer_accuracy,
        },
    ),
    "embedding": TaskObjective(
        losses.direction_loss,
        losses.vector_distillation,
        "cosine",
        metrics.cosine,
        taught=False,
    ),
    "image-classification": TaskObjective(
        losses.label_loss,
        losses.label_distillation,
        "accuracy",
        metrics.accuracy,
        others={"macro_f1": metrics.macro_f1},
    ),
    "image-to-image": TaskObjective(
        losses.image_loss,
        losses.image_distillation,
        "pixel_similarity",
        metrics.pixel_similarity,
    ),
}
"""TaskObjective by task name, as in `runtime.bundle.tasks.TASKS`."""


def objective_of(task: str) -> TaskObjective:
    """Return the losses and metrics of a task, one of TASKS or MULTI_TASK."""
    return JOINT if task == MULTI_TASK else OBJECTIVES[task]


def _joint_loss(answers: Any, batch: Batch) -> Tensor:
    """Return the weighted sum of the heads' losses; `answers`: the answer of each."""
    return _sum(
        head.weight * OBJECTIVES[head.task].loss(answers[place], batch.of_head(place))
        for place, head in enumerate(batch.heads)
    )


def _joint_distillation(answers: Any, taught: Any, batch: Batch) -> Tensor:
    """Return the weighted sum of the heads' losses on the teacher's answers of the same head."""
    return _sum(
        head.weight * OBJECTIVES[head.task].distillation(answers[place], taught[place], batch.of_head(place))
        for place, head in enumerate(batch.heads)
    )


def _sum(losses: Iterable[Tensor]) -> Tensor:
    first, *others = losses
    return sum(others, start=first)


def head_scores(outputs: Sequence[Any], rows: EncodedRows) -> dict[str, float]:
    """Return head -> metric of its task; each output is a tuple with that of every head."""
    return {
        head.name: OBJECTIVES[head.rows.task].score([output[place] for output in outputs], head.rows)
        for place, head in enumerate(rows.heads)
    }


def joint_metrics(outputs: Sequence[Any], rows: EncodedRows) -> dict[str, float]:
    """Return MEAN and, as `HEAD.METRIC`, every metric of each head."""
    found = {MEAN: _mean_score(outputs, rows)}
    for place, head in enumerate(rows.heads):
        objective, own = OBJECTIVES[head.rows.task], [output[place] for output in outputs]
        for name, score in {objective.metric: objective.score, **objective.others}.items():
            found[f"{head.name}.{name}"] = score(own, head.rows)
    return found


def _mean_score(outputs: Sequence[Any], rows: EncodedRows) -> float:
    scores = head_scores(outputs, rows)
    return math.fsum(scores.values()) / len(scores)


JOINT = TaskObjective(_joint_loss, _joint_distillation, MEAN, _mean_score)
"""Losses and metrics of MULTI_TASK: sums of the heads' losses, and the mean of their metrics."""
