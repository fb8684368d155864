"""Says which command installs a missing extra."""

from __future__ import annotations

import importlib.util

from gearshift.errors import MissingExtraError


def require(extra: str, *packages: str) -> None:
    """Raise MissingExtraError in one line where one of the packages of an extra is not installed."""
    missing = [package for package in packages if not _installed(package)]
    if missing:
        raise MissingExtraError(
            f"this needs {', '.join(missing)}, which is not installed; run: pip install 'gearshift[{extra}]'"
        )


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # an import hook that refuses it, or a module without a spec
        return False
