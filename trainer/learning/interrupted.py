"""What an interrupted training leaves, and whether it may go on from there."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import pickle
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gearshift.errors import InputError
from gearshift.runtime.files.atomic import replace_file
from gearshift.trainer.model.huggingface import first_line

UNDECISIVE = ("save_every_s", "micro_batch")
"""Settings that may change between two calls: when to save decides nothing about what is trained, and in how many parts
a step is computed nothing but which numbers dropout draws. Where memory ran out, the latter must change."""


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that must be the same for an interrupted training to go on."""
    return {name: value for name, value in settings.items() if name not in UNDECISIVE}


@contextlib.contextmanager
def readable(path: Path, *, delete: Path | None = None) -> Iterator[None]:
    """Raise InputError in one line where what an interrupted training left at `path` cannot be read.

    `delete`: what is in the way of beginning again; the directory of `path` unless given.
    """
    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        RuntimeError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        raise InputError(
            f"{path}: not readable ({first_line(error)}); delete {delete or path.parent} to begin the training again"
        ) from error


def claim_states(states: Path, identity: dict[str, Any], *, usual: Mapping[str, Any]) -> None:
    """Make the directory of states, or check that the one there is of the same training.

    `usual`: what holds for a training of a version that did not say it: values by name, or the defaults of a part of
    settings by name; it did as these say. Raises InputError where settings or rows differ.
    """
    description = states / "training.json"
    content = json.dumps(identity, indent=1).encode()
    if not description.is_file():
        replace_file(description, content)
        return
    with readable(description):
        found = json.loads(description.read_bytes())
        found.items()  # that it is an object
    for name, default in usual.items():
        if isinstance(default, Mapping):
            known = {key: value for key, value in default.items() if key in identity[name]}
            found[name] = {**json.loads(json.dumps(known)), **decisive(found.get(name, {}))}
        else:
            found.setdefault(name, default)
    wanted = json.loads(content)
    if found != wanted:
        parts = [name for name, default in usual.items() if isinstance(default, Mapping)]
        flat = [_flat(each, parts) for each in (wanted, found)]
        differ = [name for name in flat[0] if flat[0][name] != flat[1].get(name)]
        raise InputError(
            f"{states}: holds an interrupted training with other settings or rows ({', '.join(differ)}); "
            "repeat it as it was, delete it, or name another output"
        )


def _flat(identity: Mapping[str, Any], parts: Collection[str]) -> dict[str, Any]:
    """An identity with the settings in its parts beside the rest."""
    flat = {name: value for name, value in identity.items() if name not in parts}
    for part in parts:
        flat |= identity[part]
    return flat


STATE = "state.pt"


@dataclass
class Best:
    """The weights that were best on held-out rows."""

    score: float = -math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    worse: int = 0
    """Evaluations since then."""

    def see(self, score: float, step: int, model: nn.Module) -> None:
        """Of equal scores the later weights are kept: they have learnt more."""
        if score >= self.score:
            self.score, self.step, self.worse = score, step, 0
            self.weights = copy.deepcopy(model.state_dict())
        else:
            self.worse += 1


def save_state(
    path: Path, stage: str, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, best: Best
) -> None:
    buffer = io.BytesIO()
    state = {
        "stage": stage,
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": vars(best),
    }
    torch.save(state, buffer)
    replace_file(path, buffer.getvalue())


def load_state(path: Path, stage: str, model: nn.Module, optimizer: torch.optim.Optimizer, best: Best) -> int:
    """Put back what an interrupted run saved in this stage; gives how many steps it had done, 0 for none.

    Raises InputError where it cannot be read.
    """
    if not path.is_file():
        return 0
    with readable(path):
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if state["stage"] != stage:
            return 0
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        vars(best).update(state["best"])
        return int(state["step"])
