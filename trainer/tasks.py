"""What each task is trained on and measured by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from gearshift.trainer import losses, metrics
from gearshift.trainer.batches import Batch, EncodedRows


@dataclass(frozen=True)
class Objective:
    """Losses and metric of a task."""

    loss: Callable[[Tensor, Batch], Tensor]
    """Of what the model gives for a batch. The teacher stage minimises it, and heads and neurons are ranked by it."""
    distillation: Callable[[Tensor, Tensor, Batch], Tensor]
    """Of what a subnet and the teacher give for a batch."""
    metric: str
    """Its name."""
    score: Callable[[Sequence[metrics.Array], EncodedRows], float]
    taught: bool = True
    """Whether there are labels to fine-tune a teacher on."""


OBJECTIVES = {
    "classification": Objective(
        losses.label_loss,
        losses.label_distillation,
        "accuracy",
        metrics.accuracy,
    ),
    "multi-label-classification": Objective(
        losses.labels_loss,
        losses.labels_distillation,
        "micro_f1",
        metrics.micro_f1,
    ),
    "regression": Objective(
        losses.number_loss,
        losses.number_distillation,
        "spearman",
        metrics.spearman,
    ),
    "token-classification": Objective(
        losses.token_loss,
        losses.token_distillation,
        "entity_f1",
        metrics.entity_f1,
    ),
    "question-answering": Objective(
        losses.span_loss,
        losses.span_distillation,
        "answer_f1",
        metrics.answer_f1,
    ),
    "embedding": Objective(
        losses.direction_loss,
        losses.vector_distillation,
        "cosine",
        metrics.cosine,
        taught=False,
    ),
}
"""Name of one of `runtime.tasks.TASKS` -> how it is learnt."""
