"""Operator costs fitted to traced calls, and scaled to the time of whole calls without the tracer."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gearshift.device_profiles.operators import ANY, Operator, OperatorCosts
from gearshift.runtime.bench.operators.trace import Traced

Array = NDArray[np.float64]

LEAST_US = 3.0
"""Floor of an operator's time in the weights of the fit, in microseconds: the tracer counts whole microseconds."""

METHOD = (
    "median of each operator and shape in ONNX Runtime's profiler, non-negative least squares of relative errors; "
    "what lies between operators from the time of whole calls without the profiler"
)


def fit_operator_costs(
    calls: Sequence[tuple[Sequence[Traced], float]], *, precision: str, provider: str, threads: int
) -> OperatorCosts:
    """Fit operator costs to traced calls, each with the time in ms of the same call without the tracer."""
    times: dict[Operator, list[float]] = {}
    for traced, _ in calls:
        for one in traced:
            times.setdefault(one.operator, []).append(one.microseconds)
    medians = {operator: max(statistics.median(its_times), 0.5) for operator, its_times in times.items()}
    kinds = sorted({operator.kind for operator in medians})
    costs = {kind: _costs({o: us for o, us in medians.items() if o.kind == kind}) for kind in kinds}
    costs[ANY] = _costs(medians)
    return OperatorCosts(
        precision,
        provider,
        threads,
        costs,
        _between_us(calls, costs),
        None,
        None,
        len(medians),
        METHOD,
        datetime.date.today().isoformat(),
    )


def _between_us(calls: Sequence[tuple[Sequence[Traced], float]], costs: Mapping[str, tuple[float, ...]]) -> float:
    """Return the time between two operators in microseconds: (time without the tracer - costs) / operators of a call.

    It is the median over the half of the calls whose operators are shortest; in long ones it is lost in the noise.
    """
    found = []
    for traced, whole_ms in calls:
        summed = sum(float(np.dot(costs[one.operator.kind], one.operator.amounts)) for one in traced)
        found.append((whole_ms / len(traced), (whole_ms * 1e3 - summed) / len(traced)))
    shortest = sorted(found)[: -(-len(found) // 2)]
    return statistics.median(between for _, between in shortest)


def _costs(medians: Mapping[Operator, float]) -> tuple[float, ...]:
    """Fit the costs of one kind of operator: non-negative least squares of relative errors over its shapes."""
    amounts = np.array([operator.amounts for operator in medians])
    times = np.array(list(medians.values()))
    weights = 1 / np.maximum(times, LEAST_US)
    return tuple(float(cost) for cost in non_negative(amounts * weights[:, None], times * weights))


def non_negative(matrix: Array, target: Array) -> Array:
    """Solve non-negative least squares (Lawson and Hanson 1974, chapter 23)."""
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-30)
    scaled = matrix / scale
    gram, product = scaled.T @ scaled, scaled.T @ target
    solution, passive = np.zeros(len(scale)), np.zeros(len(scale), bool)
    for _ in range(10 * len(scale)):
        gradient = np.where(passive, -np.inf, product - gram @ solution)
        if gradient.max() <= 1e-9 * max(1.0, float(np.abs(product).max())):
            break
        passive[int(gradient.argmax())] = True
        while True:
            trial = np.zeros(len(scale))
            trial[passive] = np.linalg.lstsq(gram[np.ix_(passive, passive)], product[passive], rcond=None)[0]
            if (trial[passive] > 0).all():
                solution = trial
                break
            falling = passive & (trial <= 0)
            steps = solution[falling] / np.maximum(solution[falling] - trial[falling], 1e-30)
            solution = solution + steps.min() * (trial - solution)
            passive &= solution > 1e-12
            solution[~passive] = 0.0
            if not passive.any():
                break
    return np.asarray(solution / scale)
