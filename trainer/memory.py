"""Says what to lower where memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gearshift.runtime.errors import ModelError

MEASURING = "lower max_length, or go on where there is more memory"
"""What helps where rows are measured, whose batches no setting changes."""

_SAID = ("out of memory", "not enough memory", "can't allocate memory")


@contextmanager
def enough_memory(doing: str, remedy: str) -> Iterator[None]:
    """Raise ModelError in one line where memory runs out in what is done under it; other errors pass."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        said = str(error).lower()
        if isinstance(error, RuntimeError) and not any(part in said for part in _SAID):
            raise
        raise ModelError(f"{doing}: out of memory; {remedy}") from error


def smaller_steps(micro_batch: int) -> str:
    """What to lower where a step with gradients does not fit; `micro_batch` is that of the settings."""
    if micro_batch:
        return f"lower micro_batch ({micro_batch}), batch_size or max_length"
    return "set micro_batch, e.g. 8, or lower batch_size or max_length"
