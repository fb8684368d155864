"""DynaBERT: a teacher is fine-tuned, its heads and neurons are sorted, and two stages make it elastic.

1. teacher: fine-tune the full encoder on labels, where the task has any, then rank and reorder heads and neurons.
2. width: every width learns from the fine-tuned teacher.
3. depth: every width x depth learns from the full net of the stage before.

Each stage starts from the end of the one before, which is also its teacher. Per step the sandwich rule
runs some of the subnets, gradients add up, and the optimizer steps once; the teacher runs once per batch.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tqdm import tqdm

from gearshift.runtime.errors import InputError, ModelError
from gearshift.runtime.space import Subnet, kept_layers, uniform_grid
from gearshift.runtime.storage import replace_file, require_replaceable
from gearshift.trainer.batches import Batch, EncodedRows, encode
from gearshift.trainer.checkpoint import SUPERNET, Checkpoint, Run, load_checkpoint, load_run, save_run
from gearshift.trainer.data import DataSet
from gearshift.trainer.evaluate import accuracies, with_reference
from gearshift.trainer.importance import measure_importance, reorder
from gearshift.trainer.loop import STATE, Constraint, StagePlan, Step, run_stage
from gearshift.trainer.losses import hidden_loss
from gearshift.trainer.model import ElasticClassifier
from gearshift.trainer.sampling import sandwich
from gearshift.trainer.settings import STAGES, Settings
from gearshift.trainer.sparsity import Pruner, prunable, sparsity_of
from gearshift.trainer.tasks import OBJECTIVES, Objective


@dataclass(frozen=True)
class Training:
    """What the stages share."""

    checkpoint: Checkpoint
    settings: Settings
    rows: EncodedRows
    states: Path
    """Directory of what an interrupted run goes on from."""

    @property
    def model(self) -> ElasticClassifier:
        return self.checkpoint.model

    @property
    def objective(self) -> Objective:
        return OBJECTIVES[self.checkpoint.task]


def train_supernet(source: Path, data: DataSet, settings: Settings, out: Path, *, data_path: Path | None = None) -> Run:
    """Train a supernet on the encoder in `source` and write the run directory `out`.

    Interrupted, it goes on from the last saved state when called again with the same arguments.
    Raises InputError where such a state was made with other settings or other rows, StorageError where
    `out` cannot be written.
    """
    require_replaceable(out, marker=SUPERNET)
    torch.manual_seed(settings.seed)
    checkpoint = load_checkpoint(source, data.labels, task=data.task)
    _check(checkpoint, settings)
    checkpoint.model.embeddings.requires_grad_(not settings.freeze_embeddings)
    encoded = {
        split: encode(
            rows,
            checkpoint.labels,
            checkpoint.tokenizer,
            max_length=settings.max_length,
            task=data.task,
            drop_cut=split == "train",
        )
        for split, rows in data.splits.items()
    }
    shape = checkpoint.model.shape
    widths_only = list(uniform_grid(shape, settings.widths, (1.0,)).values())
    grid = uniform_grid(shape, settings.widths, settings.depths)
    states = out.resolve().with_name(f"{out.resolve().name}.partial")
    claim_states(states, _identity(source, checkpoint, data, settings))  # last, so that bad input leaves nothing behind
    training = Training(checkpoint, settings, encoded["train"], states)
    _teacher_stage(training)
    distil(
        training,
        StagePlan("width", settings.width_epochs, settings.width_lr),
        widths_only,
        settings.width_hidden_weight,
        _pruner(training, "width"),
    )
    distil(
        training,
        StagePlan("depth", settings.depth_epochs, settings.depth_lr),
        list(grid.values()),
        settings.depth_hidden_weight,
        _pruner(training, "depth"),
    )
    test = with_reference(checkpoint.model, encoded["test"])
    measured = dict(
        tqdm(
            accuracies(checkpoint.model, grid, test),
            total=len(grid),
            desc="test",
            unit="subnet",
            disable=None,
        )
    )
    facts: dict[str, Any] = {
        "kept_layers": {str(depth): list(kept_layers(shape.layers, depth)) for depth in settings.depths},
        "settings": settings.to_dict(),
        "data": None if data_path is None else str(data_path.resolve()),
        "rows": {split: len(rows) for split, rows in encoded.items()},
        "truncated_rows": {split: rows.truncated for split, rows in encoded.items()},
        "dropped_rows": encoded["train"].dropped,
        "max_length": settings.max_length,
    }
    if settings.pruning is not None:
        weights = prunable(checkpoint.model, embeddings=settings.pruning.embeddings)
        facts["sparsity"] = sparsity_of(weights)
    save_run(out, checkpoint, subnets=grid, accuracies=measured, facts=facts)
    shutil.rmtree(states, ignore_errors=True)
    return load_run(out)


def _check(checkpoint: Checkpoint, settings: Settings) -> None:
    if settings.max_length > checkpoint.model.shape.positions:
        raise InputError(
            f"settings: max_length {settings.max_length} is more than the model's "
            f"{checkpoint.model.shape.positions} positions"
        )
    if settings.pruning is not None and settings.prune_stage == "teacher" and not OBJECTIVES[checkpoint.task].taught:
        raise InputError(f"settings: {checkpoint.task} has no teacher stage to prune in; expected width or depth")
    if settings.teacher_epochs == 0 and not checkpoint.has_classifier:
        labels = ", ".join(checkpoint.labels)
        lacking = f"classifier for the labels {labels}" if labels else f"head for {checkpoint.task}"
        raise ModelError(f"{checkpoint.source}: has no {lacking}; set teacher_epochs above 0 to train one")


def _identity(source: Path, checkpoint: Checkpoint, data: DataSet, settings: Settings) -> dict[str, Any]:
    """What must be the same for an interrupted training to go on."""
    decisive = settings.to_dict()
    del decisive["save_every_s"]  # when to save decides nothing about what is trained
    return {
        "settings": decisive,
        "source": str(source),
        "task": data.task,
        "labels": list(checkpoint.labels),
        "rows": hashlib.sha256(repr(sorted(data.splits.items())).encode()).hexdigest(),
    }


def claim_states(states: Path, identity: dict[str, Any]) -> None:
    """Make the directory of states, or check that the one there is of the same training."""
    description = states / "training.json"
    content = json.dumps(identity, indent=1).encode()
    if description.is_file():
        if description.read_bytes() != content:
            raise InputError(
                f"{states}: holds an interrupted training with other settings or rows; "
                "repeat it as it was, delete it, or name another output"
            )
        return
    replace_file(description, content)


def _teacher_stage(training: Training) -> None:
    """Fine-tune on labels, if any, then sort heads and neurons by importance."""
    if _finished(training, "teacher"):
        return
    model, settings = training.model, training.settings

    def step(batch: Batch, index: int) -> float:
        loss = training.objective.loss(model(batch, model.full).logits, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    plan = StagePlan("teacher", settings.teacher_epochs, settings.teacher_lr, settings.head_lr_factor)
    if training.objective.taught:
        _run(training, plan, step, _pruner(training, plan.name))
    count = -(-settings.importance_rows // settings.batch_size)
    batches = itertools.islice(training.rows.batches(settings.batch_size, seed=settings.seed), count)
    reorder(
        model,
        measure_importance(model, tqdm(batches, total=count, desc="importance", unit="batch", disable=None)),
    )
    _finish(training, "teacher")


def distil(
    training: Training,
    plan: StagePlan,
    subnets: list[Subnet],
    hidden_weight: float,
    constraint: Constraint | None = None,
) -> None:
    """Train subnets on the answers and hidden states of the full net as it was before the stage."""
    if _finished(training, plan.name):
        return
    model, settings = training.model, training.settings
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    ordered = sorted(subnets, key=lambda subnet: subnet.parameters(model.shape), reverse=True)

    def step(batch: Batch, index: int) -> float:
        target = teacher(batch, teacher.full)
        total = 0.0
        for subnet in sandwich(ordered, count=settings.random_subnets, seed=settings.seed, step=index):
            student = model(batch, subnet)
            loss = training.objective.distillation(student.logits, target.logits, batch)
            loss = loss + hidden_weight * hidden_loss(student, target, subnet, batch.attention_mask)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    _run(training, plan, step, constraint)
    _finish(training, plan.name)


def _run(training: Training, plan: StagePlan, step: Step, constraint: Constraint | None) -> None:
    if plan.epochs > 0:
        run_stage(
            training.model,
            training.rows,
            plan,
            training.settings,
            step,
            states=training.states,
            constraint=constraint,
        )


def _pruner(training: Training, stage: str) -> Pruner | None:
    """What prunes in a stage: more and more where the settings say so, and from then on what is zero stays zero."""
    pruning, first = training.settings.pruning, training.settings.prune_stage
    if pruning is None or STAGES.index(stage) < STAGES.index(first):
        return None
    return Pruner(training.model, pruning)


def _finished(training: Training, stage: str) -> bool:
    """Take the weights that an interrupted run had at the end of a stage, if it came so far."""
    path = training.states / f"after-{stage}.safetensors"
    if not path.is_file():
        return False
    training.model.load_state_dict(safetensors.torch.load_file(path))
    return True


def _finish(training: Training, stage: str) -> None:
    replace_file(training.states / f"after-{stage}.safetensors", safetensors.torch.save(training.model.state_dict()))
    (training.states / STATE).unlink(missing_ok=True)
