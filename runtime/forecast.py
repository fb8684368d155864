"""What a temperature will be in a short while, by the model of one heat capacity and one resistance (RC)."""

from __future__ import annotations

import math
from collections.abc import Sequence

HORIZON_S = 15.0
"""How far is looked ahead: no further than one time constant, where the slope alone says nearly all."""

TIME_CONSTANT_S = 60.0
"""Of a small board with a heat sink. Little hangs on it: with half or twice of it the rise that is forecast
over HORIZON_S is 11 % smaller or 6 % larger."""

LEAST_SPAN_S = 3.0
"""A slope over less is noise: many sensors count whole degrees."""


def forecast_c(
    samples: Sequence[tuple[float, float]], *, horizon_s: float = HORIZON_S, time_constant_s: float = TIME_CONSTANT_S
) -> float | None:
    """Degrees Celsius `horizon_s` after the last of the samples, (seconds, degrees) oldest first; None without one.

    The RC model dT/dt = (T_end - T) / tau gives T + s tau (1 - exp(-horizon / tau)) for the slope s of now, which
    is that of the least-squares line through the samples. Over less than LEAST_SPAN_S the slope counts as 0.
    """
    if not samples:
        return None
    last = samples[-1][1]
    if samples[-1][0] - samples[0][0] < LEAST_SPAN_S:
        return last
    return last + _slope(samples) * time_constant_s * -math.expm1(-horizon_s / time_constant_s)


def _slope(samples: Sequence[tuple[float, float]]) -> float:
    mean_s = sum(time for time, _ in samples) / len(samples)
    mean_c = sum(degrees for _, degrees in samples) / len(samples)
    spread = sum((time - mean_s) ** 2 for time, _ in samples)
    return sum((time - mean_s) * (degrees - mean_c) for time, degrees in samples) / spread
