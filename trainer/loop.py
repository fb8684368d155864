"""One stage of training: batches, learning rate, optimizer, and the state that an interruption leaves."""

from __future__ import annotations

import io
import itertools
import math
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm

from gearshift.runtime.errors import ModelError
from gearshift.runtime.storage import replace_file
from gearshift.trainer.batches import Batch, EncodedRows
from gearshift.trainer.model import HEAD

STATE = "state.pt"
Step = Callable[[Batch, int], float]
"""Runs forward and backward of one step, numbered from 0, and gives its loss."""


@dataclass(frozen=True)
class StagePlan:
    """What one stage of training is."""

    name: str
    epochs: float
    lr: float
    """Peak learning rate."""
    head_lr_factor: float = 1
    """Learning rate of pooler and classifier / `lr`."""


class LoopSettings(Protocol):
    """What the loop must be told, as the settings of every training have it."""

    @property
    def batch_size(self) -> int:
        """Rows of a step."""

    @property
    def warmup(self) -> float:
        """Share of the steps in which the learning rate rises."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""

    @property
    def clip(self) -> float:
        """Largest norm of a step's gradient."""

    @property
    def save_every_s(self) -> float:
        """Seconds between two states on disk."""

    @property
    def seed(self) -> int:
        """What all random numbers follow from."""


class Constraint(Protocol):
    """What weights must keep to while they learn, such as zeros that stay zeros."""

    def begin(self) -> None:
        """Called once, when the weights of an interrupted stage are back."""

    def after_step(self, step: int, total: int) -> None:
        """Called when the optimizer has made a step, counted from 0, out of `total`."""


def run_stage(
    model: nn.Module,
    rows: EncodedRows,
    plan: StagePlan,
    settings: LoopSettings,
    step: Step,
    *,
    states: Path,
    constraint: Constraint | None = None,
) -> None:
    """Train a model for one stage, from the state in the directory `states` if there is one of this stage."""
    per_epoch = rows.batch_count(settings.batch_size)
    total = math.ceil(plan.epochs * per_epoch)
    optimizer = _optimizer(model, plan, settings)
    # Each stage has random numbers of its own, so that it can be repeated without the ones before it.
    torch.manual_seed(zlib.crc32(f"{settings.seed}/{plan.name}".encode()))
    done = _load_state(states / STATE, plan, model, optimizer)
    if constraint is not None:
        constraint.begin()
    saved_at = time.monotonic()
    model.train()
    with tqdm(total=total, initial=done, desc=plan.name, unit="step", disable=None) as bar:
        for index, batch in _from_step(rows, settings, done, total):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _schedule(index, total, settings.warmup)
            loss = step(batch, index)
            if not math.isfinite(loss):
                raise ModelError(f"stage {plan.name}: the loss became {loss} at step {index}; lower the learning rate")
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            if constraint is not None:
                constraint.after_step(index, total)
            optimizer.zero_grad(set_to_none=True)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
            if time.monotonic() - saved_at >= settings.save_every_s:
                _save_state(states / STATE, plan, model, optimizer, index + 1)
                saved_at = time.monotonic()


def _from_step(rows: EncodedRows, settings: LoopSettings, first: int, total: int) -> Iterator[tuple[int, Batch]]:
    """(step, batch) from step `first` to the last: every epoch in its own order, the same in a resumed run."""
    per_epoch = rows.batch_count(settings.batch_size)
    for epoch in itertools.count(first // per_epoch):
        batches = rows.batches(settings.batch_size, seed=settings.seed * 1000 + epoch)
        for index, batch in enumerate(batches, start=epoch * per_epoch):
            if index >= total:
                return
            if index >= first:
                yield index, batch


def _schedule(step: int, total: int, warmup: float) -> float:
    """Factor of the peak learning rate: linear up over the warm-up, then linear down to 0."""
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (total - step) / max(1, total - rising))


def _optimizer(model: nn.Module, plan: StagePlan, settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW; biases and norms are not decayed, and the head may learn at another rate."""
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


def _save_state(path: Path, plan: StagePlan, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    buffer = io.BytesIO()
    state = {
        "stage": plan.name,
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
    }
    torch.save(state, buffer)
    replace_file(path, buffer.getvalue())


def _load_state(path: Path, plan: StagePlan, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put back what an interrupted run saved in this stage; gives how many steps it had done, 0 for none."""
    if not path.is_file():
        return 0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    if state["stage"] != plan.name:
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    return int(state["step"])
