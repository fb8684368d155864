"""Modules of a sentence-transformers model: `modules.json` and the folders that it names.

`modules.json` decides, whatever the folders are called: a Transformer, a Pooling, then any of Dense, LayerNorm,
Normalize and Dropout. A model with any other module is refused by its name. Files of releases from 1 to 6 are read;
where these differ, the newest decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from gearshift.errors import ModelError, first_line
from gearshift.schema import read_json
from gearshift.trainer.model.embedding_head import ACTIVATIONS, POOLINGS, Dense, LayerNorm, Normalize, Step

MODULES = "modules.json"
POOLING = "1_Pooling/config.json"
"""File of the pooling in a directory without MODULES."""

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files of a module's weights, of which the first that exists is read."""

FLAGS = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Field of a pooling's config before release 5.4 -> pooling, in the order in which they are concatenated."""

CLS = "cls"
"""Name of the pooling `first` in files of sentence-transformers."""

_PACKAGE = "sentence_transformers."
_VECTOR = "sentence_embedding"
_ADVICE = "download the model again"


@dataclass(frozen=True)
class SentenceModules:
    """Modules behind the encoder of an embedding model."""

    pooling: str = "mean"
    """Poolings, with `+` between them."""
    steps: tuple[Step, ...] = (Normalize(),)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Weights of the steps, by the names in `TaskModel`."""
    include_prompt: bool = True
    """Whether the pooling takes the tokens of a prompt too."""


@dataclass(frozen=True)
class _Entry:
    """Entry of modules.json."""

    kind: str
    """Name of the class; with its package if that is not sentence-transformers."""
    folder: Path
    name: str


def encoder_folder(path: Path) -> Path:
    """Return the directory of the encoder's files in a model's directory, which MODULES may name; raises ModelError."""
    entries = _entries(path)
    return entries[0].folder if entries and entries[0].kind == "Transformer" else path


def read_modules(path: Path, hidden: int) -> SentenceModules:
    """Read the modules behind an encoder of width `hidden`; raise ModelError for any that cannot be followed.

    Without MODULES it is the pooling of POOLING, or else the mean, and a vector of length 1.
    """
    entries = _entries(path)
    if not entries:
        pooling, include = _read_pooling(path / POOLING, hidden) if (path / POOLING).is_file() else ("mean", True)
        return SentenceModules(pooling, include_prompt=include)
    _check_order(path, entries)
    pooling, include = _read_pooling(entries[1].folder / CONFIG, hidden)
    width = len(pooling.split("+")) * hidden
    steps: list[Step] = []
    weights: dict[str, Tensor] = {}
    for entry in entries[2:]:
        step = _STEPS[entry.kind](entry.folder / CONFIG)
        if step is None:
            continue
        expected = getattr(step, "inputs", width)
        if expected != width:
            raise ModelError(
                f"{entry.folder}: {entry.kind} takes {expected} numbers, the module before it gives {width}; {_ADVICE}"
            )
        prefix = f"steps.{len(steps)}."
        weights |= {prefix + name: tensor for name, tensor in _read_weights(entry, step).items()}
        steps.append(step)
        width = step.width(width)
    return SentenceModules(pooling, tuple(steps), weights, include)


def _entries(path: Path) -> list[_Entry]:
    """Read MODULES; empty without it."""
    if not (path / MODULES).is_file():
        return []
    raw = read_json(path / MODULES, _listed_modules, error=ModelError, advice=_ADVICE)
    entries = [_entry(path, *each) for each in raw]
    if not entries:
        raise ModelError(f"{path / MODULES}: expected a list of modules, found none; {_ADVICE}")
    return entries


def _listed_modules(raw: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Parse MODULES: class, folder and name of each."""
    return [(str(each["type"]), str(each["path"]), str(each["name"])) for each in raw]


def _entry(path: Path, kind: str, folder: str, name: str) -> _Entry:
    inside = PurePosixPath(folder)
    if inside.is_absolute() or ".." in inside.parts:
        raise ModelError(f"{path / MODULES}: expected a folder in the model's directory, found {folder}; {_ADVICE}")
    own = kind.startswith(_PACKAGE)
    return _Entry(kind.rpartition(".")[2] if own else kind, path / inside, name)


def _check_order(path: Path, entries: list[_Entry]) -> None:
    """Raise ModelError unless the modules are a Transformer, a Pooling, and steps, under different names."""
    kinds = [entry.kind for entry in entries]
    known = ("Transformer", "Pooling", *_STEPS)
    strange = [kind for kind in kinds if kind not in known]
    if strange:
        raise ModelError(
            f"{path / MODULES}: module {strange[0]} is not supported; expected Transformer, Pooling, and then any of "
            f"{', '.join(_STEPS)}"
        )
    right = kinds[:2] == ["Transformer", "Pooling"] and not {"Transformer", "Pooling"} & set(kinds[2:])
    if not right:
        raise ModelError(
            f"{path / MODULES}: expected Transformer, Pooling, and then any of {', '.join(_STEPS)}, found "
            f"{', '.join(kinds)}"
        )
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise ModelError(f"{path / MODULES}: expected modules of different names, found {', '.join(names)}")


