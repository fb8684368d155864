"""What was measured on a device, and the JSON file that keeps it."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gearshift.device_profiles.fingerprint import Fingerprint

SCHEMA_VERSION = 1
CPU_PROVIDER = "CPUExecutionProvider"


class ProfileError(ValueError):
    """A device profile or latency table that cannot be used; one line."""


@dataclass(frozen=True)
class LatencyTable:
    """What one bundle costs on one device, at one precision, provider and number of threads.

    Raises ProfileError where a number is missing, not positive or not finite.
    """

    bundle_hash: str
    """sha256 of the bundle's manifest."""
    precision: str
    provider: str
    """As ONNX Runtime names it, such as `CPUExecutionProvider`."""
    threads: int
    lengths: tuple[int, ...]
    """Tokens of the texts that were timed, ascending."""
    median_ms: dict[str, tuple[float, ...]]
    """Subnet name -> median latency of one call, one value per length."""
    p95_ms: dict[str, tuple[float, ...]]
    """Subnet name -> 95th percentile of the same calls."""
    runs: int
    """Timed calls behind each value, warm-up not counted."""
    method: str
    """How it was timed: batch, warm-up, order, clock."""
    date: str
    """When, in ISO 8601."""

    def __post_init__(self) -> None:
        for name in ("bundle_hash", "precision", "provider", "method", "date"):
            value = getattr(self, name)
            _require(isinstance(value, str), f"{name}: expected text, found {value!r}")
        for name in ("threads", "runs"):
            value = getattr(self, name)
            _require(_whole(value) and value >= 1, f"{name}: expected a whole number from 1 on, found {value!r}")
        lengths = self.lengths
        _require(
            bool(lengths)
            and all(_whole(length) and length >= 1 for length in lengths)
            and all(low < high for low, high in itertools.pairwise(lengths)),
            f"lengths: expected ascending token counts from 1 on, found {list(lengths)}",
        )
        _check_date(self.date)
        _require(bool(self.median_ms), "median_ms: expected at least one subnet, found none")
        odd = sorted(self.median_ms.keys() ^ self.p95_ms.keys())
        _require(not odd, f"median_ms and p95_ms: expected the same subnets, found {odd} in one of them")
        for name, columns in (("median_ms", self.median_ms), ("p95_ms", self.p95_ms)):
            for subnet, values in columns.items():
                _check_latencies(f"{name} of {subnet}", values, len(lengths))

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {
            **vars(self),
            "lengths": list(self.lengths),
            "median_ms": {subnet: list(values) for subnet, values in self.median_ms.items()},
            "p95_ms": {subnet: list(values) for subnet, values in self.p95_ms.items()},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> LatencyTable:
        """The table that `to_dict` wrote; raises ProfileError."""
        _check_names("latency table", raw, set(cls.__dataclass_fields__))
        return cls(
            **{
                **raw,
                "lengths": _tuple("lengths", raw["lengths"]),
                "median_ms": _columns("median_ms", raw["median_ms"]),
                "p95_ms": _columns("p95_ms", raw["p95_ms"]),
            }
        )


@dataclass(frozen=True)
class DeviceProfile:
    """A device, and what was measured on it."""

    device: Fingerprint
    estimated: bool
    """True where the figures were not measured on this very device."""
    tables: tuple[LatencyTable, ...]
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        keys = [(t.bundle_hash, t.precision, t.threads, t.provider) for t in self.tables]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        _require(
            twice is None,
            f"tables: expected one for each bundle, precision, threads and provider, found two for {twice}",
        )

    def table_for(
        self, bundle_hash: str, precision: str, threads: int, *, provider: str = CPU_PROVIDER
    ) -> LatencyTable | None:
        """The table of that bundle under those conditions, if there is one."""
        wanted = (bundle_hash, precision, threads, provider)
        found = (t for t in self.tables if (t.bundle_hash, t.precision, t.threads, t.provider) == wanted)
        return next(found, None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {
            "schema_version": self.schema_version,
            "device": self.device.to_dict(),
            "estimated": self.estimated,
            "tables": [table.to_dict() for table in self.tables],
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DeviceProfile:
        """The profile that `to_dict` wrote; raises ProfileError where the form is another."""
        version = raw.get("schema_version")
        if not _whole(version) or version != SCHEMA_VERSION:
            newer = isinstance(version, int) and version > SCHEMA_VERSION
            hint = "install a newer gearshift" if newer else "measure the device again"
            raise ProfileError(f"expected schema version {SCHEMA_VERSION}, found {version!r}; {hint}")
        _check_names("profile", raw, set(cls.__dataclass_fields__))
        _require(
            isinstance(raw["estimated"], bool),
            f"estimated: expected true or false, found {raw['estimated']!r}",
        )
        tables = _tuple("tables", raw["tables"])
        return cls(
            device=_fingerprint(raw["device"]),
            estimated=raw["estimated"],
            tables=tuple(LatencyTable.from_dict(_mapping("latency table", table)) for table in tables),
        )


def load_profile(path: Path) -> DeviceProfile:
    """The profile in a file; raises ProfileError, which names the file, where it cannot be used."""
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"{path}: could not be read ({error.strerror or error}); name a device profile") from error
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{path}: expected JSON ({error}); measure the device again") from error
    try:
        return DeviceProfile.from_dict(_mapping("profile", raw))
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from error


def save_profile(path: Path, profile: DeviceProfile) -> None:
    """Write a profile whole or not at all; raises ProfileError and leaves the old file where it cannot."""
    content = json.dumps(profile.to_dict(), indent=1, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise ProfileError(f"{path}: could not be written ({reason}); nothing was changed there") from error
    finally:
        temporary.unlink(missing_ok=True)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ProfileError(message)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value) and value > 0
    except OverflowError:  # a whole number too large for a float
        return False


def _check_latencies(name: str, values: tuple[float, ...], expected: int) -> None:
    _require(len(values) == expected, f"{name}: expected {expected} values, one per length, found {len(values)}")
    for value in values:
        _require(_positive(value), f"{name}: expected positive, finite milliseconds, found {value!r}")


def _check_date(text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise ProfileError(f"date: expected ISO 8601, such as 2026-01-31, found {text!r}") from error


def _check_names(what: str, raw: Mapping[str, Any], expected: set[str]) -> None:
    odd = sorted(raw.keys() ^ expected)
    _require(not odd, f"{what}: expected the fields {sorted(expected)}; missing or unknown: {odd}")


def _mapping(what: str, raw: object) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise ProfileError(f"{what}: expected a JSON object, found a {type(raw).__name__}")
    return raw


def _tuple(what: str, raw: object) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise ProfileError(f"{what}: expected a list, found a {type(raw).__name__}")
    return tuple(raw)


def _columns(what: str, raw: object) -> dict[str, tuple[Any, ...]]:
    return {subnet: _tuple(f"{what} of {subnet}", values) for subnet, values in _mapping(what, raw).items()}


def _fingerprint(raw: object) -> Fingerprint:
    try:
        return Fingerprint.from_dict(_mapping("device", raw))
    except ProfileError:
        raise
    except ValueError as error:
        raise ProfileError(str(error)) from error
