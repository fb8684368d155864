"""Latency predictors fitted to the latency tables of a device profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gearshift.device_profiles import profile as files
from gearshift.errors import ProfileError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.space.blocks import BlockShape
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.tables.latency import LatencyPredictor
from gearshift.runtime.tables.layer_latency import fit_layer_latency
from gearshift.runtime.tables.operation_latency import fit_operation_latency

Fit = Callable[[Space[Any, Any], Mapping[str, Subnet[Any]], files.LatencyTable], LatencyPredictor[Any]]


def fit_latency(
    space: Space[Any, Any], subnets: Mapping[str, Subnet[Any]], table: files.LatencyTable
) -> LatencyPredictor[Any]:
    """Fit a latency predictor to the measured subnets of a space; raises ProfileError if these are too few."""
    return FITS[space.shape.kind](space, subnets, table)


FITS: dict[str, Fit] = {
    EncoderShape.kind: lambda space, subnets, table: fit_layer_latency(space.shape, subnets, table, only=subnets),
    BlockShape.kind: lambda space, subnets, table: fit_operation_latency(
        space.shape, subnets, table, switches=space.switches
    ),
}
"""Kind of net -> function that fits its latency predictor."""


def latencies(path: str | Path, bundle: Bundle) -> dict[str, LatencyPredictor[Any]]:
    """Fit a predictor to each latency table of a bundle in a profile file, named by precision and threads.

    Raises ProfileError if the file cannot be read, has no table of this bundle, or too few of its subnets.
    """
    return {_name(table): _fitted(bundle, table) for table in _tables_of(path, bundle)}


def latency_at(path: str | Path, bundle: Bundle, precision: str) -> LatencyPredictor[Any]:
    """Fit a predictor to the latency table of a bundle at one precision; of several, the one of fewest threads.

    Raises ProfileError if the file cannot be read, or has no such table.
    """
    known = _tables_of(path, bundle)
    tables = [table for table in known if table.precision == precision]
    if not tables:
        raise ProfileError(
            f"{path}: expected a {precision} table of {bundle.path}, found {'; '.join(map(_name, known))}; measure it "
            f"there with `gearshift run {bundle.path} --precision {precision} --save-profile FILE TEXT`"
        )
    return _fitted(bundle, min(tables, key=lambda table: table.threads))


def _fitted(bundle: Bundle, table: files.LatencyTable) -> LatencyPredictor[Any]:
    pool = {name: entry.subnet for name, entry in bundle.pool(table.precision).items()}
    return fit_latency(bundle.manifest.space, pool, table)


def _tables_of(path: str | Path, bundle: Bundle) -> list[files.LatencyTable]:
    """Read all latency tables of a bundle from a profile file; raises ProfileError if there are none."""
    tables = [table for table in files.load_profile(Path(path)).tables if table.bundle_hash == bundle.hash]
    if not tables:
        raise ProfileError(f"{path}: expected a table of {bundle.path}, found none; measure that bundle on the device")
    return tables


def _name(table: files.LatencyTable) -> str:
    return f"{table.precision}, {table.threads} threads, {table.provider}"
