"""A stage of training: batches, learning rate, optimizer, and the state for resuming after an interruption."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from gearshift.errors import ModelError
from gearshift.trainer.data.batches import AnyBatch, AnyRows
from gearshift.trainer.learning.devices import MEASURING, enough_memory, parts_of, smaller_steps
from gearshift.trainer.learning.interrupted import STATE, read_state, readable, save_state
from gearshift.trainer.learning.settings import LoopSettings
from gearshift.trainer.model.elastic import HEAD

Losses = Callable[[nn.Module, Any, int], Sequence[Callable[[], Tensor]]]
"""Losses that a step, numbered from 0, adds up over a batch: each is sent backward before the next is computed."""

Score = Callable[[], float]
"""Score of the model as it is now, on held-out rows; higher is better."""


@dataclass(frozen=True)
class StagePlan:
    """A stage of training: its length and learning rates."""

    name: str
    epochs: float
    lr: float
    """Peak learning rate."""
    head_lr_factor: float = 1
    """Ratio of the learning rate of pooler and classifier to `lr`."""
    dropout: bool = True


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of the model during training; a stage ends with the weights of the best score."""

    score: Score
    every: float
    """Epochs between two evaluations."""
    patience: int = 0
    """Number of evaluations without gain after which the stage ends early; 0: never."""


class Constraint(Protocol):
    """Condition that weights keep during training, such as zeros that stay zeros."""

    def begin(self) -> None:
        """Prepare, once, after the weights of an interrupted stage are restored."""

    def after_step(self, step: int, total: int) -> None:
        """Restore the condition after a step of the optimizer, counted from 0, out of `total`."""


def run_stage(
    model: nn.Module,
    rows: AnyRows,
    plan: StagePlan,
    settings: LoopSettings,
    losses: Losses,
    *,
    states: Path,
    accelerator: Accelerator | None = None,
    micro_batch: int = 0,
    evaluation: Evaluation | None = None,
    constraint: Constraint | None = None,
) -> None:
    """Train a model for one stage, from the state in the directory `states` if there is one of this stage.

    `micro_batch`: rows computed at once; 0: all of a step.
    Raises ModelError if the loss is no longer a number, or memory runs out.
    """
    accelerator = accelerator or Accelerator()
    world = accelerator.num_processes
    per_epoch = rows.batch_count(settings.batch_size * world)
    total = math.ceil(plan.epochs * per_epoch)
    model.to(accelerator.device)
    optimizer = _optimizer(model, plan, settings)
    best = _Best()
    done = _resume(states / STATE, plan.name, model, optimizer, best)
    if constraint is not None:
        constraint.begin()
    stepper = _Stepper(accelerator, model, optimizer, losses, plan, settings, micro_batch)
    every = 0 if evaluation is None else max(1, round(evaluation.every * per_epoch))
    saved_at = time.monotonic()
    main = accelerator.is_main_process
    with (
        contextlib.closing(stepper),
        tqdm(total=total, initial=done, desc=plan.name, unit="step", disable=None if main else True) as bar,
    ):
        for index, batch in _from_step(rows, settings, world, done, total):
            if evaluation is not None and evaluation.patience and best.worse >= evaluation.patience:
                break
            loss = stepper.step(batch, index, total)
            if constraint is not None:
                constraint.after_step(index, total)
            if evaluation is not None and ((index + 1) % every == 0 or index + 1 == total):
                with enough_memory(f"stage {plan.name}: measuring the dev rows", MEASURING):
                    best.see(evaluation.score(), index + 1, model)
                model.train(plan.dropout)
                accelerator.log({f"{plan.name}/score": best.score}, step=index + 1)
            accelerator.log({f"{plan.name}/loss": loss, f"{plan.name}/lr": stepper.lr}, step=index + 1)
            shown = {"best": f"{best.score:.3f}"} if best.weights else {}
            bar.set_postfix({"loss": f"{loss:.3f}", **shown}, refresh=False)
            bar.update()
            if main and time.monotonic() - saved_at >= settings.save_every_s:
                _save(states / STATE, plan.name, model, optimizer, index + 1, best)
                saved_at = time.monotonic()
    if best.weights:
        model.load_state_dict(best.weights)
        if constraint is not None:
            constraint.after_step(total - 1, total)


@dataclass
class _Best:
    """Weights with the best score on held-out rows."""

    score: float = -math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    worse: int = 0
    """Number of evaluations since the best one."""

    def see(self, score: float, step: int, model: nn.Module) -> None:
        """Keep the weights if the score equals or beats the best: of equals, the later have learnt more."""
        if score >= self.score:
            self.score, self.step, self.worse = score, step, 0
            self.weights = copy.deepcopy(model.state_dict())
        else:
            self.worse += 1


