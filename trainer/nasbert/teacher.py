"""Teacher, and its hidden states between blocks for text, which blocks and nets learn from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.errors import ModelError
from gearshift.runtime.files.atomic import sha256_of
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning.teacher_states import TeacherStates, Wanted, teacher_states
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.run import SUPERNET, WEIGHTS, load_supernet
from gearshift.trainer.nasbert.corpus import Corpus
from gearshift.trainer.nasbert.scoring import BlockBatch


@dataclass(frozen=True)
class TeacherEncoder:
    """Teacher: an encoder, with its task head if it was trained for a task."""

    checkpoint: Checkpoint
    max_length: int | None
    """Length in tokens that it was trained with; None if unknown."""

    @property
    def hash(self) -> str:
        """SHA-256 of the weights; if there is no model.safetensors, of the hashes of its weight files and config."""
        source = self.checkpoint.source
        if (source / WEIGHTS).is_file():
            return sha256_of(source / WEIGHTS)
        files = sorted({source / "config.json", *source.glob("*.safetensors"), *source.glob("*.bin")})
        return hashlib.sha256(" ".join(map(sha256_of, files)).encode()).hexdigest()

    def require(self, weights: str | None, search: Path) -> None:
        """Raise ModelError if the weights are not those that a search learnt from."""
        if weights is not None and weights != self.hash:
            raise ModelError(
                f"{self.checkpoint.source}: expected the teacher of {search}, of weights {weights[:12]}, found "
                f"{self.hash[:12]}; search again, or restore the old teacher"
            )


def load_teacher(path: Path) -> TeacherEncoder:
    """Load the full net of a run of `gearshift train`, or a Hugging Face encoder; raises ModelError."""
    if (path / SUPERNET).is_file():
        run = load_supernet(path)
        return TeacherEncoder(run.checkpoint, int(run.facts["max_length"]))
    return TeacherEncoder(load_checkpoint(path, task="embedding"), None)


def boundaries_of(layers: int, block_layers: int) -> tuple[int, ...]:
    """Return the layers after which blocks end; 0 is the embeddings. Six layers in blocks of two: 0, 2, 4, 6."""
    return (*range(0, layers, block_layers), layers)


@dataclass(frozen=True)
class TaughtRows:
    """Rows of text, with the teacher's hidden states."""

    rows: EncodedRows
    states: TeacherStates

    def block_batch(self, number: int, batch: Batch) -> BlockBatch:
        """Return the inputs and targets of stage `number` for a batch."""
        mask = batch.attention_mask.bool()
        return BlockBatch(self.states.of(number, batch), self.states.of(number + 1, batch)[mask], mask)

    def block_batches(self, number: int, batches: Sequence[Batch], *, together: int = 1) -> list[BlockBatch]:
        """Return inputs and targets for batches, merged `together` at a time: large batches use a GPU better."""
        groups = [batches[start : start + together] for start in range(0, len(batches), together)]
        merged = [self.rows.select([row for batch in group for row in batch.indices.tolist()]) for group in groups]
        return [self.block_batch(number, batch) for batch in merged]


def read_states(
    teacher: TeacherEncoder, corpus: Corpus, block_layers: int, folder: Path
) -> tuple[TaughtRows, TaughtRows]:
    """Return training and held-out text, with the teacher's states at the boundaries of blocks."""
    model = teacher.checkpoint.model
    boundaries = boundaries_of(model.shape.layers, block_layers)

    def of(split: str, rows: EncodedRows) -> TeacherStates:
        identity = f"{teacher.hash}/{corpus.hash}/{split}"
        return teacher_states(model, rows, Wanted(boundaries), folder / split, identity)

    return TaughtRows(corpus.train, of("train", corpus.train)), TaughtRows(corpus.dev, of("dev", corpus.dev))
