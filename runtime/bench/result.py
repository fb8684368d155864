"""Results of profiling: the latency of every choice under given conditions, and the error of its prediction."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gearshift.device_profiles import Fingerprint, OperatorCosts
from gearshift.device_profiles.batch_times import BatchTimes
from gearshift.device_profiles.latency_table import CPU_PROVIDER, LatencyTable
from gearshift.runtime.bench.contention import Contention
from gearshift.runtime.bench.gaps import GapEffect
from gearshift.runtime.bench.stage_latency import PERCENTILES, StageLatency
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.sensors.memory import Memory
from gearshift.runtime.space.space import Choice
from gearshift.runtime.startup import default_threads

PRIOR_CALLS = 4
"""Number of own calls of a subnet that weigh as much as the predicted sum of its stages."""

DRIFT = 0.05
"""Change between the first and the last third of the calls above which a warning is given."""

METHOD = (
    "wall clock of single calls in random order, random token ids; a sum over stages and options fitted to all calls "
    "(least absolute relative residuals), corrected by the subnet's own calls; percentiles: the scatter of all calls"
)


@dataclass(frozen=True)
class Conditions:
    """Conditions that calls were timed under."""

    precision: str
    threads: int
    batch: int


@dataclass(frozen=True)
class Checked:
    """Prediction and measurement of a subnet and length that the fit did not see."""

    choice: Choice
    length: int
    predicted_ms: float
    measured_ms: float
    calls: int

    @property
    def error(self) -> float:
        """Relative error: predicted / measured - 1."""
        return self.predicted_ms / self.measured_ms - 1


@dataclass(frozen=True)
class Timed:
    """Subnet of the pool, or the DAN, with its measured latency on this device."""

    name: str
    accuracy: float
    """Reported accuracy, as in `PoolEntry.accuracy`."""
    choosing_accuracy: float
    """Accuracy by which it is chosen, as in `PoolEntry.choosing_accuracy`."""
    ms: dict[int, tuple[float, ...]]
    """Percentile (50 for the median) -> milliseconds at each length."""


@dataclass(frozen=True)
class Measured:
    """Measurements under one set of conditions: precision, number of threads and batch."""

    conditions: Conditions
    cores: tuple[int, ...]
    """Cores that the process was pinned to; empty if the system does not support pinning."""
    stages: StageLatency
    calls: tuple[tuple[Choice, int, float], ...]
    """(choice, length, milliseconds) of every call of the fit, in order of time for each length."""
    checked: tuple[Checked, ...]
    disturbed: float
    """Share of calls that waited for a CPU."""
    contention: Contention
    load_ms: float
    """Time to load the session, with its weights in the page cache."""
    first_call_ratio: float
    """Time of the first call after loading / time of a later one, for the largest subnet."""
    memory: Memory | None = None
    """Memory of the session after its largest subnet has run."""
    gaps: tuple[GapEffect, ...] = ()
    """Effect of pauses before calls; empty if not timed."""
    dan: tuple[dict[int, float], ...] = ()
    """Times of the DAN: percentile (50 for the median) -> milliseconds, for each length; empty without a DAN."""
    batches: BatchTimes | None = None
    """Times of calls of several texts; None if they were not timed."""

    @property
    def error_median(self) -> float:
        """Median of |predicted / measured - 1| over the checks; NaN without any."""
        return statistics.median(abs(one.error) for one in self.checked) if self.checked else math.nan

    @property
    def error_p95(self) -> float:
        """95th percentile of |predicted / measured - 1| over the checks; NaN without any."""
        return float(np.percentile([abs(one.error) for one in self.checked], 95)) if self.checked else math.nan

    @property
    def drift(self) -> float:
        """Slow-down of the last third of the calls against the first: ratio of their times - 1."""
        ratios = [
            [ms / self.stages.predict(choice, length) for choice, at, ms in self.calls if at == length]
            for length in self.stages.lengths
        ]
        thirds = [(row[: max(1, len(row) // 3)], row[-max(1, len(row) // 3) :]) for row in ratios]
        early, late = (statistics.median(ratio for third in thirds for ratio in third[end]) for end in (0, 1))
        return late / early - 1

    def subnet_ms(self, entry: PoolEntry) -> tuple[float, ...]:
        """Return the median of a pool subnet at each length, in ms.

        It is the predicted sum of its stages, corrected towards the subnet's own calls (see PRIOR_CALLS).
        """
        predicted = self.stages.at_lengths(entry.choice)
        corrected = []
        for length, milliseconds in zip(self.stages.lengths, predicted, strict=True):
            own = [
                math.log(ms / milliseconds) for choice, at, ms in self.calls if (choice, at) == (entry.choice, length)
            ]
            weight = len(own) / (len(own) + PRIOR_CALLS)
            corrected.append(milliseconds * math.exp(weight * statistics.median(own)) if own else milliseconds)
        return tuple(corrected)

    def timed(self, bundle: Bundle) -> dict[str, Timed]:
        """Return name -> measured latency of every subnet of the pool, and of the DAN if there is one."""
        lengths = self.stages.lengths
        found = {}
        for name, entry in bundle.pool(self.conditions.precision).items():
            medians = self.subnet_ms(entry)
            tails = {
                p: tuple(ms * self.stages.tail(p, length) for ms, length in zip(medians, lengths, strict=True))
                for p in PERCENTILES
            }
            found[name] = Timed(name, entry.accuracy, entry.choosing_accuracy, {50: medians, **tails})
        if bundle.dan is not None and len(self.dan) == len(lengths):
            times = {p: tuple(row[p] for row in self.dan) for p in (50, *PERCENTILES)}
            dan = bundle.dan
            found[dan.name] = Timed(dan.name, dan.accuracy, dan.choosing_accuracy, times)
        return found

    def table(self, bundle: Bundle, date: str) -> LatencyTable:
        """Return the latency table of the bundle's subnets and DAN under these conditions."""
        timed = self.timed(bundle)
        return LatencyTable(
            bundle_hash=bundle.hash,
            precision=self.conditions.precision,
            provider=CPU_PROVIDER,
            threads=self.conditions.threads,
            lengths=self.stages.lengths,
            median_ms={name: one.ms[50] for name, one in timed.items()},
            p95_ms={name: one.ms[95] for name, one in timed.items()},
            runs=self.stages.calls,
            method=f"{METHOD}; batch {self.conditions.batch}{self._others()}",
            date=date,
            batches=self.batches,
        )

    def _others(self) -> str:
        """Write the note on contention for the method of a table; empty on an idle machine."""
        return f"; others used {self.contention.others_cpus:.1f} CPUs meanwhile" if self.contention.busy else ""

    def to_dict(self, bundle: Bundle) -> dict[str, Any]:
        """Return plain values by name, for JSON; times in ms."""
        return {
            **vars(self.conditions),
            "cores": list(self.cores),
            "calls": len(self.calls),
            "disturbed": self.disturbed,
            "contention": self.contention.to_dict(),
            "drift": self.drift,
            "load_ms": self.load_ms,
            "first_call_ratio": self.first_call_ratio,
            "memory": None if self.memory is None else dict(vars(self.memory)),
            "gaps": [gap.to_dict() for gap in self.gaps],
            "batches": None if self.batches is None else self.batches.to_dict(),
            "stages": self.stages.to_dict(),
            "check": {
                "median_error": none_for_nan(self.error_median),
                "p95_error": none_for_nan(self.error_p95),
                "cells": [{**vars(one), "error": one.error} for one in self.checked],
            },
            "subnets": [self._plain(one) for one in self.timed(bundle).values()],
        }

    def _plain(self, timed: Timed) -> dict[str, Any]:
        times = [
            {"tokens": length, **{f"p{p}": column[place] for p, column in timed.ms.items()}}
            for place, length in enumerate(self.stages.lengths)
        ]
        return {"subnet": timed.name, "accuracy": timed.accuracy, "times": times}


