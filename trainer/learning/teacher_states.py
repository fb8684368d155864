"""Hidden states and answers of a teacher for rows, computed once and kept in files, as they are read many times.

A folder has `states.json`, with the identity of the states and the progress; for each boundary, a layer after which
states are kept, a file of float16, shape (tokens of all rows, hidden), row after row; and if asked for, the answers, a
file of float32, shape (rows or tokens of all rows, outputs).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from gearshift.errors import InputError, ModelError, StorageError
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.learning.interrupted import read_note, save_note
from gearshift.trainer.model.elastic import ElasticClassifier, Output

_DESCRIPTION = "states.json"
_SAVED_BATCHES = 50
"""Number of batches between two saves of the progress."""

BY_TOKEN = ("token-classification", "question-answering")
"""Tasks with an answer for each token."""

Autocast = Callable[[], contextlib.AbstractContextManager[None]]
Kept = NDArray[Any]


@dataclass(frozen=True)
class Wanted:
    """States and answers of a teacher that are kept."""

    layers: tuple[int, ...]
    """Boundaries: layers after which states are kept; 0 is the embeddings."""
    answers: bool = False

    def files(self, teacher: ElasticClassifier, rows: EncodedRows) -> dict[str, tuple[tuple[int, int], type]]:
        """Return name -> shape and type of each file, states first."""
        tokens, hidden, head = sum(len(ids) for ids in rows.ids), teacher.shape.hidden, teacher.head

        def answers(task: str, outputs: int) -> tuple[tuple[int, int], type]:
            return (tokens if task in BY_TOKEN else len(rows), outputs), np.float32

        found: dict[str, tuple[tuple[int, int], type]] = {
            f"after-{layer}.f16": ((tokens, hidden), np.float16) for layer in self.layers
        }
        if self.answers and head.parts:
            found |= {f"answers.{part.name}.f32": answers(part.head.task, part.outputs) for part in head.parts}
        elif self.answers:
            outputs = head.width(hidden) if head.task == "embedding" else teacher.outputs
            found["answers.f32"] = answers(head.task, outputs)
        return found

    def bytes(self, teacher: ElasticClassifier, rows: EncodedRows) -> int:
        """Return the size of all files."""
        return sum(_bytes(*file) for file in self.files(teacher, rows).values())


class TeacherStates:
    """States of rows at boundaries, and answers, as they were wanted."""

    def __init__(self, rows: EncodedRows, states: list[Kept], answers: Sequence[Kept] = ()) -> None:
        self._states, self._answers = states, answers
        self._starts = _starts(rows)

    def of(self, boundary: int, batch: Batch) -> Tensor:
        """Return the teacher's states at a boundary, shape (batch, tokens, hidden); zeros for padding.

        `boundary`: place among the layers that were asked for.
        """
        return self._by_token(self._states[boundary], batch)

    def answers(self, batch: Batch, task: str) -> Any:
        """Return the teacher's answers, shape (batch, outputs), or (batch, tokens, outputs) with zeros for padding; of
        several heads a tuple with those of each."""
        if batch.heads:
            pairs = zip(self._answers, batch.heads, strict=True)
            return tuple(self._answer(file, batch, head.task) for file, head in pairs)
        (file,) = self._answers
        return self._answer(file, batch, task)

    def _answer(self, file: Kept, batch: Batch, task: str) -> Tensor:
        if task in BY_TOKEN:
            return self._by_token(file, batch)
        return torch.from_numpy(file[batch.indices.cpu().numpy()]).to(batch.indices.device)

    def _by_token(self, file: Kept, batch: Batch) -> Tensor:
        mask = batch.attention_mask.bool()
        places = self._starts[batch.indices.cpu().numpy()][:, None] + np.arange(mask.shape[1])
        values = torch.from_numpy(file[np.minimum(places, len(file) - 1)]).to(mask.device).float()
        return values.masked_fill_(~mask[:, :, None], 0)


@torch.no_grad()
def teacher_states(
    teacher: ElasticClassifier,
    rows: EncodedRows,
    wanted: Wanted,
    folder: Path,
    identity: str,
    *,
    batch_rows: int = 64,
    autocast: Autocast = contextlib.nullcontext,
) -> TeacherStates:
    """Return the states of a teacher, read from a folder or computed into it; an interrupted computation resumes.

    `identity`: key of teacher and rows; states with another key are computed anew. `batch_rows`: rows of one pass.
    Raises StorageError if the folder cannot be written, ModelError for states that float16 cannot hold.
    """
    shapes = wanted.files(teacher, rows)
    about = {"identity": identity, "files": list(shapes), "tokens": int(_starts(rows)[-1]), "batch_rows": batch_rows}
    description = folder / _DESCRIPTION
    whole = all(_whole(folder / name, *shape) for name, shape in shapes.items())
    done = _done(description, about) if whole else 0
    files = _open(folder, shapes, fresh=not done)
    device, starts = training_device(), _starts(rows)
    teacher.eval().to(device)
    count = rows.batch_count(batch_rows)
    with tqdm(total=count, initial=done, desc="teacher", unit="batch", disable=None) as bar:
        for index, batch in enumerate(rows.batches(batch_rows)):
            if index < done:
                continue
            with autocast():
                output = teacher(batch.to(device), teacher.full)
            _write(files, wanted, batch, output, starts)
            bar.update()
            if (index + 1) % _SAVED_BATCHES == 0 or index + 1 == count:
                for file in files.values():
                    file.flush()
                save_note(description, {**about, "done": index + 1})
    kept = [np.asarray(file) for file in files.values()]
    return TeacherStates(rows, kept[: len(wanted.layers)], kept[len(wanted.layers) :])


def _write(
    files: dict[str, np.memmap[Any, Any]],
    wanted: Wanted,
    batch: Batch,
    output: Output,
    starts: NDArray[np.int64],
) -> None:
    """Write a batch; raise ModelError for states that float16 cannot hold."""
    results = {layer: output.hidden[layer].to(torch.float16) for layer in wanted.layers}
    real = batch.attention_mask.bool()
    for layer, states in results.items():
        if not states[real.to(states.device)].isfinite().all():
            raise ModelError(
                f"teacher: states after layer {layer} are beyond the range of float16, in which they are kept; "
                "take another teacher"
            )
    values = [states.cpu().numpy() for states in results.values()]
    if wanted.answers:
        answers = output.logits if batch.heads else (output.logits,)
        values += [each.float().cpu().numpy() for each in answers]
    for file, value in zip(files.values(), values, strict=True):
        for place, row in enumerate(batch.indices.tolist()):
            if value.ndim == 2:
                file[row] = value[place]
            else:
                file[starts[row] : starts[row + 1]] = value[place, : starts[row + 1] - starts[row]]


def _starts(rows: EncodedRows) -> NDArray[np.int64]:
    """Return the place of each row's first token in a file, and the number of all tokens."""
    return np.concatenate([[0], np.cumsum([len(ids) for ids in rows.ids])]).astype(np.int64)


