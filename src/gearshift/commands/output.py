"""How the commands show what came out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any


def millions(number: int) -> str:
    """Such as 12.3 M."""
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e6:.3f} M"


def percent(share: float) -> str:
    """Such as 98.3 %."""
    return f"{100 * share:.1f} %"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in (header, *rows)
    ]


def show(options: argparse.Namespace, result: dict[str, Any], lines: Sequence[str]) -> None:
    """Print the lines, or with --json the result."""
    print(json.dumps(result) if options.json else "\n".join(lines))
