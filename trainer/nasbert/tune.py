"""Tuning of a trained net for a task, with labels and a teacher's answers: the second of the paper's two stages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gearshift.errors import InputError, ModelError
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.files.atomic import require_replaceable, sha256_of
from gearshift.trainer.data.batches import Batch, EncodedRows, encode
from gearshift.trainer.data.splits import DataSet, data_hash
from gearshift.trainer.data.tokenizer import check_length
from gearshift.trainer.data.unanswerable import has_unanswerable
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.learning.evaluate import accuracy, dev_accuracy, null_thresholds
from gearshift.trainer.learning.interrupted import claim, fixed_settings
from gearshift.trainer.learning.loop import StagePlan, run_stage
from gearshift.trainer.learning.no_answer import DEFAULT, with_threshold
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.model.elastic import POOLED, Head
from gearshift.trainer.model.run import WEIGHTS, Run
from gearshift.trainer.nasbert.model import MixedModel, start_small
from gearshift.trainer.nasbert.run import MIXED, MixedCheckpoint, MixedRun, load_mixed_run, save_mixed_run
from gearshift.trainer.nasbert.settings import TuneSettings


class TeacherLogits:
    """Cache of a teacher's logits for rows, each computed on first use."""

    def __init__(self, teacher: Run, rows: EncodedRows) -> None:
        self._model = teacher.checkpoint.model.eval().to(training_device())
        self._known: dict[int, NDArray[np.float32]] = {}
        self._lengths = [len(ids) for ids in rows.ids]
        self._per_token = teacher.checkpoint.task not in POOLED

    @torch.no_grad()
    def of(self, batch: Batch) -> Tensor:
        """Return the logits of a batch: (batch, labels), or (batch, tokens, labels) with zeros for padding."""
        rows, device = batch.indices.tolist(), batch.input_ids.device
        if any(row not in self._known for row in rows):
            logits = self._model(batch, self._model.full).logits.float().cpu().numpy()
            for row, answer in zip(rows, logits, strict=True):
                self._known[row] = answer[: self._lengths[row]].copy() if self._per_token else answer.copy()
        if not self._per_token:
            return torch.from_numpy(np.stack([self._known[row] for row in rows])).to(device)
        padded = torch.zeros(*batch.input_ids.shape, self._known[rows[0]].shape[-1])
        for place, row in enumerate(rows):
            padded[place, : self._lengths[row]] = torch.from_numpy(self._known[row])
        return padded.to(device)


