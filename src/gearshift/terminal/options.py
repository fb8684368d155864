"""Arguments shared by commands: settings as flags, data sets and their columns, lists."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.extras import require
from gearshift.runtime.bundle.manifest import PRECISIONS
from gearshift.settings import settings_of
from gearshift.terminal.parser import SHOWN, number, whole_number

if TYPE_CHECKING:
    from gearshift.trainer.data.splits import DataSet


GOES_ON = "; the same command goes on from where it last saved"
"""Addition to the message on interruption, for a command that saves as it goes."""

COLUMNS = ("text_column", "pair_column", "label_column", "label_names", "strict_labels")


def command(
    parser: argparse.ArgumentParser, function: Callable[[argparse.Namespace], int], *, extras: Sequence[str] = ()
) -> None:
    """Let a parser call `function` if the packages of its extras are installed; add what every command takes."""

    def call(options: argparse.Namespace) -> int:
        for extra in extras:
            require(extra)
        return function(options)

    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    # Accepted after the command too; without a default, which would overwrite a flag before the command.
    parser.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.set_defaults(command=call, wrong_usage=parser.error)


def add_settings(parser: argparse.ArgumentParser, *settings: type) -> None:
    """Add a flag for every setting of some dataclasses.

    A flag that is not given is None, so that `given` finds those that were typed; the help states the default. Fields
    without a help text have no flag.
    """
    group = parser.add_argument_group("settings")
    for field in [field for one in settings for field in settings_of(one) if "help" in field.metadata]:
        flag, text = f"--{field.name.replace('_', '-')}", _help(field)
        required = field.default is dataclasses.MISSING
        kind, choices = str(field.type).removesuffix(" | None"), field.metadata["choices"]
        if kind == "bool":
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif choices:
            group.add_argument(flag, choices=choices, help=text, required=required)
        else:
            group.add_argument(flag, type=_KINDS[kind], metavar=field.metadata["unit"], help=text, required=required)


def given(options: argparse.Namespace, settings: type) -> dict[str, Any]:
    """Return the settings that were typed: name -> value."""
    named = {field.name: getattr(options, field.name, None) for field in settings_of(settings)}
    return {name: value for name, value in named.items() if value is not None}


def _help(field: dataclasses.Field[Any]) -> str:
    """Return the help text of a setting, with its default as one would type it and the paper's value if it has one."""
    said = []
    if field.default is not dataclasses.MISSING:
        default = _shown(field.default) or field.metadata["unset"]
        said += [f"default: {default}"] if default else []
    said += [f"paper: {field.metadata['paper']}"] if field.metadata["paper"] else []
    return f"{field.metadata['help']} ({'; '.join(said)})" if said else str(field.metadata["help"])


def _shown(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(_shown(part) for part in value)
        case _:
            return str(value)


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the columns of a data set."""
    for name, text in (
        (
            "text",
            "column of the text (default: sentence, or another usual name; the words: tokens; the question: question)",
        ),
        ("pair", "column of the second text, read if present (default: sentence2; the context: context)"),
        (
            "label",
            "column of the label (default: label, or another usual name; of tags: ner_tags; of answers: answers)",
        ),
    ):
        parser.add_argument(f"--{name}-column", default="", metavar="NAME", help=text)
    parser.add_argument(
        "--label-names",
        default="",
        metavar="A,B,...|FILE",
        help="names of labels that are integers, from 0 on, or a file of them, one a line (default: those of "
        "dataset_info.json or labels.txt beside the data)",
    )
    parser.add_argument(
        "--strict-labels",
        action="store_true",
        help="refuse dev and test rows with a label that train lacks (default: they count as wrong)",
    )


def columns_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the columns that were typed, with what else says how to read them, by the names of `read_data`'s
    arguments."""
    return {name: getattr(options, name) for name in COLUMNS if getattr(options, name)}


def read_task_data(options: argparse.Namespace, path: Path, task: str) -> DataSet:
    """Read the data set of a task, with its columns as typed."""
    from gearshift.trainer.data.splits import read_data

    return read_data(path, task=task, **columns_of(options))


def multipliers(text: str) -> tuple[float, ...]:
    """Read numbers separated by commas."""
    try:
        return tuple(number(part) for part in text.split(","))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"expected numbers with commas between them, such as 1,0.5, got {text[:SHOWN]!r}"
        ) from error


def whole_numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers separated by commas."""
    try:
        return tuple(whole_number(part) for part in text.split(","))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers with commas between them, such as 16,64, got {text[:SHOWN]!r}"
        ) from error


def precisions(text: str) -> tuple[str, ...]:
    """Read names of precisions separated by commas, each once."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(names) <= set(PRECISIONS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(PRECISIONS)}, got {text!r}")
    return names


def names(text: str) -> tuple[str, ...]:
    """Read words separated by commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


_KINDS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "str": str,
    "tuple[float, ...]": multipliers,
    "tuple[int, ...]": whole_numbers,
}
"""Annotation of a setting -> function that reads its flag."""
