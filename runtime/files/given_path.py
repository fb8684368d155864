"""Paths as callers give them: what is none is refused, and what is too long to read is cut."""

from __future__ import annotations

import os
from pathlib import Path

from gearshift.errors import InputError
from gearshift.number_checks import shown

LONGEST_NAME = 255
"""Characters of a name that file systems take; a message with more of them says nothing more."""


def path_of(given: object) -> Path:
    """Return the path that a caller gave as text or as a path; raise InputError for anything else."""
    if isinstance(given, str | os.PathLike):
        path = os.fspath(given)
        if isinstance(path, str):
            return Path(path)
    raise InputError(f"expected the path of a bundle, as text or as a Path, got {shown(given)}; name its directory")


def named(path: object) -> str:
    """Return a path for a message."""
    text = str(path)
    return text if len(text) <= LONGEST_NAME else shown(text)


def is_directory(path: Path) -> bool:
    """Return whether there is a directory; `Path.is_dir` raises OSError for a name that no file can have."""
    try:
        return path.is_dir()
    except OSError:
        return False
