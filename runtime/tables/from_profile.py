"""Latency predictors of layers and operations, fitted to the measured tables of a device profile."""

from __future__ import annotations

from pathlib import Path

from gearshift.device_profiles import profile as files
from gearshift.errors import ProfileError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.space.elastic import Space, Subnet
from gearshift.runtime.space.mixed import MixedSpace, MixedSubnet
from gearshift.runtime.tables.layer_latency import BlockLatency, fit_block_latency
from gearshift.runtime.tables.operation_latency import OperationLatency, fit_operation_latency


def block_latencies(path: str | Path, bundle: Bundle) -> dict[str, BlockLatency]:
    """What layers of any size take on a profile's device, by precision and threads, fitted to a bundle measured there.

    Raises ProfileError where the file cannot be read, holds no table of this bundle, or too few of its subnets.
    """
    space = bundle.manifest.space
    if not isinstance(space, Space):
        raise ProfileError(f"{bundle.path}: expected a bundle of a supernet, found one of mixed operations")
    found = {}
    for table in _tables_of(path, bundle):
        pool = {name: entry.subnet for name, entry in bundle.pool(table.precision).items()}
        subnets = {name: subnet for name, subnet in pool.items() if isinstance(subnet, Subnet)}
        found[_name(table)] = fit_block_latency(space.shape, subnets, table, only=subnets)
    return found


def operation_latency(path: str | Path, bundle: Bundle, precision: str) -> OperationLatency:
    """What operations take on a profile's device at a precision, fitted to a bundle of them that was measured there.

    Of several numbers of threads the fewest. Raises ProfileError where the file cannot be read, or holds no such table.
    """
    space = bundle.manifest.space
    if not isinstance(space, MixedSpace):
        raise ProfileError(f"{bundle.path}: expected a bundle of `gearshift nas-operations`, found one of a supernet")
    tables = [table for table in _tables_of(path, bundle) if table.precision == precision]
    if not tables:
        found = "; ".join(map(_name, _tables_of(path, bundle)))
        raise ProfileError(
            f"{path}: expected a {precision} table of {bundle.path}, found {found}; measure it there with "
            f"`gearshift run {bundle.path} --precision {precision} --save-profile FILE TEXT`"
        )
    pool = {name: entry.subnet for name, entry in bundle.pool(precision).items()}
    subnets = {name: subnet for name, subnet in pool.items() if isinstance(subnet, MixedSubnet)}
    table = min(tables, key=lambda table: table.threads)
    return fit_operation_latency(space.shape, subnets, table, switches=space.switches)


def _tables_of(path: str | Path, bundle: Bundle) -> list[files.LatencyTable]:
    """All tables of a bundle in a profile file; raises ProfileError where there are none."""
    tables = [table for table in files.load_profile(Path(path)).tables if table.bundle_hash == bundle.hash]
    if not tables:
        raise ProfileError(f"{path}: expected a table of {bundle.path}, found none; measure that bundle on the device")
    return tables


def _name(table: files.LatencyTable) -> str:
    return f"{table.precision}, {table.threads} threads, {table.provider}"
