"""Processes, devices and precision of a training, all handled by `accelerate`.

A batch is divided among the processes, and each may compute its share in smaller parts. The losses of all parts are
divided by the counts of the whole batch, so their gradients add up to those of one process with that batch.
"""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs, PartialState
from accelerate.state import AcceleratorState

from gearshift.errors import InputError, ModelError
from gearshift.extras import require
from gearshift.trainer.data.batches import AnyBatch, Counts

B = TypeVar("B", bound=AnyBatch)

PRECISIONS = ("", "no", "bf16", "fp16", "auto")
"""Mixed precisions. `auto`: bf16 if the device computes in it. "": as set by `accelerate launch` or an accelerator that
this process has already, else `auto`."""

LAUNCHED = "ACCELERATE_MIXED_PRECISION"
"""Environment variable by which `accelerate launch` sets the precision."""

WAITING = datetime.timedelta(days=1)
"""Longest time that processes wait for the main one, which alone measures the test rows."""


def make_accelerator(precision: str = "", *, whole: bool = True, log_to: Path | None = None) -> Accelerator:
    """Return the accelerator of a training; `log_to` is a directory for TensorBoard. Raises InputError.

    `whole`: whether the last subnet of every step has all layers, so that every weight has a gradient.
    The precision applies to the whole process: two trainings in one process need the same.
    """
    if precision not in PRECISIONS:
        raise InputError(f"settings: mixed_precision must be one of {', '.join(PRECISIONS[1:])}, got {precision!r}")
    set_already = LAUNCHED in os.environ or bool(AcceleratorState._shared_state)
    chosen = chosen_precision(precision, set_already=set_already, bf16=computes_in_bf16())
    handlers = [
        DistributedDataParallelKwargs(find_unused_parameters=not whole),
        InitProcessGroupKwargs(timeout=WAITING),
    ]
    tracking: dict[str, Any] = {}
    if log_to is not None:
        require("tensorboard")
        tracking = {"log_with": "tensorboard", "project_dir": log_to}
    try:
        return Accelerator(cpu=_without_gpu(), mixed_precision=chosen or None, kwargs_handlers=handlers, **tracking)
    except ValueError as error:  # fp16 without a GPU, or another precision than this process began with
        raise InputError(f"settings: mixed_precision {chosen!r} is not available here ({error})") from error


def chosen_precision(precision: str, *, set_already: bool, bf16: bool) -> str:
    """Return the precision to ask accelerate for, "" for the one that was set already.

    `bf16`: whether the device computes in bf16.
    """
    if precision == "auto" or not (precision or set_already):
        return "bf16" if bf16 else "no"
    return precision


def conditions(accelerator: Accelerator) -> dict[str, Any]:
    """Return the conditions, besides its settings, that the results of a training depend on: processes and
    precision."""
    return {"processes": accelerator.num_processes, "precision": accelerator.mixed_precision}


def default_conditions(accelerator: Accelerator) -> dict[str, Any]:
    """Return the conditions of a training that did not store them: one process, in the precision that its settings mean
    here."""
    return {**conditions(accelerator), "processes": 1}


def is_main_process() -> bool:
    """Return whether this is the process that writes and prints."""
    return bool(PartialState(cpu=_without_gpu()).is_main_process)


def training_device() -> torch.device:
    """Return the device on which this process trains."""
    found: torch.device = PartialState(cpu=_without_gpu()).device
    return found


def _without_gpu() -> bool:
    """Return whether there is no GPU: processes on CPUs find each other only if accelerate is told that they are on
    CPUs."""
    return not (torch.cuda.is_available() or torch.backends.mps.is_available())


def computes_in_bf16() -> bool:
    """Return whether the GPU, or without one the CPU, has instructions for bf16 instead of emulating it."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def parts_of(batch: B, accelerator: Accelerator, micro_batch: int) -> Iterator[B]:
    """Give this process's share of a batch, on its device, in parts of up to `micro_batch` rows (0: in one)."""
    world, own = accelerator.num_processes, accelerator.process_index
    rows = len(batch.indices)
    # Gradients are averaged over the processes, so each divides by its share of the counts.
    counts = batch.counts.shared(world)
    start, stop = rows * own // world, rows * (own + 1) // world
    if start == stop:  # fewer rows than processes: all must take the same steps, this one with no weight
        start, stop, counts = 0, 1, Counts(math.inf, math.inf, math.inf, (math.inf,) * len(batch.heads))
    size = micro_batch or rows
    for first in range(start, stop, size):
        yield batch.part(first, min(first + size, stop), counts).to(accelerator.device)


MEASURING = "lower max_length, or go on where there is more memory"
"""Remedy for lack of memory while rows are measured, in batches that no setting changes."""

_SAID = ("out of memory", "not enough memory", "can't allocate memory")


@contextmanager
def enough_memory(doing: str, remedy: str) -> Iterator[None]:
    """Raise ModelError in one line if memory runs out in the block; other errors pass through."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        said = str(error).lower()
        if isinstance(error, RuntimeError) and not any(part in said for part in _SAID):
            raise
        raise ModelError(f"{doing}: out of memory; {remedy}") from error


def smaller_steps(micro_batch: int) -> str:
    """Return the settings to lower if a step with gradients does not fit; `micro_batch` is the present setting."""
    if micro_batch:
        return f"lower micro_batch ({micro_batch}), batch_size or max_length"
    return "set micro_batch, e.g. 8, or lower batch_size or max_length"