def _save(path: Path, stage: str, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, best: _Best) -> None:
    learnt = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "best": vars(best)}
    save_state(path, {"stage": stage, "step": step, **learnt})


def _resume(path: Path, stage: str, model: nn.Module, optimizer: torch.optim.Optimizer, best: _Best) -> int:
    """Restore the state that an interrupted run saved in this stage; return the number of steps done, 0 if there is
    none."""
    state = read_state(path)
    if state is None:
        return 0
    with readable(path):
        if state["stage"] != stage:
            return 0
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        vars(best).update(state["best"])
        return int(state["step"])


class _Stepper:
    """Forward, backward and update of one step, with the model wrapped by `accelerate` meanwhile."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        losses: Losses,
        plan: StagePlan,
        settings: LoopSettings,
        micro_batch: int,
    ) -> None:
        self._accelerator, self._losses, self._plan, self._settings = accelerator, losses, plan, settings
        self._micro_batch = micro_batch
        self._wrapped, self._optimizer = accelerator.prepare(model.train(plan.dropout), optimizer)
        self.lr = 0.0

    def close(self) -> None:
        """Remove the wrapper of `accelerate` from the model."""
        self._accelerator.unwrap_model(self._wrapped, keep_fp32_wrapper=False)
        self._accelerator.free_memory()

    def step(self, batch: AnyBatch, index: int, total: int) -> float:
        """Run one step; return the loss, averaged over the processes."""
        accelerator, settings, plan = self._accelerator, self._settings, self._plan
        factor = _schedule(index, total, settings.warmup)
        self.lr = plan.lr * factor
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        # Each step is seeded by itself, so that a resumed stage draws the numbers of an uninterrupted one.
        torch.manual_seed(zlib.crc32(f"{settings.seed}/{plan.name}/{index}/{accelerator.process_index}".encode()))
        doing = f"stage {plan.name}: a step of {batch.told}"
        with enough_memory(doing, smaller_steps(self._micro_batch)):
            loss = self._backward(batch, index)
            if not math.isfinite(loss):
                raise ModelError(f"stage {plan.name}: the loss became {loss} at step {index}; lower the learning rate")
            accelerator.clip_grad_norm_(self._wrapped.parameters(), settings.clip)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        return loss

    def _backward(self, batch: AnyBatch, index: int) -> float:
        """Add up the gradients of all losses of all parts; the processes exchange them with the last."""
        accelerator, total = self._accelerator, torch.zeros((), device=self._accelerator.device)
        parts = list(parts_of(batch, accelerator, self._micro_batch))
        for number, part in enumerate(parts, start=1):
            losses = self._losses(self._wrapped, part, index)
            for place, compute in enumerate(losses, start=1):
                last = number == len(parts) and place == len(losses)
                with contextlib.nullcontext() if last else accelerator.no_sync(self._wrapped):
                    loss = compute()
                    accelerator.backward(loss)
                total += loss.detach()
        if accelerator.num_processes > 1:
            total = accelerator.reduce(total, "mean")
        return float(total)


def _from_step(
    rows: AnyRows, settings: LoopSettings, world: int, first: int, total: int
) -> Iterator[tuple[int, AnyBatch]]:
    """Give (step, batch) from step `first` to the last: every epoch in its own order, the same in a resumed run."""
    size = settings.batch_size * world
    per_epoch = rows.batch_count(size)
    for epoch in itertools.count(first // per_epoch):
        batches = rows.batches(size, seed=settings.seed * 1000 + epoch)
        for index, batch in enumerate(batches, start=epoch * per_epoch):
            if index >= total:
                return
            if index >= first:
                yield index, batch


def _schedule(step: int, total: int, warmup: float) -> float:
    """Return the factor on the peak learning rate: linear rise during warm-up, then linear fall to 0."""
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (total - step) / max(1, total - rising))


def _optimizer(model: nn.Module, plan: StagePlan, settings: LoopSettings) -> torch.optim.Optimizer:
    """Return AdamW without decay of biases and norms; the head may have another learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        peak = plan.lr * (plan.head_lr_factor if name.startswith(HEAD) else 1)
        groups.setdefault((decay, peak), []).append(parameter)
    listed = [
        {"params": parameters, "weight_decay": decay, "peak": peak} for (decay, peak), parameters in groups.items()
    ]
    return torch.optim.AdamW(listed, lr=plan.lr, fused=True)
