"""Says which command installs a missing extra."""

from __future__ import annotations

import importlib.util

from gearshift.runtime.errors import MissingExtraError


def require(extra: str, *packages: str) -> None:
    """Raise MissingExtraError in one line where one of the packages of an extra is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"this needs {', '.join(missing)}, which is not installed; run: pip install 'gearshift[{extra}]'"
        )
