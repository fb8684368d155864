"""Whose layers blocks learn to stand in for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gearshift.runtime.storage import sha256_of
from gearshift.trainer.checkpoint import SUPERNET, WEIGHTS, Checkpoint, load_checkpoint, load_run


@dataclass(frozen=True)
class Teacher:
    """An encoder, with its head where it was trained for a task."""

    checkpoint: Checkpoint
    max_length: int | None
    """Of the texts that it was trained on, where that is known."""

    @property
    def hash(self) -> str:
        """sha256 of its weights, or of its config where they lie in another file."""
        path = self.checkpoint.source / WEIGHTS
        return sha256_of(path if path.is_file() else self.checkpoint.source / "config.json")


def load_teacher(path: Path) -> Teacher:
    """The full net of a run of `gearshift train`, or the encoder of a Hugging Face checkpoint; raises ModelError."""
    if (path / SUPERNET).is_file():
        run = load_run(path)
        return Teacher(run.checkpoint, int(run.facts["max_length"]))
    return Teacher(load_checkpoint(path, task="embedding"), None)
