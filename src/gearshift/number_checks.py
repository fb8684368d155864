"""Numbers that come from a caller or a file: whether they are ones. True and false never are."""

from __future__ import annotations

import math
from typing import TypeGuard


def is_whole(value: object, least: int | None = None, most: int | None = None) -> TypeGuard[int]:
    """Whether this is an integer, from `least` to `most` where they are given."""
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return (least is None or value >= least) and (most is None or value <= most)


def is_finite(value: object) -> TypeGuard[float]:
    """Whether this is a number that is neither infinite nor NaN, and not too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False
