"""Parser of the command line: a command is imported when it is called, and wrong usage is one line.

Numbers are finite and paths not empty, for every argument of type `int`, `float` or `Path`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gearshift.terminal.streams import complaint, result

WRONG_USAGE = 2
"""Exit code that argparse gives too."""

LARGEST = (1 << 63) - 1
"""Largest whole number: numpy and torch have no room for a larger one."""

SHOWN = 40
"""Most characters of a wrong number that are repeated in the message."""


def file_path(text: str) -> Path:
    """Read a path. An empty one, as of a variable that is not set, would be the directory that we are in."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # onnxruntime, tokenizers and JSON take no other names
        raise argparse.ArgumentTypeError(f"expected a path in UTF-8, got {text!r}; rename it") from error
    return Path(text)


def number(text: str) -> float:
    """Read a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, got {text[:SHOWN]!r}")
    return value


def whole_number(text: str) -> int:
    """Read a whole number."""
    try:
        value = int(text)
    except ValueError as error:  # also for thousands of digits
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text[:SHOWN]!r}") from error
    if abs(value) > LARGEST:
        raise argparse.ArgumentTypeError(f"expected a whole number up to {LARGEST}, got {text[:SHOWN]!r}")
    return value


class Parser(argparse.ArgumentParser):
    """Parser that gets its arguments from `fill` when it is first used."""

    def __init__(self, *arguments: Any, fill: Callable[[Parser], None] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for kind, read in ((Path, file_path), (float, number), (int, whole_number)):
            self.register("type", kind, read)
        self._fill = fill

    def parse_known_args(  # type: ignore[override]  # typeshed has overloads for the types of the namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the arguments; those that are not known come back."""
        if self._fill is not None:
            fill, self._fill = self._fill, None
            fill(self)
        return super().parse_known_args(args, namespace)

    def print_help(self, file: Any = None) -> None:
        """Write the help to standard output, whose failure is an error."""
        if file is None:
            result(*self.format_help().rstrip("\n").split("\n"))
        else:
            super().print_help(file)

    def error(self, message: str) -> NoReturn:
        """Say in one line what was wrong, and end the program."""
        complaint(f"{message}; see {self.prog} --help")
        raise SystemExit(WRONG_USAGE)


class Version(argparse.Action):
    """Action that writes the version to standard output and ends the program."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        result(str(self.const))
        raise SystemExit(0)
