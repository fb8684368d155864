"""Checks of numbers from a caller or a file, and how a wrong one is told. True and false do not count as numbers."""

from __future__ import annotations

import math
import numbers
from typing import TypeGuard

SHOWN = 80
"""Most characters of a wrong value that are repeated in a message."""


def is_whole(value: object, least: int | None = None, most: int | None = None) -> TypeGuard[int]:
    """Return whether a value is an integer, from `least` to `most` if given."""
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return (least is None or value >= least) and (most is None or value <= most)


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a number that is neither infinite nor NaN, and not too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def is_number(value: object) -> TypeGuard[numbers.Real]:
    """Return whether a value is a number of any type, infinite ones too, that a float has room for."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False


def shown(value: object) -> str:
    """Return a wrong value for a message, on one line, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a whole number of more digits than Python writes
        return f"a value of type {type(value).__name__}, too long to be shown"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
