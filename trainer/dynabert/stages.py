"""The stages of DynaBERT, each on the model as the previous one left it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.dynabert.kept_teacher import kept_teacher
from gearshift.trainer.dynabert.settings import BROUGHT, Settings
from gearshift.trainer.dynabert.training_stages import FINAL, TEACHER, comes_before
from gearshift.trainer.learning.devices import enough_memory, make_accelerator, smaller_steps
from gearshift.trainer.learning.distillation import Teacher, distill_loss
from gearshift.trainer.learning.evaluate import dev_accuracy
from gearshift.trainer.learning.importance import measure_importance, reorder
from gearshift.trainer.learning.interrupted import STATE, forget_state, load_weights, save_weights
from gearshift.trainer.learning.loop import Constraint, Evaluation, Losses, StagePlan, run_stage
from gearshift.trainer.learning.matryoshka import similarity_loss
from gearshift.trainer.learning.objectives import TaskObjective, objective_of
from gearshift.trainer.learning.sampling import Sampler
from gearshift.trainer.learning.sparsity import Pruner
from gearshift.trainer.model.elastic import ElasticClassifier


class Learner(Protocol):
    """Elastic model for a task: of a checkpoint, or a net of convolutions."""

    @property
    def model(self) -> Any: ...
    @property
    def task(self) -> str: ...


@dataclass(frozen=True)
class Training:
    """Model, rows, settings and states, shared by the stages."""

    checkpoint: Learner
    settings: Settings
    rows: Any
    """Training rows: `EncodedRows`, or `ImageRows`."""
    states: Path
    """Directory of the states from which an interrupted run continues."""
    accelerator: Accelerator = field(default_factory=make_accelerator)
    dev: Any = None
    """Rows on which the best weights of a stage are chosen, with their reference for an embedding task, and with a
    threshold of no answer where it is learnt; None: a stage ends with its last weights."""
    augmented: Callable[[], EncodedRows] | None = None
    """Function that returns the training rows with their augmented copies; None if there are none."""
    ranked: int = 0
    """Number of training rows on which heads and neurons are ranked; 0 leaves their order."""
    taught_by: ElasticClassifier | None = None
    """Model whose full net teaches in every stage; None: the full net as it is before each."""

    prepare: Callable[[], None] = lambda: None
    """Function that is called before subnets are measured: it takes the statistics of their norms, if they have any."""

    @property
    def model(self) -> Any:
        return self.checkpoint.model

    @property
    def objective(self) -> TaskObjective:
        return objective_of(self.checkpoint.task)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and shows."""
        return bool(self.accelerator.is_main_process)

    @property
    def taught(self) -> bool:
        """Whether the full net learns in a teacher stage."""
        return self.objective.taught or bool(self.settings.matryoshka_dims)

    def sampler(self, subnets: Sequence[Subnet]) -> Sampler:
        """Return the sampler of these subnets by the settings."""
        settings, shape = self.settings, self.model.shape
        ordered = sorted(subnets, key=lambda subnet: subnet.size(shape), reverse=True)
        return Sampler(
            tuple(ordered), settings.sampling, settings.random_subnets, mixed=settings.mixed_widths, seed=settings.seed
        )


def teacher_stage(training: Training) -> Training:
    """Run the stage of the teacher, and return the training of the stages that follow.

    Where these start from the encoder as it was brought, it is put back, below the tuned head, and the tuned net
    teaches in all of them.
    """
    model, settings = training.model, training.settings
    tuned = settings.start == BROUGHT and settings.epochs(TEACHER.name) > 0  # or it is what was brought
    brought = copy.deepcopy(model.encoder_state()) if tuned else {}
    _tune(training)
    if not brought:
        return training
    taught_by = copy.deepcopy(model)
    model.load_state_dict({**model.state_dict(), **brought})
    return replace(training, taught_by=taught_by)


def _tune(training: Training) -> None:
    """Fine-tune on labels, if any, or on similarities for a Matryoshka embedding; then sort heads and neurons by
    importance, if they are to be ranked."""
    if _finished(training, TEACHER.name):
        return
    model, settings = training.model, training.settings
    plan = StagePlan(TEACHER.name, settings.epochs(TEACHER.name), settings.teacher_lr, settings.head_lr_factor)
    if training.taught:
        losses = teacher_losses(training)
        _run(training, plan, training.rows, losses, [model.full], constraint=pruner(training, plan.name))
    model.to(training.accelerator.device)
    if training.ranked:
        _rank(training)
    _finish(training, TEACHER.name)


