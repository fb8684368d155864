"""What all commands print: one JSON object or lines, tables of text, and a bar while something takes long."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def show(options: argparse.Namespace, result: dict[str, Any], lines: Sequence[str]) -> None:
    """One JSON object on standard output where it was asked for, else the lines."""
    print(json.dumps(result) if options.json else "\n".join(lines))


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in (header, *rows)
    ]


@contextlib.contextmanager
def progress_line(unit: str = "") -> Iterator[Callable[[str, float, float], None]]:
    """Shows on a terminal how far something is, in one line of standard error that is gone at the end."""
    shown = sys.stderr.isatty()

    def show(what: str, done: float, planned: float) -> None:
        if shown:
            filled = max(0, min(30, int(30 * done / planned)))
            bar = "#" * filled + "." * (30 - filled)
            print(f"\r\x1b[K{what} [{bar}] {done:.0f}/{planned:.0f}{unit}", end="", file=sys.stderr)
            sys.stderr.flush()

    try:
        yield show
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
