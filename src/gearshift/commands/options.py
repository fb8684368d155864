"""What the arguments of several commands have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from gearshift.errors import MissingExtraError
from gearshift.runtime.bundle.manifest import PRECISIONS

Flags = dict[str, tuple[Callable[[str], object], str]]
"""Field of some settings -> how its flag is read, and what it says."""


GOES_ON = "; the same command goes on from where it last saved"
"""What an interruption says of a command that saves as it goes."""


def command(
    listed: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """The parser of a command that calls `function`; it is added to those that are listed."""
    parser: argparse.ArgumentParser = listed.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    # Also after the command; without a default, which would overwrite what was given before it.
    parser.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.set_defaults(command=function)
    return parser


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the names of the columns of a data set."""
    for name, text in (
        ("text", "column of the text (default: sentence; the words: tokens; the question: question)"),
        ("pair", "column of the second text, read where it is there (default: sentence2; the context: context)"),
        ("label", "column of the label (default: label; numbers: label or score; ner_tags or tags; answers)"),
    ):
        parser.add_argument(f"--{name}-column", default="", metavar="NAME", help=text)


def add_flags(parser: argparse.ArgumentParser, flags: Flags, read: Callable[[], Any]) -> None:
    """One flag for every setting; the defaults stay in the trainer, and are shown where that is installed."""
    try:
        defaults = read()
    except MissingExtraError:
        defaults = {}
    group = parser.add_argument_group("settings")
    for name, (kind, text) in flags.items():
        flag, default = f"--{name.replace('_', '-')}", defaults.get(name)
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=_with_default(text, default))
        else:
            shape = "M,M" if kind is multipliers else "NAME" if kind is str else "N"
            group.add_argument(flag, type=kind, metavar=shape, help=_with_default(text, default))


def _with_default(text: str, default: Any) -> str:
    """A help text with the default as one would type it, where that is known."""
    if default in (None, "", ()):
        return text
    if isinstance(default, bool):
        return f"{text} (default: {'yes' if default else 'no'})"
    if isinstance(default, str):
        return f"{text} (default: {default})"
    shown = ",".join(f"{part:g}" for part in default) if isinstance(default, tuple) else f"{default:g}"
    return f"{text} (default: {shown})"


def multipliers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected numbers with commas between them, such as 1,0.5, got {text!r}"
        ) from error


def precisions(text: str) -> tuple[str, ...]:
    """Names of precisions with commas between them, each once."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(names) <= set(PRECISIONS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(PRECISIONS)}, got {text!r}")
    return names


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers with commas between them, such as 16,64, got {text!r}"
        ) from error


def names(text: str) -> tuple[str, ...]:
    """Words with commas between them, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
