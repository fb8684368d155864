"""A teacher's hidden states between blocks, computed once and kept in files: a search reads them many times.

A folder holds `states.json`, which says of what they are and how far they are computed, and for each boundary of
blocks a file of float16, (tokens of all rows, hidden), the rows one after the other.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from gearshift.errors import StorageError
from gearshift.runtime.files.atomic import replace_file
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.model.elastic import ElasticClassifier

_DESCRIPTION = "states.json"
_BATCH_ROWS = 64
_SAVED_BATCHES = 50
"""Batches between two notes of how far it is."""


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
                replace_file(description, json.dumps({**about, "done": index + 1}).encode())
    return TeacherStates(rows, [np.asarray(file) for file in files])


def _done(description: Path, about: dict[str, Any]) -> int:
    """Batches that are there already."""
    if not description.is_file():
        return 0
    try:
        found = json.loads(description.read_bytes())
        return int(found.pop("done")) if {k: v for k, v in found.items() if k != "done"} == about else 0
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0


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
