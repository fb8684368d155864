"""Settings as fields of dataclasses: default, help text and unit of each are stated once, beside the field.

The command line turns them into flags (`gearshift.terminal.options.add_settings`). Standard library only: `--help`
works without the packages of any extra.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import MISSING
from typing import Any


def setting(
    default: object, text: str, *, unit: str = "N", choices: Sequence[str] = (), unset: str = "", paper: str = ""
) -> Any:
    """Make the field of a setting; it is required if `default` is MISSING.

    `unit`: unit of its values. `choices`: all values it accepts. `unset`: meaning of an empty default. `paper`: value
    in the paper of the method.
    """
    told = {"help": text, "unit": unit, "choices": tuple(choices), "unset": unset, "paper": paper}
    return dataclasses.field(default=default, metadata=told)


def same_as(settings: type, name: str, default: object = MISSING, text: str = "", paper: str = "") -> Any:
    """Make a field with the meaning of a field of other settings; given arguments replace the values of that field."""
    field = next(field for field in dataclasses.fields(settings) if field.name == name)
    told = {**field.metadata, **{key: value for key, value in (("help", text), ("paper", paper)) if value}}
    return dataclasses.field(default=field.default if default is MISSING else default, metadata=told)


def settings_of(settings: type) -> list[dataclasses.Field[Any]]:
    """Return the fields of some settings, its own before inherited ones."""
    by_name = {field.name: field for field in dataclasses.fields(settings)}
    order = dict.fromkeys(name for one in settings.__mro__ for name in inspect.get_annotations(one) if name in by_name)
    return [by_name[name] for name in order]
