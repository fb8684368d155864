"""Checks of numbers from a caller or a file. True and false do not count as numbers."""

from __future__ import annotations

import math
from typing import TypeGuard


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
