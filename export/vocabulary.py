"""Shrinking of a supernet's word embeddings to the vocabulary of given texts; in a small subnet they are most bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gearshift.errors import DataError, ExportError
from gearshift.export.pieces import respelt, shrink, used_pieces
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.elastic import TaskModel
from gearshift.trainer.model.run import Run


@dataclass(frozen=True)
class VocabularyReport:
    """Report of the shrinking of a vocabulary."""

    kept: int
    """Number of pieces kept."""
    of: int
    """Number of pieces before."""
    respelt: int
    """Number of held-out texts that are cut into other pieces than before."""
    texts: int
    """Number of held-out texts."""


def texts_of(rows: Sequence[Row]) -> list[str]:
    """Return both texts of every row."""
    return [text for row in rows for text in (row.text, row.pair) if text is not None]


def shrink_vocabulary(
    run: Run[Any, Any], texts: Collection[str], held_out: Sequence[Row]
) -> tuple[Run[Any, Any], VocabularyReport]:
    """Return a copy of the run with the pieces of these texts, and those that spell all other text.

    Position embeddings beyond the longest possible text are removed too. `held_out`: rows for the figures of the report
    only. Raises DataError without any text, ExportError for a tokenizer that cannot be shrunk.
    """
    if not texts:
        raise DataError("vocabulary: expected texts to keep the pieces of, got none; name a file with one text a line")
    checkpoint = run.checkpoint
    old, prompt = checkpoint.tokenizer, checkpoint.sentence.prompt
    if prompt:
        texts = [prompt + text for text in texts]
    small = shrink(old, used_pieces(old, texts))
    if (changed := respelt(old, small.tokenizer, texts)) > 0:
        raise ExportError(
            f"vocabulary: {changed} of {len(texts)} texts would be cut into other pieces; export without a vocabulary"
        )
    kept, shape = small.kept, checkpoint.model.shape
    if kept[-1] >= shape.vocabulary:
        raise ExportError(f"vocabulary: the tokenizer has an id {kept[-1]}, the word table {shape.vocabulary} rows")
    model = _with_rows(checkpoint.model, kept, min(int(run.facts["max_length"]), shape.positions))
    tested = [prompt + text for text in texts_of(held_out)]
    report = VocabularyReport(len(kept), shape.vocabulary, respelt(old, small.tokenizer, tested), len(tested))
    parts: dict[str, Any] = {"tokenizer": small.tokenizer, "model": model}
    changed_run: dict[str, Any] = {"checkpoint": dataclasses.replace(checkpoint, **parts)}
    return dataclasses.replace(run, **changed_run), report


@torch.no_grad()
def _with_rows(old: TaskModel, kept: Sequence[int], positions: int) -> TaskModel:
    """Return the model with these rows of its word table, and `positions` positions."""
    state = old.state_dict()
    word, position = "embeddings.word.weight", "embeddings.position.weight"
    state[word] = state[word][list(kept)]
    if position in state:
        state[position] = state[position][:positions]
    model = old.resized(vocabulary=len(kept), positions=positions)
    model.load_state_dict(state)
    return model
