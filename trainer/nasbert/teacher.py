"""Teacher, and its hidden states for text, which blocks and nets learn from.

The states between blocks are computed once and kept in files, as a search reads them many times. A folder has
`states.json`, with the identity of the states and the progress, and for each boundary of blocks a file of float16,
shape (tokens of all rows, hidden), row after row.
"""

from __future__ import annotations

import contextlib
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

from gearshift.errors import InputError, ModelError, StorageError
from gearshift.runtime.files.atomic import sha256_of
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.learning.interrupted import read_note, save_note
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import SUPERNET, WEIGHTS, load_supernet
from gearshift.trainer.nasbert.corpus import Corpus
from gearshift.trainer.nasbert.scoring import BlockBatch

_DESCRIPTION = "states.json"
_BATCH_ROWS = 64
_SAVED_BATCHES = 50
"""Number of batches between two saves of the progress."""


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


class TeacherStates:
    """States of rows at the boundaries of blocks."""

    def __init__(self, rows: EncodedRows, files: list[NDArray[np.float16]]) -> None:
        self._files = files
        self._starts = np.concatenate([[0], np.cumsum([len(ids) for ids in rows.ids])])

    def of(self, boundary: int, batch: Batch) -> Tensor:
        """Return the teacher's states at a boundary, shape (batch, tokens, hidden); zeros for padding.

        `boundary`: 0 is before the first block.
        """
        file, mask = self._files[boundary], batch.attention_mask.bool()
        places = self._starts[batch.indices.cpu().numpy()][:, None] + np.arange(mask.shape[1])
        states = torch.from_numpy(file[np.minimum(places, len(file) - 1)]).to(mask.device).float()
        return states.masked_fill_(~mask[:, :, None], 0)


def boundaries_of(layers: int, block_layers: int) -> tuple[int, ...]:
    """Return the layers after which blocks end; 0 is the embeddings. Six layers in blocks of two: 0, 2, 4, 6."""
    return (*range(0, layers, block_layers), layers)


@torch.no_grad()
def teacher_states(
    teacher: ElasticClassifier, rows: EncodedRows, boundaries: tuple[int, ...], folder: Path, identity: str
) -> TeacherStates:
    """Return the states of a teacher, read from a folder or computed into it; an interrupted computation resumes.

    `identity`: key of teacher and rows; states with another key are computed anew. Raises StorageError if the folder
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
                if not np.isfinite(values[batch.attention_mask.bool().cpu().numpy()]).all():
                    raise ModelError(
                        f"teacher: states after layer {layer} are beyond the range of float16, in which they are kept; "
                        "take another teacher"
                    )
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
        return teacher_states(model, rows, boundaries, folder / split, identity)

    return TaughtRows(corpus.train, of("train", corpus.train)), TaughtRows(corpus.dev, of("dev", corpus.dev))


def _done(description: Path, about: dict[str, Any]) -> int:
    """Return the number of batches that are already computed."""

    with contextlib.suppress(InputError):  # damaged: computed anew
        found = read_note(description) or {}
        if isinstance(found, dict) and found == {**about, "done": found.get("done")}:
            return int(found["done"])
    return 0


def _path(folder: Path, layer: int) -> Path:
    return folder / f"after-{layer}.f16"


def _bytes(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1] * np.dtype(np.float16).itemsize


def _whole(path: Path, shape: tuple[int, int]) -> bool:
    return path.is_file() and path.stat().st_size == _bytes(shape)


def _require_room(folder: Path, needed: int) -> None:
    """Raise StorageError if the disk is too small: a memory-mapped file that outgrows it would kill the process."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder}: the teacher's states take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "free some, take fewer tokens, or name another folder"
        )
