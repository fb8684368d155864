"""Latency of any choice as a sum: a fixed time, and the time of one option per stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.device_profiles.latency_table import time_at
from gearshift.errors import ProfileError
from gearshift.runtime.bench.choices import Switches
from gearshift.runtime.space.space import Choice

Array = NDArray[np.float64]

NOISE = 0.03
"""Relative error of one call on a quiet machine."""

DEVIATION = 0.03
"""Expected difference in cost between equal options of two stages, as a share of a whole stage: their weights lie
elsewhere, and caches hold something else. With many calls the fit follows the measurements."""

ROBUST_STEPS = 12
LEAST_RESIDUAL = 0.01
"""Steps of iterative reweighting for least absolute residuals (Schlossmacher 1973), and the floor of a residual."""

LEAST_MS = 1e-3
"""Lower bound of a predicted time, whatever the fitted sum is."""

PERCENTILES = (90, 95, 99)


@dataclass(frozen=True)
class StageLatency:
    """Latency in ms by stage, option and length, fitted to single calls under one set of conditions."""

    lengths: tuple[int, ...]
    fixed_ms: tuple[float, ...]
    """Time of the embeddings, the head and the call itself, for each length."""
    option_ms: tuple[tuple[tuple[float, ...], ...], ...]
    """Time of an option: stage -> option -> length."""
    tails: dict[int, tuple[float, ...]]
    """Percentile -> percentile of (time of a call / its prediction), for each length: the scatter of the calls."""
    calls: int
    """Number of calls in the fit, at the length that has the fewest."""

    def predict(self, choice: Choice, length: int) -> float:
        """Predict the median time in ms of one call, linear between the measured lengths."""
        return time_at(self.lengths, self.at_lengths(choice), length)

    def at_lengths(self, choice: Choice) -> tuple[float, ...]:
        """Return the predicted time in ms at each measured length."""
        if len(choice) != len(self.option_ms):
            raise ProfileError(
                f"latencies: expected a choice of {len(self.option_ms)} options, one a stage, got {len(choice)}"
            )
        rows = [stage[option] for stage, option in zip(self.option_ms, choice, strict=True)]
        return tuple(max(sum(parts), LEAST_MS) for parts in zip(self.fixed_ms, *rows, strict=True))

    def tail(self, percentile: int, length: int) -> float:
        """Return the ratio of a percentile (90, 95 or 99) to the median; at least 1."""
        return max(1.0, float(np.interp(length, self.lengths, self.tails[percentile])))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {**vars(self), "tails": {f"p{percentile}": list(values) for percentile, values in self.tails.items()}}


def fit_stage_latency(space: Switches, calls: Sequence[tuple[Choice, int, float]]) -> StageLatency:
    """Fit latencies to calls `(choice, length, milliseconds)`.

    At each length, equal options of different stages share a cost, and each has a deviation of its own that is held
    near 0 (ridge regression). The last stage may compute less, and shares with no other. Raises ProfileError without
    any call.
    """
    lengths = tuple(sorted({length for _, length, _ in calls}))
    if not lengths:
        raise ProfileError("expected timed calls to fit latencies to, found none; measure for longer")
    columns = _columns(space)
    fixed, options, tails, counts = [], [], [], []
    for length in lengths:
        chosen = [(choice, ms) for choice, at, ms in calls if at == length]
        features = np.array([_row(space, columns, choice) for choice, _ in chosen])
        times = np.array([ms for _, ms in chosen])
        solution = _robust(features, times, held=1 + columns.shared, stages=len(space.stages))
        fixed.append(float(solution[0]))
        options.append(
            [[_cost(solution, columns, s, o) for o in range(len(stage))] for s, stage in enumerate(space.stages)]
        )
        ratios = times / np.maximum(features @ solution, LEAST_MS)
        tails.append([float(np.percentile(ratios, percentile)) for percentile in PERCENTILES])
        counts.append(len(times))
    return StageLatency(
        lengths,
        tuple(fixed),
        tuple(
            tuple(tuple(options[place][s][o] for place in range(len(lengths))) for o in range(len(stage)))
            for s, stage in enumerate(space.stages)
        ),
        {percentile: tuple(row[place] for row in tails) for place, percentile in enumerate(PERCENTILES)},
        min(counts),
    )


@dataclass(frozen=True)
class _Columns:
    """Feature columns of each (stage, option): the shared cost and its own deviation; none for an option that skips."""

    common: dict[tuple[int, int], int]
    own: dict[tuple[int, int], int]
    shared: int

    @property
    def count(self) -> int:
        return 1 + self.shared + len(self.own)


def _columns(space: Switches) -> _Columns:
    kinds: dict[Any, int] = {}
    common: dict[tuple[int, int], int] = {}
    last = len(space.stages) - 1
    for s, stage in enumerate(space.stages):
        for o, option in enumerate(stage):
            if option is None:  # a skipped stage costs nothing beyond the fixed time
                continue
            common[s, o] = 1 + kinds.setdefault((option, s == last), len(kinds))
    own = {key: 1 + len(kinds) + place for place, key in enumerate(common)}
    return _Columns(common, own, len(kinds))


def _row(space: Switches, columns: _Columns, choice: Choice) -> list[float]:
    row = [0.0] * columns.count
    row[0] = 1.0
    for key in enumerate(choice):
        if key in columns.common:
            row[columns.common[key]] += 1.0
            row[columns.own[key]] += 1.0
    return row


def _cost(solution: Array, columns: _Columns, stage: int, option: int) -> float:
    key = (stage, option)
    return float(solution[columns.common[key]] + solution[columns.own[key]]) if key in columns.common else 0.0


def _robust(features: Array, times: Array, *, held: int, stages: int) -> Array:
    """Fit by least absolute relative residuals; coefficients from index `held` on are held near 0."""
    stage = float(np.median(times)) / stages
    # Coefficients that no call determines (few calls) stay near 0 instead of anywhere.
    penalty = np.full(features.shape[1], (1e-4 / stage) ** 2)
    penalty[held:] += (NOISE / (DEVIATION * stage)) ** 2
    rows = features / times[:, None]
    weights = np.ones(len(times))
    solution = np.zeros(features.shape[1])
    for _ in range(ROBUST_STEPS):
        weighted = rows * weights[:, None]
        # Normal equations: a tenth of the time of a decomposition, and the penalty keeps them well-posed.
        solution = np.linalg.solve(weighted.T @ rows + np.diag(penalty), weighted.sum(axis=0))
        weights = NOISE / np.maximum(np.abs(rows @ solution - 1), LEAST_RESIDUAL)
    return solution
