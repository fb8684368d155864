"""Place of a data set, a file or folder here or a name on the hub, as a run keeps it."""

from __future__ import annotations

from pathlib import Path

from gearshift.trainer.data.hub import is_hub_name


def kept_place(place: Path) -> str:
    """Name a place so that it is found from any directory: a name on the hub as it is, a path in full."""
    return str(place if is_hub_name(str(place)) else place.resolve())


def find_place(kept: str | None) -> Path | None:
    """Find a place that was kept; None where none was, or the file or folder is gone."""
    return Path(kept) if kept is not None and (is_hub_name(kept) or Path(kept).exists()) else None