def _done(description: Path, about: dict[str, Any]) -> int:
    """Return the number of batches that are already computed."""
    with contextlib.suppress(InputError):  # damaged: computed anew
        found = read_note(description) or {}
        if isinstance(found, dict) and found == {**about, "done": found.get("done")}:
            return int(found["done"])
    return 0


def _open(
    folder: Path, shapes: dict[str, tuple[tuple[int, int], type]], *, fresh: bool
) -> dict[str, np.memmap[Any, Any]]:
    """Open the files; raise StorageError if they cannot be written, or have no room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            _require_room(folder, sum(_bytes(*shape) for shape in shapes.values()))
            for name, shape in shapes.items():
                _reserve(folder / name, _bytes(*shape))
        return {name: np.memmap(folder / name, kind, "r+", shape=shape) for name, (shape, kind) in shapes.items()}
    except OSError as error:
        raise StorageError(f"{folder}: teacher's states cannot be written ({error.strerror or error})") from error


def _bytes(shape: tuple[int, int], kind: type) -> int:
    return shape[0] * shape[1] * np.dtype(kind).itemsize


def _whole(path: Path, shape: tuple[int, int], kind: type) -> bool:
    return path.is_file() and path.stat().st_size == _bytes(shape, kind)


def _reserve(path: Path, size: int) -> None:
    """Make a file that has its blocks, where the system can: none is missing when a disk fills up later."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def _require_room(folder: Path, needed: int) -> None:
    """Raise StorageError if the disk is too small: a memory-mapped file that outgrows it would kill the process."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder}: the teacher's states take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "free some, take fewer tokens, or name another folder"
        )
