"""Settings as a TOML file, which `gearshift train --config` reads and every run stores beside its weights, and the
versions of packages that a run states.

teacher_epochs = 4
widths = [1, 0.5]
mixed_precision = "bf16"
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from gearshift import __version__
from gearshift.errors import InputError
from gearshift.settings import settings_of
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.learning.settings import TrainingSettings

SETTINGS_FILE = "settings.toml"

_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy")

_KINDS: Mapping[str, tuple[str, type | tuple[type, ...]]] = {
    "int": ("a whole number", int),
    "float": ("a number", (int, float)),
    "bool": ("true or false", bool),
    "str": ("a text in quotes", str),
}


S = TypeVar("S", bound=Settings)


def read_settings(path: Path, given: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings of a file, with those `given` in place of its own; raise InputError, which names the file."""
    return read_settings_of(Settings, path, given)


def read_settings_of(kind: type[S], path: Path, given: Mapping[str, Any] | None = None) -> S:
    """Read settings of a class, as `read_settings` does."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a TOML file of settings ({error})") from error
    known = {field.name: str(field.type).removesuffix(" | None") for field in settings_of(kind)}
    for name, value in found.items():
        if name not in known:
            raise InputError(f"{path}: unknown setting {name!r}; expected some of {', '.join(known)}")
        found[name] = _checked(path, name, known[name], value)
    return kind(**{**found, **(given or {})})


def settings_text(settings: TrainingSettings) -> str:
    """Return the content of a file that `read_settings` reads as these settings."""
    # Numbers, texts, true and false, and lists of them look the same in JSON and in TOML, which has no null.
    given = {name: value for name, value in settings.to_dict().items() if value is not None}
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items())


def versions() -> dict[str, str]:
    """Return the versions, by name, of the packages that affect the result of a training."""
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"gearshift": __version__, "python": platform.python_version(), **packages}


def _checked(path: Path, name: str, kind: str, value: object) -> Any:
    if kind == "tuple[float, ...]":
        if isinstance(value, list) and all(type(one) in (int, float) for one in value):
            return tuple(float(one) for one in value)
        raise InputError(f"{path}: {name}: expected a list of numbers, got {value!r}")
    if kind == "tuple[int, ...]":
        if isinstance(value, list) and all(type(one) is int for one in value):
            return tuple(value)
        raise InputError(f"{path}: {name}: expected a list of whole numbers, got {value!r}")
    expected, types = _KINDS[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
        raise InputError(f"{path}: {name}: expected {expected}, got {value!r}")
    return value
