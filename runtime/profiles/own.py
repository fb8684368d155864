"""Look-up of a device's profile by its fingerprint: the user's own, or one that ships with the package."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from gearshift.device_profiles import profile as files
from gearshift.device_profiles.fingerprint import Fingerprint
from gearshift.errors import ProfileError, StorageError

VARIABLE = "GEARSHIFT_PROFILE_DIR"

SPEED_DECIDES = ("onnxruntime",)
"""Libraries whose version changes the speed of a graph."""

logger = logging.getLogger(__name__)


def profile_directory() -> Path:
    """Return the directory of this user's profiles: $GEARSHIFT_PROFILE_DIR, or gearshift/profiles in the user's data.

    Raises StorageError if the user has no home directory.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        else:
            base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    except RuntimeError as error:
        raise StorageError(f"no home directory to keep profiles in; set {VARIABLE} to a directory") from error
    return base / "gearshift" / "profiles"


def own_path(device: Fingerprint) -> Path:
    """Return the path of the user's profile of a device; raise StorageError as `profile_directory` does."""
    return profile_directory() / f"{device.key}.json"


@dataclass(frozen=True)
class Found:
    """Profile of this device, and the file that holds it."""

    path: Path
    profile: files.DeviceProfile
    stale: str | None
    """Reason why its figures may no longer hold; None if they do."""


def find_profile(device: Fingerprint) -> Found | None:
    """Find the profile of a device by its fingerprint; return None if there is none.

    The order is: the user's own, one that ships, and one of the user's for the same CPU, which is stale if its governor
    or its CPU features were others.

    A file that cannot be used counts as absent, and a warning in the log says why.
    """
    for path in _candidates(device):
        try:
            profile = files.load_profile(path)
        except ProfileError as error:
            logger.warning("%s", error)
            continue
        if profile.device.key == device.key and not profile.estimated:
            return Found(path, profile, _stale(profile, device))
    return _changed(device)


def _candidates(device: Fingerprint) -> list[Path]:
    from importlib import resources

    shipped = sorted(Path(str(resources.files("gearshift.device_profiles"))).glob(f"*-{device.key}.json"))
    try:
        own = own_path(device)
    except StorageError:
        return shipped
    return [*([own] if own.is_file() else []), *shipped]


def _changed(device: Fingerprint) -> Found | None:
    """Find a profile of the user's for the same CPU, under another file name, governor or set of CPU features."""
    try:
        paths = sorted(profile_directory().glob("*.json"))
    except StorageError:
        return None
    for path in paths:
        try:
            profile = files.load_profile(path)
        except ProfileError:
            continue
        then, same = profile.device, ("cpu_model", "cores", "machine", "system", "emulator")
        if not profile.estimated and all(getattr(then, name) == getattr(device, name) for name in same):
            names = ("governor", "cpu_features")
            changed = [name for name in names if getattr(then, name) != getattr(device, name)]
            texts = [
                f"{name} {_text(getattr(then, name))} then, {_text(getattr(device, name))} now" for name in changed
            ]
            return Found(path, profile, "; ".join(texts) or _stale(profile, device))
    return None


def _text(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _stale(profile: files.DeviceProfile, device: Fingerprint) -> str | None:
    """Return the libraries whose version changed; None if none did. CPU, governor and cores are the same by now."""
    changed = [
        f"{name} {profile.device.versions.get(name, 'unknown')} then, {version} now"
        for name, version in sorted(device.versions.items())
        if name in SPEED_DECIDES and profile.device.versions.get(name) != version
    ]
    return "; ".join(changed) or None
