"""Place of a data set, as a run stores it: a local file or folder, or a name on the hub."""

from __future__ import annotations

from pathlib import Path

from gearshift.trainer.data.hub import is_hub_name


def kept_place(place: Path) -> str:
    """Return the stored form of a place, valid from any directory: a name on the hub unchanged, a path in full."""
    return str(place if is_hub_name(str(place)) else place.resolve())


def find_place(kept: str | None) -> Path | None:
    """Return a stored place; None if none was stored, or the file or folder is gone."""
    return Path(kept) if kept is not None and (is_hub_name(kept) or Path(kept).exists()) else None
