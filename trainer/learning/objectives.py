"""Losses and metrics of each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning import losses, metrics

Metric = Callable[[Sequence[metrics.Array], EncodedRows], float]


@dataclass(frozen=True)
class TaskObjective:
    """Losses and metrics of a task."""

    loss: Callable[[Tensor, Batch], Tensor]
    """Loss of the model's output for a batch. The teacher stage minimises it, and heads and neurons are ranked by
    it."""
    distillation: Callable[[Tensor, Tensor, Batch], Tensor]
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
}
"""TaskObjective by task name, as in `runtime.bundle.tasks.TASKS`."""
