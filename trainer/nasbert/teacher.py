"""A teacher, and its hidden states for text, from which blocks and nets learn.

The states between blocks are computed once and kept in files, since a search reads them many times. A folder holds
`states.json`, which says of what they are and how far they are computed, and for each boundary of blocks a file of
float16, (tokens of all rows, hidden), the rows one after the other.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from gearshift.errors import ModelError, StorageError
from gearshift.runtime.files.atomic import sha256_of
from gearshift.schema import read_if_whole
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.learning.interrupted import save_note
from gearshift.trainer.model.checkpoint import SUPERNET, WEIGHTS, Checkpoint, load_checkpoint, load_run
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.nasbert.corpus import Corpus
from gearshift.trainer.nasbert.scoring import BlockBatch

_DESCRIPTION = "states.json"
_BATCH_ROWS = 64
_SAVED_BATCHES = 50
"""Batches between two notes of how far it is."""


@dataclass(frozen=True)
class TeacherEncoder:
    """An encoder, with its head where it was trained for a task."""

    checkpoint: Checkpoint
    max_length: int | None
    """Tokens of the texts that it was trained on, where that is known."""

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


def load_teacher(path: Path) -> TeacherEncoder:
    """The full net of a run of `gearshift train`, or the encoder of a Hugging Face checkpoint; raises ModelError."""
    if (path / SUPERNET).is_file():
        run = load_run(path)
        return TeacherEncoder(run.checkpoint, int(run.facts["max_length"]))
    return TeacherEncoder(load_checkpoint(path, task="embedding"), None)


class TeacherStates:
    """The states of rows at the boundaries of blocks."""

    def __init__(self, rows: EncodedRows, files: list[NDArray[np.float16]]) -> None:
        self._files = files
        self._starts = np.concatenate([[0], np.cumsum([len(ids) for ids in rows.ids])])

    def of(self, boundary: int, batch: Batch) -> Tensor:
        """(batch, tokens, hidden) what the teacher passes on at a boundary, 0 being before the first block; zeros
        for padding."""
        file, mask = self._files[boundary], batch.attention_mask.bool()
        places = self._starts[batch.indices.cpu().numpy()][:, None] + np.arange(mask.shape[1])
        states = torch.from_numpy(file[np.minimum(places, len(file) - 1)]).to(mask.device).float()
        return states.masked_fill_(~mask[:, :, None], 0)


def boundaries_of(layers: int, block_layers: int) -> tuple[int, ...]:
    """Layers after which blocks end, 0 being the embeddings: of six in blocks of two 0, 2, 4, 6."""
    return (*range(0, layers, block_layers), layers)


@torch.no_grad()
def teacher_states(
    teacher: ElasticClassifier, rows: EncodedRows, boundaries: tuple[int, ...], folder: Path, identity: str
) -> TeacherStates:
    """The states of a teacher, read from a folder or computed into it; an interruption goes on where it was.

    `identity` names teacher and rows; the states of others are computed anew. Raises StorageError where the folder
    cannot be written.
    """
    total = sum(len(ids) for ids in rows.ids)
    about = {"identity": identity, "boundaries": list(boundaries), "tokens": total}
    description = folder / _DESCRIPTION
    shape = (total, teacher.shape.hidden)
    done = _done(description, about) if all(_whole(_path(folder, layer), shape) for layer in boundaries) else 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not done:
            _require_room(folder, len(boundaries) * _bytes(shape))
        files = [np.memmap(_path(folder, b), np.float16, "r+" if done else "w+", shape=shape) for b in boundaries]
    except OSError as error:
        raise StorageError(f"{folder}: teacher's states cannot be written ({error.strerror or error})") from error
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids in rows.ids])])
    count = rows.batch_count(_BATCH_ROWS)
    device = training_device()
    teacher.eval().to(device)
    with tqdm(total=count, initial=done, desc="teacher", unit="batch", disable=None) as bar:
        for index, batch in enumerate(rows.batches(_BATCH_ROWS)):
            if index < done:
                continue
            hidden = teacher(batch.to(device), teacher.full).hidden
            for file, layer in zip(files, boundaries, strict=True):
                values = hidden[layer].to(torch.float16).cpu().numpy()
                for place, row in enumerate(batch.indices.tolist()):
                    file[starts[row] : starts[row + 1]] = values[place, : starts[row + 1] - starts[row]]
            bar.update()
            if (index + 1) % _SAVED_BATCHES == 0 or index + 1 == count:
                for file in files:
                    file.flush()
                save_note(description, {**about, "done": index + 1})
    return TeacherStates(rows, [np.asarray(file) for file in files])


@dataclass(frozen=True)
class TaughtRows:
    """Rows of text with the teacher's hidden states for them."""

    rows: EncodedRows
    states: TeacherStates

    def block_batch(self, number: int, batch: Batch) -> BlockBatch:
        """Inputs and targets of stage `number` for a batch."""
        mask = batch.attention_mask.bool()
        return BlockBatch(self.states.of(number, batch), self.states.of(number + 1, batch)[mask], mask)

    def block_batches(self, number: int, batches: Sequence[Batch], *, together: int = 1) -> list[BlockBatch]:
        """Inputs and targets for batches, joined `together` at a time: large ones keep a GPU busier."""
        groups = [batches[start : start + together] for start in range(0, len(batches), together)]
        merged = [self.rows.select([row for batch in group for row in batch.indices.tolist()]) for group in groups]
        return [self.block_batch(number, batch) for batch in merged]


def read_states(
    teacher: TeacherEncoder, corpus: Corpus, block_layers: int, folder: Path
) -> tuple[TaughtRows, TaughtRows]:
    """Train and held-out text with the teacher's states at the boundaries of blocks."""
    model = teacher.checkpoint.model
    boundaries = boundaries_of(model.shape.layers, block_layers)

    def of(split: str, rows: EncodedRows) -> TeacherStates:
        identity = f"{teacher.hash}/{corpus.hash}/{split}"
        return teacher_states(model, rows, boundaries, folder / split, identity)

    return TaughtRows(corpus.train, of("train", corpus.train)), TaughtRows(corpus.dev, of("dev", corpus.dev))


def _done(description: Path, about: dict[str, Any]) -> int:
    """Batches that are there already."""

    def of_same(found: dict[str, Any]) -> int:
        done = int(found["done"])
        return done if found == {**about, "done": done} else 0

    return read_if_whole(description, of_same) or 0


def _path(folder: Path, layer: int) -> Path:
    return folder / f"after-{layer}.f16"


def _bytes(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1] * np.dtype(np.float16).itemsize


def _whole(path: Path, shape: tuple[int, int]) -> bool:
    return path.is_file() and path.stat().st_size == _bytes(shape)


def _require_room(folder: Path, needed: int) -> None:
    """A mapped file that outgrows the disk ends the process; so this is asked first."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder}: the teacher's states take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "free some, take fewer tokens, or name another folder"
        )