@dataclass(frozen=True)
class Calibration:
    """Result of profiling a bundle on this device."""

    bundle: Bundle
    device: Fingerprint
    date: str
    budget_s: float
    seconds: float
    measured: tuple[Measured, ...]
    operators: tuple[OperatorCosts, ...]
    """Operator costs on this device, for any bundle."""
    skipped: tuple[str, ...]
    """Conditions that were left out, each with the reason."""
    refused: tuple[str, ...]
    """Conditions whose figures are refused because of other processes, each with the reason."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for a reader of the figures, one line each."""
        return tuple(_warnings(self))

    @property
    def shown_threads(self) -> int:
        """Number of threads to show first: the engine's default if it was measured, else the fewest."""
        measured = [one.conditions.threads for one in self.measured]
        return default_threads() if default_threads() in measured else measured[0]

    def find(self, precision: str, threads: int) -> Measured | None:
        """Return the measurements at a precision and number of threads; None if there are none."""
        wanted = (precision, threads)
        return next((m for m in self.measured if (m.conditions.precision, m.conditions.threads) == wanted), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {
            "bundle": str(self.bundle.path),
            "hash": self.bundle.hash,
            "date": self.date,
            "device": {**self.device.to_dict(), "key": self.device.key},
            "budget_s": self.budget_s,
            "seconds": self.seconds,
            "warnings": list(self.warnings),
            "skipped": list(self.skipped),
            "refused": list(self.refused),
            "operators": [costs.to_dict() for costs in self.operators],
            "conditions": [measured.to_dict(self.bundle) for measured in self.measured],
        }


def none_for_nan(number: float) -> float | None:
    """Return None in place of NaN, which JSON lacks."""
    return None if math.isnan(number) else number


def _warnings(calibration: Calibration) -> Sequence[str]:
    lines = [f"skipped: {', '.join(calibration.skipped)}"] if calibration.skipped else []
    lines += [f"refused: {why}" for why in calibration.refused]
    busy = [m for m in calibration.measured if m.contention.busy]
    if busy:
        most = max(m.contention.others_cpus or 0.0 for m in busy)
        lines.append(
            f"others used {most:.1f} CPUs while this was measured; the time that calls waited is taken off, "
            "what they lost in caches and clock is not: measure again on an idle machine"
        )
    drifting = [m for m in calibration.measured if abs(m.drift) > DRIFT]
    if drifting:
        worst = max(drifting, key=lambda m: abs(m.drift))
        change = f"{abs(worst.drift):.0%} {'slower' if worst.drift > 0 else 'faster'}"
        lines.append(f"the device became {change} while it was measured; let it come to rest, and measure again")
    return lines
