"""Latency table of a bundle on a device, and the interpolation between its lengths and numbers of texts."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gearshift.device_profiles.batch_times import BatchTimes
from gearshift.device_profiles.checks import check_date, check_names, listed, mapping, positive, require
from gearshift.number_checks import is_whole

CPU_PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True)
class LatencyTable:
    """Measured latencies of one bundle on one device, at one precision, provider and number of threads.

    Raises ProfileError if a number is missing, not positive or not finite.
    """

    bundle_hash: str
    """SHA-256 of the bundle's manifest."""
    precision: str
    provider: str
    """Execution provider by its ONNX Runtime name, such as `CPUExecutionProvider`."""
    threads: int
    lengths: tuple[int, ...]
    """Lengths of the timed texts in tokens, ascending."""
    median_ms: dict[str, tuple[float, ...]]
    """Subnet name -> median latency of a call in ms, one value per length."""
    p95_ms: dict[str, tuple[float, ...]]
    """Subnet name -> 95th percentile of the same calls in ms."""
    runs: int
    """Number of timed calls behind each value, without warm-up."""
    method: str
    """Method of timing: batch, warm-up, order, clock."""
    date: str
    """Date of the measurement, in ISO 8601."""
    batches: BatchTimes | None = None
    """Times of calls of several texts; None if they were not measured, and count as so many calls of one text."""

    def __post_init__(self) -> None:
        for name in ("bundle_hash", "precision", "provider", "method", "date"):
            value = getattr(self, name)
            require(isinstance(value, str), f"{name}: expected text, found {value!r}")
        for name in ("threads", "runs"):
            value = getattr(self, name)
            require(is_whole(value, 1), f"{name}: expected a whole number from 1 on, found {value!r}")
        lengths = self.lengths
        require(
            bool(lengths)
            and all(is_whole(length, 1) for length in lengths)
            and all(low < high for low, high in itertools.pairwise(lengths)),
            f"lengths: expected ascending token counts from 1 on, found {list(lengths)}",
        )
        check_date(self.date)
        require(bool(self.median_ms), "median_ms: expected at least one subnet, found none")
        odd = sorted(self.median_ms.keys() ^ self.p95_ms.keys())
        require(not odd, f"median_ms and p95_ms: expected the same subnets, found {odd} in one of them")
        for name, columns in (("median_ms", self.median_ms), ("p95_ms", self.p95_ms)):
            for subnet, values in columns.items():
                _check_latencies(f"{name} of {subnet}", values, len(lengths))
        if self.batches is not None:
            unknown = sorted(self.batches.shares.keys() - self.median_ms.keys())
            require(not unknown, f"batches: expected subnets of the table, found {unknown}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        found: dict[str, Any] = {
            **vars(self),
            "lengths": list(self.lengths),
            "median_ms": {subnet: list(values) for subnet, values in self.median_ms.items()},
            "p95_ms": {subnet: list(values) for subnet, values in self.p95_ms.items()},
        }
        if self.batches is None:
            del found["batches"]  # as tables without them always were
        else:
            found["batches"] = self.batches.to_dict()
        return found

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> LatencyTable:
        """Read the table that `to_dict` wrote; raises ProfileError."""
        check_names("latency table", {"batches": None, **raw}, set(cls.__dataclass_fields__))
        batches = raw.get("batches")
        return cls(
            **{
                **raw,
                "batches": None if batches is None else BatchTimes.from_dict(mapping("batches", batches)),
                "lengths": listed("lengths", raw["lengths"]),
                "median_ms": _columns("median_ms", raw["median_ms"]),
                "p95_ms": _columns("p95_ms", raw["p95_ms"]),
            }
        )


def _check_latencies(name: str, values: tuple[float, ...], expected: int) -> None:
    require(len(values) == expected, f"{name}: expected {expected} values, one per length, found {len(values)}")
    for value in values:
        require(positive(value), f"{name}: expected positive, finite milliseconds, found {value!r}")


def _columns(what: str, raw: object) -> dict[str, tuple[Any, ...]]:
    return {subnet: listed(f"{what} of {subnet}", values) for subnet, values in mapping(what, raw).items()}


def predict(table: LatencyTable, name: str, length: int, batch: int = 1) -> float:
    """Return the median time in ms of a subnet on the unloaded device, for `batch` texts padded to `length` tokens."""
    apart = batch * time_at(table.lengths, table.median_ms[name], length)
    if batch == 1 or table.batches is None:
        return apart
    return apart * batch_share(table, table.batches, name, length, batch)


def batch_share(table: LatencyTable, batches: BatchTimes, name: str, length: int, batch: int) -> float:
    """Return the time of a call of `batch` texts / so many calls of one, of any subnet of the table.

    Of one that was not measured, by linear interpolation over the log of its time between those that were.
    """
    if name in batches.shares:
        return batches.share(name, length, batch)
    times = {one: time_at(table.lengths, table.median_ms[one], length) for one in batches.shares}
    own = time_at(table.lengths, table.median_ms[name], length)
    below = max((one for one in times if times[one] <= own), key=times.__getitem__, default=None)
    above = min((one for one in times if times[one] >= own), key=times.__getitem__, default=None)
    if below is None or above is None or times[below] == times[above]:
        return batches.share(str(above if below is None else below), length, batch)
    weight = math.log(own / times[below]) / math.log(times[above] / times[below])
    low, high = (batches.share(one, length, batch) for one in (below, above))
    return low + weight * (high - low)


def time_at(lengths: tuple[int, ...], times: tuple[float, ...], length: int) -> float:
    """Return the time of a whole call by `interpolate`, but never less than the time of the shortest measured
    length."""
    return max(interpolate(lengths, times, length), times[0])


def interpolate(lengths: tuple[int, ...], times: tuple[float, ...], length: int) -> float:
    """Return the time of a part of a call, by linear interpolation between the measured lengths.

    Below the shortest length the time is constant. Beyond the longest the last segment is extended if it rises.
    With a single measured length, the time of longer texts is proportional to their length.
    """
    if length <= lengths[0]:
        return times[0]
    if len(lengths) == 1:
        return times[0] * length / lengths[0]
    right = min(bisect_left(lengths, length), len(lengths) - 1)
    slope = (times[right] - times[right - 1]) / (lengths[right] - lengths[right - 1])
    if length > lengths[-1]:
        return times[-1] + max(slope, 0.0) * (length - lengths[-1])
    return times[right - 1] + slope * (length - lengths[right - 1])