def tune_net(
    net: MixedRun,
    teacher: Run | None,
    data: DataSet,
    settings: TuneSettings,
    out: Path,
) -> MixedRun:
    """Tune a net for the task of a data set and write its run directory `out`, which `export` reads.

    L = (1 - w) * labels + w * teacher (NAS-BERT, equation 5).
    An interrupted tuning resumes from its last saved state when called again with the same arguments. The run records
    the path of `data`. Raises InputError if a teacher is needed but missing, or has another task or other labels.
    """
    require_replaceable(out, marker=MIXED, source=net.path)
    _check(net, teacher, data, settings)
    objective, weight = OBJECTIVES[data.task], settings.distillation_weight
    torch.manual_seed(settings.seed)
    model = _with_head(net, data)
    tokenizer = net.checkpoint.tokenizer
    encoded = {
        split: encode(
            rows,
            data.labels,
            tokenizer,
            max_length=settings.max_length,
            task=data.task,
            drop_cut=split == "train",
            held_out=split != "train",
        )
        for split, rows in data.splits.items()
    }
    partial = out.resolve().with_name(f"{out.resolve().name}.partial")
    weights = {
        "net_weights": sha256_of(net.path / WEIGHTS),
        "teacher_weights": None if teacher is None else sha256_of(teacher.path / WEIGHTS),
    }
    defaults = {"settings": TuneSettings().to_dict(), **weights}
    claim(partial, {**_identity(net, teacher, data, settings), **weights}, defaults=defaults)
    (name, subnet), *_ = net.subnets.items()
    answers = TeacherLogits(teacher, encoded["train"]) if teacher is not None and weight > 0 else None

    def losses(wrapped: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        def loss() -> Tensor:
            logits = wrapped(batch, subnet).logits
            both = (1 - weight) * objective.loss(logits, batch)
            if answers is not None:
                both = both + weight * objective.distillation(logits, answers.of(batch), batch)
            return both

        return [loss]

    plan = StagePlan("tune", settings.epochs, settings.lr, settings.head_lr_factor)
    run_stage(model, encoded["train"], plan, settings, losses, states=partial)
    dev, thresholds = encoded["dev"], dict[str, float]()
    if has_unanswerable(encoded["train"].rows):
        dev = with_threshold(dev, DEFAULT)
        thresholds = null_thresholds(model, {name: subnet}, dev)
    of_dev = dev_accuracy(model, subnet, dev)
    facts: dict[str, Any] = {
        "settings": settings.to_dict(),
        "net": dict(net.facts),
        **data.facts,
        "rows": {split: len(rows) for split, rows in encoded.items()},
        "max_length": settings.max_length,
        "dev": of_dev,
    }
    checkpoint = MixedCheckpoint(model, tokenizer, data.labels, net.checkpoint.source)
    found = {name: accuracy(model, subnet, with_threshold(encoded["test"], thresholds.get(name)))}
    save_mixed_run(
        out,
        checkpoint,
        subnets={name: subnet},
        accuracies=found,
        dev_accuracies={name: of_dev},
        facts=facts,
        thresholds=thresholds,
    )
    shutil.rmtree(partial, ignore_errors=True)
    return load_mixed_run(out)


def _check(net: MixedRun, teacher: Run | None, data: DataSet, settings: TuneSettings) -> None:
    if not OBJECTIVES[data.task].taught:
        raise InputError(f"{data.task}: expected a task with labels to tune a net for; choose another task")
    if len(net.subnets) != 1:
        raise ModelError(f"{net.path}: expected the run of one net, found {len(net.subnets)}; train one of them first")
    if settings.distillation_weight > 0:
        _check_teacher(net, teacher, data)
    if settings.max_length > net.checkpoint.model.shape.positions:
        positions = net.checkpoint.model.shape.positions
        raise InputError(
            f"settings: expected max_length of at most the net's {positions} positions, got {settings.max_length}"
        )
    check_length(net.checkpoint.tokenizer, settings.max_length)


def _check_teacher(net: MixedRun, teacher: Run | None, data: DataSet) -> None:
    if teacher is None:
        raise InputError(
            "tuning: expected a teacher, got none; pass a run of `gearshift train`, or set distillation_weight to 0"
        )
    found = (teacher.checkpoint.task, teacher.checkpoint.labels)
    if found != (data.task, data.labels):
        raise InputError(
            f"{teacher.path}: expected a teacher for {data.task} of the labels {', '.join(data.labels)}, found one for "
            f"{found[0]} of {', '.join(found[1])}"
        )
    theirs, own = (run.checkpoint.tokenizer.to_str() for run in (teacher, net))
    if theirs != own:
        raise InputError(f"{teacher.path}: its tokenizer is not that of {net.path}; take a teacher of the same encoder")


def _with_head(net: MixedRun, data: DataSet) -> MixedModel:
    """Return the net with a new classifier, even if it was tuned before."""
    old = net.checkpoint.model
    outputs = TASKS[data.task].outputs or len(data.labels)
    model = MixedModel(old.space, outputs, head=Head(data.task), dropout=old.dropout, norm_eps=old.norm_eps)
    start_small(model)
    known = {name for name in model.state_dict() if not name.startswith("classifier.")}
    kept = {name: tensor for name, tensor in old.state_dict().items() if name in known}
    model.load_state_dict(kept, strict=False)
    return model


def _identity(net: MixedRun, teacher: Run | None, data: DataSet, settings: TuneSettings) -> dict[str, Any]:
    """Return the identity of a tuning: all that must be equal for an interrupted one to resume."""
    return {
        "settings": fixed_settings(settings.to_dict()),
        "net": str(net.path.resolve()),
        "teacher": None if teacher is None else str(teacher.path.resolve()),
        "task": data.task,
        "rows": data_hash(data),
    }
