"""Operator costs of this device, and their error on a bundle that they were not fitted to."""

from __future__ import annotations

import dataclasses
import statistics

import numpy as np

from gearshift.device_profiles import OperatorCosts
from gearshift.device_profiles.latency_table import CPU_PROVIDER
from gearshift.runtime.bench.choices import Switches, random_choices
from gearshift.runtime.bench.operators.fit import fit_operator_costs
from gearshift.runtime.bench.operators.probe import time_probe
from gearshift.runtime.bench.operators.trace import trace
from gearshift.runtime.bench.result import Measured
from gearshift.runtime.bundle.bundle import Bundle

NEEDED_MB = 300
"""Memory in MB that the probe may take at fp32: its weights in the page cache, as read, and as packed."""

CHECKED_SUBNETS = 6
"""Largest number of pool subnets, and of random ones, that the costs are checked with."""


def profile_operators(bundle: Bundle, measured: Measured, *, seconds: float) -> OperatorCosts:
    """Fit operator costs to the probe alone, under the conditions of `measured`.

    Their errors are taken against the latencies of `measured`.
    """
    conditions = measured.conditions
    calls = time_probe(conditions.precision, threads=conditions.threads, seconds=seconds)
    costs = fit_operator_costs(calls, precision=conditions.precision, provider=CPU_PROVIDER, threads=conditions.threads)
    pool = [entry.choice for entry in bundle.pool(conditions.precision).values()]
    choices = pool[:CHECKED_SUBNETS] + random_choices(Switches.of(bundle.manifest.space), CHECKED_SUBNETS, 23, pool)
    cells = [(choice, length) for choice in choices for length in measured.stages.lengths]
    errors = [
        abs(costs.predict_ms(one.operator for one in call) / measured.stages.predict(*cell) - 1)
        for cell, (call,) in zip(cells, trace(bundle, conditions.precision, cells, warm_up=False), strict=True)
    ]
    return dataclasses.replace(
        costs, error_median=statistics.median(errors), error_p95=float(np.percentile(errors, 95))
    )
