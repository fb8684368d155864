"""Text with a teacher's hidden states for it: what blocks and nets learn from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.errors import ModelError
from gearshift.runtime.files.atomic import sha256_of
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.model.checkpoint import SUPERNET, WEIGHTS, Checkpoint, load_checkpoint, load_run
from gearshift.trainer.nasbert.corpus import Corpus
from gearshift.trainer.nasbert.scoring import Lesson
from gearshift.trainer.nasbert.states import TeacherStates, boundaries_of, teacher_states


@dataclass(frozen=True)
class Text:
    """Text with the teacher's states for it."""

    rows: EncodedRows
    states: TeacherStates

    def lesson(self, number: int, batch: Batch) -> Lesson:
        """What stage `number` learns from a batch."""
        mask = batch.attention_mask.bool()
        return Lesson(self.states.of(number, batch), self.states.of(number + 1, batch)[mask], mask)

    def lessons(self, number: int, batches: Sequence[Batch], *, together: int = 1) -> list[Lesson]:
        """What stage `number` learns from batches, of so many at a time: large ones keep a GPU busier."""
        groups = [batches[start : start + together] for start in range(0, len(batches), together)]
        merged = [self.rows.select([row for batch in group for row in batch.indices.tolist()]) for group in groups]
        return [self.lesson(number, batch) for batch in merged]


def read_states(teacher: Teacher, corpus: Corpus, block_layers: int, folder: Path) -> tuple[Text, Text]:
    """Train and held-out text with the teacher's states at the boundaries of blocks."""
    model = teacher.checkpoint.model
    boundaries = boundaries_of(model.shape.layers, block_layers)

    def of(split: str, rows: EncodedRows) -> TeacherStates:
        identity = f"{teacher.hash}/{corpus.hash}/{split}"
        return teacher_states(model, rows, boundaries, folder / split, identity)

    return Text(corpus.train, of("train", corpus.train)), Text(corpus.dev, of("dev", corpus.dev))


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
