"""Whose layers blocks learn to stand in for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gearshift.runtime.errors import ModelError
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
        """sha256 of its weights; where they lie in other files, of the hashes of these and of its config."""
        source = self.checkpoint.source
        if (source / WEIGHTS).is_file():
            return sha256_of(source / WEIGHTS)
        files = sorted({source / "config.json", *source.glob("*.safetensors"), *source.glob("*.bin")})
        return hashlib.sha256(" ".join(map(sha256_of, files)).encode()).hexdigest()

    def require(self, weights: str | None, search: Path) -> None:
        """Raise ModelError where the weights are not those that a search learnt from."""
        if weights is not None and weights != self.hash:
            raise ModelError(
                f"{self.checkpoint.source}: expected the teacher of {search}, of weights {weights[:12]}, found "
                f"{self.hash[:12]}; search again, or put the old one back"
            )


def load_teacher(path: Path) -> Teacher:
    """The full net of a run of `gearshift train`, or the encoder of a Hugging Face checkpoint; raises ModelError."""
    if (path / SUPERNET).is_file():
        run = load_run(path)
        return Teacher(run.checkpoint, int(run.facts["max_length"]))
    return Teacher(load_checkpoint(path, task="embedding"), None)