def teacher_losses(training: Training) -> Losses:
    """Return the loss of the full net on labels, or on the similarities of the vectors that it gives now."""
    full = training.model.full
    if training.objective.taught:
        return label_losses(training, lambda index: [full])
    reference, dims = make_teacher(training), training.settings.matryoshka_dims

    def losses(model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        def loss() -> Tensor:
            wanted = reference.output(batch, full).logits
            return similarity_loss(model(batch, full).logits, wanted, batch, dims)

        return [loss]

    return losses


def _rank(training: Training) -> None:
    model, settings = training.model, training.settings
    size = settings.batch_size * training.accelerator.num_processes
    count = -(-training.ranked // size)
    batches = itertools.islice(training.rows.batches(size, seed=settings.seed), count)
    shown = tqdm(batches, total=count, desc="importance", unit="batch", disable=None if training.main else True)
    with enough_memory("importance", smaller_steps(settings.micro_batch)):
        reorder(model, measure_importance(model, shown, micro_batch=settings.micro_batch))


def distil_stage(
    training: Training,
    plan: StagePlan,
    subnets: Sequence[Subnet],
    hidden_weight: float,
    constraint: Constraint | None = None,
) -> None:
    """Train subnets on the answers and hidden states of the full net from before the stage."""
    if plan.epochs == 0 or _finished(training, plan.name):
        return
    rows = training.rows if training.augmented is None else training.augmented()
    teacher = make_teacher(training)
    with kept_teacher(training, teacher, plan, rows):
        losses = distil_losses(training, subnets, hidden_weight, teacher)
        _run(training, plan, rows, losses, subnets, constraint=constraint)
    _finish(training, plan.name)


def make_teacher(training: Training) -> Teacher:
    """Return the teacher of a stage: the model that teaches throughout, else the full net as it is now."""
    same_width, autocast = training.settings.same_width_teacher, training.accelerator.autocast
    teacher = Teacher(training.taught_by or training.model, same_width=same_width, autocast=autocast)
    teacher.model.to(training.accelerator.device)
    return teacher


def distil_losses(training: Training, subnets: Sequence[Subnet], hidden_weight: float, teacher: Teacher) -> Losses:
    """Return the losses of the subnets drawn for a step, on the teacher's answers and hidden states."""
    settings, sampler, accelerator = training.settings, training.sampler(subnets), training.accelerator
    live = Teacher(training.model, live=True, autocast=accelerator.autocast)

    def losses(model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        fixed, moving = teacher.teach(batch), live.teach(batch)

        def loss_of(subnet: Subnet) -> Tensor:
            targets = moving if settings.in_place and subnet != training.model.full else fixed
            output = model(batch, subnet)
            loss = distill_loss(
                output,
                targets.of(subnet),
                batch,
                subnet,
                task=training.checkpoint.task,
                logit_weight=settings.logit_weight,
                hidden_weight=hidden_weight,
                dims=settings.matryoshka_dims,
            )
            if settings.label_weight:
                loss = loss + settings.label_weight * training.objective.loss(output.logits, batch)
            return loss

        # The largest comes last: only it has a gradient for every weight, and processes exchange theirs then.
        return [partial(loss_of, subnet) for subnet in reversed(sampler.draw(index))]

    return losses


def final_stage(training: Training, subnets: Sequence[Subnet]) -> None:
    """Train subnets on labels (DynaBERT's optional third stage)."""
    settings = training.settings
    if not settings.final_epochs or _finished(training, FINAL.name):
        return
    plan = StagePlan(FINAL.name, settings.final_epochs, settings.final_lr)
    losses = label_losses(training, training.sampler(subnets).draw)
    _run(training, plan, training.rows, losses, subnets, constraint=pruner(training, plan.name))
    _finish(training, FINAL.name)


def label_losses(training: Training, draw: Callable[[int], list[Subnet]]) -> Losses:
    """Return the losses on labels of the subnets drawn for a step."""

    def losses(model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        def loss_of(subnet: Subnet) -> Tensor:
            return training.objective.loss(model(batch, subnet).logits, batch)

        return [partial(loss_of, subnet) for subnet in reversed(draw(index))]

    return losses


def _run(
    training: Training,
    plan: StagePlan,
    rows: Any,
    losses: Losses,
    subnets: Sequence[Subnet],
    *,
    constraint: Constraint | None = None,
) -> None:
    """Run a stage; its score is the sum of the subnets' metrics on the dev rows, as in DynaBERT."""
    if plan.epochs == 0:
        return
    model, dev, settings = training.model, training.dev, training.settings
    evaluation: Evaluation | None = None

    def score() -> float:
        training.prepare()
        return sum(dev_accuracy(model, subnet, dev) for subnet in subnets)

    if dev is not None and settings.evaluate_every:
        evaluation = Evaluation(
            score,
            settings.evaluate_every,
            settings.patience,
        )
    run_stage(
        model,
        rows,
        plan,
        settings,
        losses,
        states=training.states,
        accelerator=training.accelerator,
        micro_batch=settings.micro_batch,
        evaluation=evaluation,
        constraint=constraint,
    )


def pruner(training: Training, stage: str) -> Pruner | None:
    """Return the pruner of a stage: zeros grow from the stage named in the settings on, and stay zeros in later
    ones."""
    pruning, first = training.settings.pruning, training.settings.prune_stage
    if pruning is None or comes_before(stage, first):
        return None
    return Pruner(training.model, pruning)


def _finished(training: Training, stage: str) -> bool:
    """Load the weights that an interrupted run had at the end of a stage; return whether there are any."""
    path = _weights_after(training, stage)
    there = path.is_file()
    training.accelerator.wait_for_everyone()  # all must have looked before one of them writes the file
    if there:
        load_weights(path, training.model)
    return there


def _finish(training: Training, stage: str) -> None:
    if training.main:
        save_weights(_weights_after(training, stage), training.model)
        forget_state(training.states / STATE)
    training.accelerator.wait_for_everyone()


def _weights_after(training: Training, stage: str) -> Path:
    return training.states / f"after-{stage}.safetensors"
