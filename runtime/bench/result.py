"""What a calibration found: the latency of every choice under some conditions, and how far to trust it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gearshift.device_profiles import Fingerprint, OperatorCosts
from gearshift.device_profiles.latency_table import CPU_PROVIDER, LatencyTable
from gearshift.runtime.bench.contention import Contention
from gearshift.runtime.bench.stage_latency import PERCENTILES, StageLatency
from gearshift.runtime.bench.stopwatch import GapEffect
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.sensors.memory import Memory
from gearshift.runtime.space.space import Choice
from gearshift.runtime.startup import default_threads

PRIOR_CALLS = 4
"""Own calls of a subnet that weigh as much as the sum of its stages."""

DRIFT = 0.05
"""Change between the first and the last third of the calls from which it is said."""

METHOD = (
    "wall clock of single calls in random order, random token ids; a sum over stages and options fitted to all calls "
    "(least absolute relative residuals), corrected by the subnet's own calls; percentiles: the scatter of all calls"
)


@dataclass(frozen=True)
class Conditions:
    """Under which calls were timed."""

    precision: str
    threads: int
    batch: int


@dataclass(frozen=True)
class Checked:
    """A prediction and what was measured, of calls that the fit did not see."""

    choice: Choice
    length: int
    predicted_ms: float
    measured_ms: float
    calls: int

    @property
    def error(self) -> float:
        """predicted / measured - 1."""
        return self.predicted_ms / self.measured_ms - 1


@dataclass(frozen=True)
class Gear:
    """One thing that the engine may switch to, and what it takes here."""

    name: str
    accuracy: float
    ms: dict[int, tuple[float, ...]]
    """Percentile, 50 among them -> milliseconds at each length."""


@dataclass(frozen=True)
class Measured:
    """One precision, number of threads and batch."""

    conditions: Conditions
    cores: tuple[int, ...]
    """That the process was kept on; empty where the system cannot do that."""
    stages: StageLatency
    calls: tuple[tuple[Choice, int, float], ...]
    """Choice, length and milliseconds of every call of the fit, in order of time for each length."""
    checked: tuple[Checked, ...]
    disturbed: float
    """Share of calls that waited for a CPU."""
    contention: Contention
    load_ms: float
    """To load the session, its weights in the page cache."""
    first_call_ratio: float
    """First call after loading / a later one, of the largest subnet."""
    memory: Memory | None = None
    """What the session took once its largest subnet had run."""
    gaps: tuple[GapEffect, ...] = ()
    """Calls after pauses, where they were timed."""
    dan: tuple[dict[int, float], ...] = ()
    """Of the bundle's DAN, where it has one: percentile (50 too) -> milliseconds, for each length."""

    @property
    def error_median(self) -> float:
        """Median of |predicted / measured - 1| over what was checked; NaN where nothing was."""
        return statistics.median(abs(one.error) for one in self.checked) if self.checked else math.nan

    @property
    def error_p95(self) -> float:
        """95th percentile of the same."""
        return float(np.percentile([abs(one.error) for one in self.checked], 95)) if self.checked else math.nan

    @property
    def drift(self) -> float:
        """How much slower the last third of the calls was than the first, as a share."""
        ratios = [
            [ms / self.stages.predict(choice, length) for choice, at, ms in self.calls if at == length]
            for length in self.stages.lengths
        ]
        thirds = [(row[: max(1, len(row) // 3)], row[-max(1, len(row) // 3) :]) for row in ratios]
        early, late = (statistics.median(ratio for third in thirds for ratio in third[end]) for end in (0, 1))
        return late / early - 1

    def subnet_ms(self, entry: PoolEntry) -> tuple[float, ...]:
        """Median of a pool subnet at each length: the sum of its stages, drawn towards its own calls."""
        predicted = self.stages.at_lengths(entry.choice)
        corrected = []
        for length, milliseconds in zip(self.stages.lengths, predicted, strict=True):
            own = [
                math.log(ms / milliseconds) for choice, at, ms in self.calls if (choice, at) == (entry.choice, length)
            ]
            weight = len(own) / (len(own) + PRIOR_CALLS)
            corrected.append(milliseconds * math.exp(weight * statistics.median(own)) if own else milliseconds)
        return tuple(corrected)

    def gears(self, bundle: Bundle) -> dict[str, Gear]:
        """Name -> what is known of every gear: the subnets of the pool, and the DAN where there is one."""
        lengths = self.stages.lengths
        found = {}
        for name, entry in bundle.pool(self.conditions.precision).items():
            medians = self.subnet_ms(entry)
            tails = {
                p: tuple(ms * self.stages.tail(p, length) for ms, length in zip(medians, lengths, strict=True))
                for p in PERCENTILES
            }
            found[name] = Gear(name, entry.accuracy, {50: medians, **tails})
        if bundle.dan is not None and len(self.dan) == len(lengths):
            times = {p: tuple(row[p] for row in self.dan) for p in (50, *PERCENTILES)}
            found[bundle.dan.name] = Gear(bundle.dan.name, bundle.dan.accuracy, times)
        return found

    def table(self, bundle: Bundle, date: str) -> LatencyTable:
        """The latency table of the bundle's gears under these conditions."""
        gears = self.gears(bundle)
        return LatencyTable(
            bundle_hash=bundle.hash,
            precision=self.conditions.precision,
            provider=CPU_PROVIDER,
            threads=self.conditions.threads,
            lengths=self.stages.lengths,
            median_ms={name: gear.ms[50] for name, gear in gears.items()},
            p95_ms={name: gear.ms[95] for name, gear in gears.items()},
            runs=self.stages.calls,
            method=f"{METHOD}; batch {self.conditions.batch}{self._others()}",
            date=date,
        )

    def _others(self) -> str:
        """What a table has to say of others, where there were any."""
        return f"; others used {self.contention.others_cpus:.1f} CPUs meanwhile" if self.contention.busy else ""

    def to_dict(self, bundle: Bundle) -> dict[str, Any]:
        """Plain values by name, for JSON; times in ms."""
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
            "stages": self.stages.to_dict(),
            "check": {
                "median_error": none_for_nan(self.error_median),
                "p95_error": none_for_nan(self.error_p95),
                "cells": [{**vars(one), "error": one.error} for one in self.checked],
            },
            "subnets": [self._plain(gear) for gear in self.gears(bundle).values()],
        }

    def _plain(self, gear: Gear) -> dict[str, Any]:
        times = [
            {"tokens": length, **{f"p{p}": column[place] for p, column in gear.ms.items()}}
            for place, length in enumerate(self.stages.lengths)
        ]
        return {"subnet": gear.name, "accuracy": gear.accuracy, "times": times}


@dataclass(frozen=True)
class Calibration:
    """Everything that was measured of a bundle."""

    bundle: Bundle
    device: Fingerprint
    date: str
    budget_s: float
    seconds: float
    measured: tuple[Measured, ...]
    operators: tuple[OperatorCosts, ...]
    """What operators cost here, whatever the bundle."""
    skipped: tuple[str, ...]
    """What was left out, and why."""
    refused: tuple[str, ...]
    """What others disturbed too much, and how."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody who reads the figures has to know, one line each."""
        return tuple(_warnings(self))

    @property
    def shown_threads(self) -> int:
        """Number of threads that is shown first: the engine's own where it was measured, else the fewest."""
        measured = [one.conditions.threads for one in self.measured]
        return default_threads() if default_threads() in measured else measured[0]

    def find(self, precision: str, threads: int) -> Measured | None:
        """What was measured under these conditions."""
        wanted = (precision, threads)
        return next((m for m in self.measured if (m.conditions.precision, m.conditions.threads) == wanted), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
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
    """JSON has no NaN."""
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
