"""Store of device profiles: reads latency tables for the runtime, and saves tables and operator costs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy
import onnxruntime
import tokenizers

from gearshift.device_profiles import OperatorCosts
from gearshift.device_profiles import profile as files
from gearshift.device_profiles.fingerprint import Fingerprint, read_fingerprint
from gearshift.errors import ProfileError, StorageError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.files.atomic import is_device_or_pipe
from gearshift.runtime.profiles.own import find_profile, own_path

logger = logging.getLogger(__name__)


def this_device() -> Fingerprint:
    """Read the fingerprint of this machine, with the versions of the libraries that run the models."""
    packages = (numpy, onnxruntime, tokenizers)
    return read_fingerprint({package.__name__: package.__version__ for package in packages})


def tables_for(
    path: str | Path, bundle: Bundle, *, precisions: Collection[str], threads: int, provider: str
) -> list[files.LatencyTable]:
    """Read the usable tables of a profile file, ordered by the time of the largest subnet, the fastest first.

    Raises ProfileError if the file cannot be read, or has no table for this bundle, one of the precisions, these
    threads and this provider.
    """
    profile = files.load_profile(Path(path))
    usable = _usable(profile, bundle, precisions, threads, provider)
    if not usable:
        raise ProfileError(_nothing_usable(Path(path), profile, bundle, precisions, threads, provider))
    return usable


def own_tables(
    bundle: Bundle, *, precisions: Collection[str], threads: int, provider: str
) -> list[files.LatencyTable] | None:
    """Read the tables of a bundle from this device's profile, the fastest first, if there is one for each precision.

    Returns None if there is not, or if the profile is stale; the log then says which command renews it.
    """
    found = find_profile(this_device())
    if found is None:
        return None
    if found.stale is not None:
        logger.warning("%s is stale (%s); run `gearshift bench %s`", found.path, found.stale, bundle.path)
        return None
    tables = _usable(found.profile, bundle, precisions, threads, provider)
    return tables if len(tables) == len(precisions) else None


def save_table(path: str | Path, table: files.LatencyTable) -> None:
    """Save a single table as `save_measured` does."""
    save_measured(path, tables=(table,))


def save_measured(
    path: str | Path,
    *,
    tables: Collection[files.LatencyTable] = (),
    operators: Collection[OperatorCosts] = (),
) -> None:
    """Write measured tables and costs into a profile file, and keep its others of this device; raise ProfileError.

    Figures under the same conditions are replaced. Figures of another device, or of other versions of the libraries,
    are dropped: they tell nothing about this device.
    """
    path = Path(path)
    device = this_device()
    kept: tuple[files.LatencyTable, ...] = ()
    costs: tuple[OperatorCosts, ...] = ()
    _require_file(path)
    old = _before(path)
    measured = None if old is None or old.estimated else (old.device.key, old.device.versions)
    if old is not None and measured == (device.key, device.versions):
        new = {_conditions(table) for table in tables}
        kept = tuple(table for table in old.tables if _conditions(table) not in new)
        known = {(one.precision, one.threads, one.provider) for one in operators}
        costs = tuple(o for o in old.operators if (o.precision, o.threads, o.provider) not in known)
    files.save_profile(path, files.DeviceProfile(device, False, (*kept, *tables), (*costs, *operators)))


def require_writable(path: Path) -> None:
    """Raise ProfileError if `save_measured` could not write there: before minutes of measuring, not after."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_file(path)
        _before(path)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ProfileError(f"{path}: could not be written ({reason}); name another file with -o") from error
    except ProfileError as error:
        raise ProfileError(f"{error}; or name another file with -o") from error


def _before(path: Path) -> files.DeviceProfile | None:
    """Read the profile that is to be added to; None if there is none yet. Raises ProfileError if it cannot be used.

    A damaged one under the name that this device's own profile has counts as none: it is measured anew.
    """
    if not path.exists():
        return None
    try:
        return files.load_profile(path)
    except ProfileError as error:
        if not _is_own(path):
            raise
        logger.warning("%s; replacing it", error)
        return None


def _is_own(path: Path) -> bool:
    try:
        return path.resolve() == own_path(this_device()).resolve()
    except StorageError:
        return False


def _require_file(path: Path) -> None:
    """Raise ProfileError for a device or a pipe: a profile is read before it is written, which may never end."""
    if is_device_or_pipe(path):
        raise ProfileError(f"{path}: expected a file, found a device or a pipe")


def _usable(
    profile: files.DeviceProfile, bundle: Bundle, precisions: Collection[str], threads: int, provider: str
) -> list[files.LatencyTable]:
    tables = [profile.table_for(bundle.hash, precision, threads, provider=provider) for precision in precisions]
    usable = [table for table in tables if table is not None and _covers(table, bundle)]
    return sorted(usable, key=lambda table: max(times[-1] for times in table.median_ms.values()))


def _covers(table: files.LatencyTable, bundle: Bundle) -> bool:
    return bundle.entries(table.precision).keys() <= table.median_ms.keys()


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
        f"{found or 'none of this bundle'}; load the engine without a profile, or run `gearshift bench` on it"
    )
