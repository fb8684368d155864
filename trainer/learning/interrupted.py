"""States of a training on disk: an interruption loses only the work since the last one, a minute at most.

A training claims a folder (`claim`), which identifies its settings and rows, so that no other training continues from
there. The folder holds the state saved from time to time (`save_state`), the weights at the end of each stage
(`save_weights`), and notes of decisions on the way (`save_note`).
Each file is written atomically, with a seal of its name and content; one that cannot be read, has changed since, or was
written under another name is refused. Of the state there are two, so that the one before takes over from a damaged one.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from gearshift.errors import InputError, first_line, is_time_limit
from gearshift.json_reader import parse_json
from gearshift.trainer.learning.sealed import read_sealed, write_sealed

_log = logging.getLogger(__name__)

STATE = "state.pt"
"""File name of the last saved state."""

DESCRIPTION = "training.json"
"""File name of the description of the training whose states lie beside it."""

CHANGEABLE = ("save_every_s", "micro_batch")
"""Settings that may change between two calls. The time between saves does not affect the training; the number of parts
of a step affects only the random numbers of dropout, and must change after memory ran out."""


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that must stay the same for an interrupted training to continue."""
    return {name: value for name, value in settings.items() if name not in CHANGEABLE}


def claim(states: Path, identity: dict[str, Any], *, defaults: Mapping[str, Any]) -> bool:
    """Make the directory of states, or check that an existing one is of the same training; return whether it was
    made.

    `defaults`: by name, values of an identity for directories of earlier versions that did not store them; for a part
    of the identity, such as settings, the defaults of all its values.
    Raises InputError if settings or rows differ.
    """
    description = states / DESCRIPTION
    if not description.is_file():
        save_note(description, identity)
        return True
    with readable(description):
        found = dict(read_note(description).items())
        for name, default in defaults.items():
            if isinstance(default, Mapping):
                known = {key: value for key, value in default.items() if key in identity[name]}
                found[name] = {**_plain(known), **fixed_settings(found.get(name, {}))}
            else:
                found.setdefault(name, default)
    wanted = _plain(identity)
    if found != wanted:
        parts = [name for name, default in defaults.items() if isinstance(default, Mapping)]
        flat = [_flat(each, parts) for each in (wanted, found)]
        differ = [name for name in flat[0] if flat[0][name] != flat[1].get(name)]
        raise InputError(
            f"{states}: holds an interrupted training with other settings or rows ({', '.join(differ)}); "
            "repeat it as it was, delete it, or name another output"
        )
    return False


@contextlib.contextmanager
def readable(path: Path, *, delete: Path | None = None) -> Iterator[None]:
    """Raise InputError in one line if a file left by an interrupted training cannot be read.

    `delete`: file or directory to delete before beginning again; the directory of `path` unless given.
    """
    try:
        yield
    except Exception as error:  # unpickling ends in whatever its instructions run into
        if is_time_limit(error):
            raise
        raise InputError(
            f"{path}: not readable ({first_line(error)}); delete {delete or path.parent} to begin the training again"
        ) from error


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values, and keep the state before; raises StorageError."""
    buffer = io.BytesIO()  # a full disk is an OSError only if torch does not write the file itself
    torch.save(dict(state), buffer)
    write_sealed(path, buffer.getbuffer(), before=_before(path))


def read_state(path: Path, *, delete: Path | None = None) -> dict[str, Any] | None:
    """Read the tensors and values of the last state that is whole; None if none was saved.

    Raises InputError as `readable` does if there are states and none is whole.
    """
    there = [each for each in (path, _before(path)) if each.is_file()]
    for each in there:
        try:
            return _state_of(each, path.name, delete)
        except InputError as error:
            if each == there[-1]:
                raise
            _log.warning("%s; the training goes on from the state before", str(error).partition("; ")[0])
    return None


def forget_state(path: Path) -> None:
    """Delete a state and the one before it."""
    for each in (path, _before(path)):
        each.unlink(missing_ok=True)


def _before(path: Path) -> Path:
    return path.with_name(f"{path.stem}-before{path.suffix}")


def _state_of(path: Path, written_as: str, delete: Path | None) -> dict[str, Any]:
    with readable(path, delete=delete):
        content = io.BytesIO(read_sealed(path, written_as=written_as))
        return dict(torch.load(content, weights_only=True, map_location="cpu"))


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the weights of a model; raises StorageError."""
    write_sealed(path, safetensors.torch.save(model.state_dict()))


def load_weights(path: Path, model: nn.Module) -> None:
    """Load saved weights into a model; raises InputError as `readable` does."""
    with readable(path):
        model.load_state_dict(safetensors.torch.load(read_sealed(path)))


def save_note(path: Path, content: Any) -> None:
    """Write plain values; raises StorageError."""
    write_sealed(path, json.dumps(content).encode())


def read_note(path: Path) -> Any:
    """Read the plain values of a note; None if there is none. Raises InputError as `readable` does."""
    if not path.is_file():
        return None
    with readable(path):
        return parse_json(read_sealed(path))


def _plain(values: Any) -> Any:
    """Return values in the form read back from a file: tuples become lists."""
    return json.loads(json.dumps(values))


def _flat(identity: Mapping[str, Any], parts: Collection[str]) -> dict[str, Any]:
    """Return an identity with the settings of its parts beside the other values."""
    flat = {name: value for name, value in identity.items() if name not in parts}
    for part in parts:
        flat |= identity[part]
    return flat
