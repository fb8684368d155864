"""Knowledge distillation: subnets learn a teacher's answers and hidden states (DynaBERT, section 2.2)."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.losses import hidden_loss
from gearshift.trainer.learning.matryoshka import cut_distillation
from gearshift.trainer.learning.objectives import objective_of
from gearshift.trainer.learning.sampling import same_width
from gearshift.trainer.learning.teacher_states import TeacherStates
from gearshift.trainer.model.elastic import ElasticClassifier, Output


@dataclass
class Targets:
    """Outputs of a teacher for one batch, each computed at most once, on first use."""

    teacher: Teacher
    batch: Batch
    _known: dict[Subnet, Output] = field(default_factory=dict)

    def of(self, subnet: Subnet) -> Output:
        """Return the teacher's output that a subnet learns from."""
        asked = self.teacher.subnet_for(subnet)
        if asked not in self._known:
            self._known[asked] = self.teacher.output(self.batch, asked)
        return self._known[asked]


class Teacher:
    """A frozen copy of a model as it is now, without dropout; or, `live`, the model itself as it is at each step."""

    def __init__(
        self,
        model: ElasticClassifier,
        *,
        live: bool = False,
        same_width: bool = False,
        autocast: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.model = model if live else copy.deepcopy(model).eval().requires_grad_(False)
        self.same_width, self.autocast = same_width, autocast
        self.kept: TeacherStates | None = None
        """Answers of the full net to the rows of a stage, and its states after every layer; None: each batch takes a
        pass."""

    def subnet_for(self, subnet: Subnet) -> Subnet:
        """Return the teacher's subnet that a subnet learns from: all layers, at full width or at the subnet's own."""
        return same_width(subnet) if self.same_width else self.model.full

    @torch.no_grad()
    def output(self, batch: Batch, subnet: Subnet) -> Output:
        """Return the output of a subnet of the teacher, read if it is kept."""
        with self.autocast():
            if self.kept is None or subnet != self.model.full:
                output: Output = self.model(batch, subnet)
                return output
            states = (self.kept.of(layer, batch) for layer in range(self.model.shape.layers))
            embedded = self.model.embeddings(batch.input_ids, batch.token_type_ids)
        return Output(self.kept.answers(batch, self.model.head.task), (embedded, *states))

    def teach(self, batch: Batch) -> Targets:
        """Return the targets of a batch."""
        return Targets(self, batch)


def distill_loss(
    student: Output,
    teacher: Output,
    batch: Batch,
    subnet: Subnet,
    *,
    task: str,
    logit_weight: float = 1.0,
    hidden_weight: float = 1.0,
    dims: Sequence[int] = (),
) -> Tensor:
    """Return the loss of a subnet's answers and hidden states against the teacher's; the default weights are those of
    DynaBERT, stage 2.

    `dims`: of an embedding, numbers of dimensions that vectors are cut to.
    """
    if dims:
        answers = cut_distillation(student.logits, teacher.logits, batch, dims)
    else:
        answers = objective_of(task).distillation(student.logits, teacher.logits, batch)
    loss = logit_weight * answers
    return loss + hidden_weight * hidden_loss(student, teacher, subnet, batch) if hidden_weight else loss
