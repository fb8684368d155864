"""One request: its texts, its deadline, and where its answer goes."""

from __future__ import annotations

import contextlib
import math
import numbers

from gearshift.errors import InputError


def checked_deadline(deadline_ms: object) -> float | None:
    """A deadline as requests take it; raises InputError for what is none."""
    if deadline_ms is None or (type(deadline_ms) is float and 0 < deadline_ms < math.inf):  # at once: the usual ones
        return deadline_ms
    # A bool is a number in Python, but no deadline. A NaN compares as false.
    if isinstance(deadline_ms, numbers.Real) and not isinstance(deadline_ms, bool):
        with contextlib.suppress(OverflowError):  # an integer too large for a float
            milliseconds = float(deadline_ms)
            if 0 < milliseconds < math.inf:
                return milliseconds
    raise InputError(f"deadline_ms: expected a positive number of milliseconds or None, got {deadline_ms!r}")
