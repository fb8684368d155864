"""A bar on a terminal while something takes long."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


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
