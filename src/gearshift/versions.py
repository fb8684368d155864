"""Versions of packages, as numbers that can be compared."""

from __future__ import annotations

import re


def release_numbers(version: str) -> tuple[int, ...] | None:
    """Return the leading numbers of a version: 1.23.2rc1 is (1, 23, 2); None if it starts with none."""
    found = re.match(r"\d+(\.\d+)*", version)
    return None if found is None else tuple(int(number) for number in found[0].split("."))


def minimum(versions: str) -> str | None:
    """Return the least version of a specifier such as `<5.20,>=4.48`; None if it has none."""
    least = re.search(r">=\s*([\w.]+)", versions)
    return None if least is None else least[1]
