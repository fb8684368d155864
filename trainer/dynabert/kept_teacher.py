"""Outputs of a stage's teacher, kept on the disk where rows come more than once: the teacher never changes in a stage.

The system holds as much of the files in memory as there is room for.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gearshift.errors import ModelError, StorageError
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.learning.devices import enough_memory, smaller_steps
from gearshift.trainer.learning.distillation import Teacher
from gearshift.trainer.learning.interrupted import read_note, save_note
from gearshift.trainer.learning.loop import StagePlan
from gearshift.trainer.learning.teacher_states import Wanted, teacher_states
from gearshift.trainer.model.elastic import ElasticClassifier

if TYPE_CHECKING:
    from gearshift.trainer.dynabert.stages import Training

LEAST_EPOCHS = 1.25
"""Least epochs of a stage whose teacher is kept: in fewer, a fifth of its passes at most would be saved."""


@contextlib.contextmanager
def kept_teacher(training: Training, teacher: Teacher, plan: StagePlan, rows: EncodedRows) -> Iterator[None]:
    """Keep the teacher's outputs for all rows of a stage while the block runs, if that pays and there is room.

    A stage that was interrupted goes on as it began, since kept states have the precision of float16. Raises
    StorageError or ModelError if it began with kept outputs and they cannot be made again.
    """
    folder = training.states / f"teacher-{plan.name}"
    note = training.states / f"teacher-{plan.name}.json"
    began = read_note(note)
    if keeps_teacher(training, plan.epochs, rows) if began is None else began:
        try:
            _keep(training, teacher, plan, rows)
        except (StorageError, ModelError):  # of disk and memory, or of states beyond float16
            if began:
                raise
    if began is None and training.main:
        save_note(note, teacher.kept is not None)
    yield
    teacher.kept = None
    shutil.rmtree(folder, ignore_errors=True)


def keeps_teacher(training: Training, epochs: float, rows: EncodedRows, *, copies: int = 0) -> bool:
    """Return whether keeping the teacher's outputs pays in a stage of so many epochs, within the disk space allowed.

    `copies`: number of copies of each row that the stage has besides.

    On a GPU a pass costs less than bringing its states there; of several processes each would need those of all rows.
    """
    settings, accelerator = training.settings, training.accelerator
    if (
        not settings.teacher_cache_gb
        or epochs < LEAST_EPOCHS
        or accelerator.device.type != "cpu"
        or accelerator.num_processes > 1
    ):
        return False
    size = (1 + copies) * _outputs(training.model).bytes(training.model, rows)
    return not settings.same_width_teacher and size <= settings.teacher_cache_gb * 1e9


def _keep(training: Training, teacher: Teacher, plan: StagePlan, rows: EncodedRows) -> None:
    micro_batch = training.settings.micro_batch
    with enough_memory(f"stage {plan.name}: the teacher's pass", smaller_steps(micro_batch)):
        teacher.kept = teacher_states(
            teacher.model,
            rows,
            _outputs(teacher.model),
            training.states / f"teacher-{plan.name}",
            plan.name,
            batch_rows=micro_batch or training.settings.batch_size,
            autocast=teacher.autocast,
        )


def _outputs(model: ElasticClassifier) -> Wanted:
    """Return the outputs of a teacher that are kept: all but its embeddings, which a look-up gives again."""
    return Wanted(tuple(range(1, model.shape.layers + 1)), answers=True)
