"""The latency tables of device profiles, as the runtime finds and keeps them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy
import onnxruntime
import tokenizers

from gearshift.device_profiles import profile as files
from gearshift.device_profiles.fingerprint import Fingerprint, read_fingerprint
from gearshift.runtime.block_latency import BlockLatency, fit_block_latency
from gearshift.runtime.bundle import Bundle
from gearshift.runtime.errors import ProfileError
from gearshift.runtime.space import Space, Subnet


def this_device() -> Fingerprint:
    """The fingerprint of this machine, with the versions of the libraries that run the models."""
    packages = (numpy, onnxruntime, tokenizers)
    return read_fingerprint({package.__name__: package.__version__ for package in packages})


def tables_for(
    path: str | Path, bundle: Bundle, *, precisions: Collection[str], threads: int, provider: str
) -> list[files.LatencyTable]:
    """The tables of a profile file that can be used, the fastest largest subnet first.

    Raises ProfileError where the file cannot be read, or holds no table of this bundle, one of the
    precisions, these threads and this provider.
    """
    try:
        profile = files.load_profile(Path(path))
    except files.ProfileError as error:
        raise ProfileError(str(error)) from error
    tables = [profile.table_for(bundle.hash, precision, threads, provider=provider) for precision in precisions]
    usable = [table for table in tables if table is not None and _covers(table, bundle)]
    if not usable:
        raise ProfileError(_nothing_usable(Path(path), profile, bundle, precisions, threads, provider))
    return sorted(usable, key=lambda table: max(times[-1] for times in table.median_ms.values()))


def block_latencies(path: str | Path, bundle: Bundle) -> dict[str, BlockLatency]:
    """What layers of any size take on a profile's device, by precision and threads, fitted to a bundle measured there.

    Raises ProfileError where the file cannot be read, holds no table of this bundle, or too few of its subnets.
    """
    try:
        profile = files.load_profile(Path(path))
    except files.ProfileError as error:
        raise ProfileError(str(error)) from error
    tables = [table for table in profile.tables if table.bundle_hash == bundle.hash]
    space = bundle.manifest.space
    if not tables or not isinstance(space, Space):
        raise ProfileError(f"{path}: expected a table of {bundle.path}, found none; measure that bundle on the device")
    return {
        f"{table.precision}, {table.threads} threads, {table.provider}": fit_block_latency(
            space.shape,
            {
                name: entry.subnet
                for name, entry in bundle.pool(table.precision).items()
                if isinstance(entry.subnet, Subnet)
            },
            table,
            only=bundle.pool(table.precision),
        )
        for table in tables
    }


def save_table(path: str | Path, table: files.LatencyTable) -> None:
    """Write a table into a profile file, beside what the file holds of this device; raises ProfileError.

    A table of the same bundle, precision, threads and provider is replaced. Tables of another device, or
    of other versions of the libraries, are dropped: they say nothing about this one.
    """
    path = Path(path)
    device = this_device()
    kept: tuple[files.LatencyTable, ...] = ()
    try:
        if path.exists():
            old = files.load_profile(path)
            if (old.device.key, old.device.versions) == (device.key, device.versions) and not old.estimated:
                kept = tuple(other for other in old.tables if _conditions(other) != _conditions(table))
        files.save_profile(path, files.DeviceProfile(device, False, (*kept, table)))
    except files.ProfileError as error:
        raise ProfileError(str(error)) from error


def _covers(table: files.LatencyTable, bundle: Bundle) -> bool:
    return bundle.gears(table.precision).keys() <= table.median_ms.keys()


def _conditions(table: files.LatencyTable) -> tuple[str, str, int, str]:
    return table.bundle_hash, table.precision, table.threads, table.provider


def _nothing_usable(
    path: Path,
    profile: files.DeviceProfile,
    bundle: Bundle,
    precisions: Collection[str],
    threads: int,
    provider: str,
) -> str:
    same = [table for table in profile.tables if table.bundle_hash == bundle.hash]
    found = ", ".join(f"{table.precision} with {table.threads} threads on {table.provider}" for table in same)
    return (
        f"{path}: expected a table of this bundle, {' or '.join(precisions)} with {threads} threads "
        f"on {provider}, found "
        f"{found or 'none of this bundle'}; load the engine without a profile and call save_profile"
    )
