"""Text with a teacher's hidden states for it: what blocks and nets learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.trainer.batches import Batch, EncodedRows
from gearshift.trainer.nasbert.corpus import Corpus
from gearshift.trainer.nasbert.scoring import Lesson
from gearshift.trainer.nasbert.states import TeacherStates, boundaries_of, teacher_states
from gearshift.trainer.nasbert.teacher import Teacher


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
