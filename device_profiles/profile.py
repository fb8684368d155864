"""Device profile: a device, its measurements, and the JSON file that stores them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gearshift.device_profiles.checks import check_names, listed, mapping, require
from gearshift.device_profiles.fingerprint import Fingerprint
from gearshift.device_profiles.latency_table import CPU_PROVIDER
from gearshift.device_profiles.latency_table import LatencyTable as LatencyTable
from gearshift.device_profiles.operators import OperatorCosts
from gearshift.errors import ProfileError, is_time_limit
from gearshift.fresh_file import fresh_file
from gearshift.schema import FIELD, Schema
from gearshift.sealed_json import SEAL, sealed, unsealed

SCHEMA = Schema(version=2, advice="measure the device again", error=ProfileError, missing="name a device profile")


@dataclass(frozen=True)
class DeviceProfile:
    """A device and the measurements made on it."""

    device: Fingerprint
    estimated: bool
    """Whether the figures were estimated instead of measured on this very device."""
    tables: tuple[LatencyTable, ...]
    """Latency tables of single bundles on this device."""
    operators: tuple[OperatorCosts, ...] = ()
    """Operator costs on this device, for any bundle: less exact than a table."""

    def __post_init__(self) -> None:
        keys = [(t.bundle_hash, t.precision, t.threads, t.provider) for t in self.tables]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        require(
            twice is None,
            f"tables: expected one for each bundle, precision, threads and provider, found two for {twice}",
        )
        conditions = [(o.precision, o.threads, o.provider) for o in self.operators]
        require(
            len(set(conditions)) == len(conditions),
            f"operators: expected one for each precision, threads and provider, found {conditions}",
        )

    def table_for(
        self, bundle_hash: str, precision: str, threads: int, *, provider: str = CPU_PROVIDER
    ) -> LatencyTable | None:
        """Return the latency table of a bundle under these conditions; None if there is none."""
        wanted = (bundle_hash, precision, threads, provider)
        found = (t for t in self.tables if (t.bundle_hash, t.precision, t.threads, t.provider) == wanted)
        return next(found, None)

    def operators_for(self, precision: str, threads: int, *, provider: str = CPU_PROVIDER) -> OperatorCosts | None:
        """Return the operator costs under these conditions; None if there are none."""
        wanted = (precision, threads, provider)
        return next((o for o in self.operators if (o.precision, o.threads, o.provider) == wanted), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {
            "schema_version": SCHEMA.version,
            "device": self.device.to_dict(),
            "estimated": self.estimated,
            "operators": [costs.to_dict() for costs in self.operators],
            "tables": [table.to_dict() for table in self.tables],
        }

    @classmethod
    def from_fields(cls, raw: Mapping[str, Any]) -> DeviceProfile:
        """Read a profile from the fields that `to_dict` wrote, without the version; raises ProfileError."""
        check_names("profile", raw, set(cls.__dataclass_fields__))
        require(
            isinstance(raw["estimated"], bool),
            f"estimated: expected true or false, found {raw['estimated']!r}",
        )
        tables, operators = listed("tables", raw["tables"]), listed("operators", raw["operators"])
        return cls(
            device=Fingerprint.from_dict(mapping("device", raw["device"])),
            estimated=raw["estimated"],
            tables=tuple(LatencyTable.from_dict(mapping("latency table", table)) for table in tables),
            operators=tuple(OperatorCosts.from_dict(mapping("operators", costs)) for costs in operators),
        )


def load_profile(path: Path) -> DeviceProfile:
    """Read a profile file; raise ProfileError, which names the file, if it cannot be used.

    A profile with its hash in it is refused if a figure has changed since it was written.
    """
    return SCHEMA.read(path, lambda raw: DeviceProfile.from_fields(unsealed(raw) if SEAL in raw else raw))


def save_profile(path: Path, profile: DeviceProfile) -> None:
    """Write a profile file atomically. If that fails, raise ProfileError and keep the old file."""
    fields = profile.to_dict()
    version = {FIELD: fields.pop(FIELD)}
    content = json.dumps({**version, **sealed(fields)}, indent=1, allow_nan=False) + "\n"
    try:
        with fresh_file(path) as file:
            file.write(content.encode())
    except OSError as error:
        if is_time_limit(error):
            raise
        reason = error.strerror or error
        raise ProfileError(f"{path}: could not be written ({reason}); nothing was changed there") from error