def _read_pooling(file: Path, hidden: int) -> tuple[str, bool]:
    """Return the poolings, with `+` between them, and whether they take the tokens of a prompt."""
    modes, include, width = read_json(file, _pooling, error=ModelError, advice=_ADVICE)
    for mode in modes:
        if mode not in POOLINGS:
            expected = ", ".join(CLS if name == "first" else name for name in POOLINGS)
            raise ModelError(f"{file}: pooling {mode} is not supported; expected one or several of {expected}")
    if width not in (None, hidden):
        raise ModelError(f"{file}: expected the encoder's width {hidden}, found {width}; {_ADVICE}")
    return "+".join(modes), include


def _pooling(raw: dict[str, Any]) -> tuple[list[str], bool, int | None]:
    """Parse the config of a pooling: its modes, whether it takes the tokens of a prompt, and the states' width."""
    given = raw.get("pooling_mode")
    if given is None:
        chosen = [name for name, flag in raw.items() if name.startswith("pooling_mode_") and flag]
        modes = [mode for name, mode in FLAGS.items() if name in chosen]
        modes = [*modes, *(name for name in chosen if name not in FLAGS)] or ["mean"]
    else:
        listed = [given] if isinstance(given, str) else list(given)
        modes = ["first" if mode == CLS else str(mode) for mode in listed]
    if not modes:
        raise ValueError("no pooling_mode")
    width = raw.get("embedding_dimension", raw.get("word_embedding_dimension"))
    return modes, bool(raw.get("include_prompt", True)), width


def _read_dense(file: Path) -> Dense:
    step, activation, names = read_json(file, _dense, error=ModelError, advice=_ADVICE)
    _require_vector(file, names)
    if not activation.startswith("torch.nn.") or step.activation not in ACTIVATIONS:
        raise ModelError(
            f"{file}: activation function {activation} is not supported; expected one of torch.nn's "
            f"{', '.join(ACTIVATIONS)}"
        )
    return step


def _dense(raw: dict[str, Any]) -> tuple[Dense, str, list[object]]:
    """Parse the config of a dense layer: the layer, the full name of its activation, and what it takes and gives."""
    activation = str(raw.get("activation_function", "torch.nn.modules.activation.Tanh"))
    step = Dense(
        int(raw["in_features"]),
        int(raw["out_features"]),
        bool(raw.get("bias", True)),
        activation.rpartition(".")[2],
        bool(raw.get("use_residual", False)),
    )
    return step, activation, _taken(raw)


def _read_layer_norm(file: Path) -> LayerNorm:
    return read_json(file, lambda raw: LayerNorm(int(raw["dimension"])), error=ModelError, advice=_ADVICE)


def _read_normalize(file: Path) -> Normalize:
    if file.is_file():  # older releases write none
        _require_vector(file, read_json(file, _taken, error=ModelError, advice=_ADVICE))
    return Normalize()


def _read_dropout(file: Path) -> None:
    """Return no step: a dropout changes no answer."""


def _taken(raw: dict[str, Any]) -> list[object]:
    """Return the names of what a module takes and gives, if they are stated."""
    return [raw.get(name) for name in ("module_input_name", "module_output_name")]


def _require_vector(file: Path, names: list[object]) -> None:
    """Raise ModelError unless a module takes and gives the vector of a text."""
    for name in names:
        if name not in (None, _VECTOR):
            raise ModelError(f"{file}: a module of {name} is not supported; expected one of {_VECTOR}")


_STEPS: Mapping[str, Callable[[Path], Step | None]] = {
    "Dense": _read_dense,
    "LayerNorm": _read_layer_norm,
    "Normalize": _read_normalize,
    "Dropout": _read_dropout,
}
"""Class of a module -> function that reads its config as a step; None for no step."""


def _read_weights(entry: _Entry, step: Step) -> dict[str, Tensor]:
    """Return the weights of a module, under its own names, in fp32; raises ModelError."""
    wanted = {name: tensor.shape for name, tensor in step.module().state_dict().items()}
    if not wanted:
        return {}
    file = next((entry.folder / name for name in WEIGHTS if (entry.folder / name).is_file()), None)
    if file is None:
        raise ModelError(f"{entry.folder}: {entry.kind} has none of {', '.join(WEIGHTS)}; {_ADVICE}")
    try:
        safe = file.suffix == ".safetensors"
        found = safetensors.torch.load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
        shapes = {name: tensor.shape for name, tensor in found.items()}
    except (OSError, RuntimeError, ValueError, EOFError, AttributeError, UnpicklingError, SafetensorError) as error:
        raise ModelError(f"{file}: no weights that torch can read ({first_line(error)}); {_ADVICE}") from error
    if shapes != wanted:
        raise ModelError(f"{file}: expected {_listed(wanted)}, found {_listed(shapes)}; {_ADVICE}")
    for name, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{file}: {name} has values that are not finite; {_ADVICE}")
    return {name: tensor.float() for name, tensor in found.items()}


def _listed(shapes: Mapping[str, torch.Size]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items())) or "none"
