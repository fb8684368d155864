"""Output of the commands: results as lines or JSON, tables, progress."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gearshift.escaping import escaped
from gearshift.terminal import streams

if TYPE_CHECKING:  # an engine that shows progress parses no arguments
    import argparse


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format a table as lines, the first column left-aligned and the others right-aligned."""
    header, *rows = [[escaped(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in (header, *rows)
    ]


def show(options: argparse.Namespace, result: dict[str, Any], lines: Sequence[str]) -> None:
    """Print the lines, or with --json the result."""
    streams.result(*([json.dumps(result)] if options.json else lines))


@contextlib.contextmanager
def progress_line(unit: str = "") -> Iterator[Callable[[str, float, float], None]]:
    """Show progress on a terminal, in one line of standard error that is erased at the end."""
    shown = sys.stderr.isatty()

    def update(what: str, done: float, planned: float) -> None:
        if shown:
            filled = max(0, min(30, int(30 * done / max(planned, 1e-9))))
            bar = "#" * filled + "." * (30 - filled)
            streams.replace_line(f"{what} [{bar}] {done:.0f}/{planned:.0f}{unit}")

    try:
        yield update
    finally:
        if shown:
            streams.replace_line("")
