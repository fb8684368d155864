"""Snapshots of the Hugging Face hub that lie in its cache here, found without its package and without a network.

The cache has `models--OWNER--NAME/refs/main` with the name of a revision, and `snapshots/REVISION` with its files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from gearshift.errors import InputError
from gearshift.runtime.files.given_path import is_directory, named, path_of

BUNDLE_FOLDER = "bundle"
"""Folder of a bundle within a repository that has a checkpoint beside it."""

_BUNDLE_FILES = ("manifest.json", "compressed.json")
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_REVISION = re.compile(r"\w+")


def find_bundle(name: str | Path) -> Path:
    """Return the directory of a bundle: of a directory itself or its BUNDLE_FOLDER, or of a cached repository.

    Raises InputError if neither has a bundle.
    """
    here = path_of(name)
    directory = here if is_directory(here) else cached_snapshot(str(name))
    if directory is None:
        raise InputError(
            f"{named(name)}: expected a directory, or a repository in the hub cache ({cache_directory()}), found "
            f"neither; fetch it with `hf download {named(name)}`"
        )
    for place in (directory, directory / BUNDLE_FOLDER):
        if any((place / file).is_file() for file in _BUNDLE_FILES):
            return place
    raise InputError(
        f"{name}: expected a bundle in it, or in its folder {BUNDLE_FOLDER}, found none; export one with "
        "`gearshift export`, or write both with `gearshift hub`"
    )


def cached_snapshot(name: str) -> Path | None:
    """Return the directory of a repository's main revision in the hub cache; None if it is not there."""
    if not _NAME.fullmatch(name):
        return None
    repository = cache_directory() / f"models--{name.replace('/', '--')}"
    try:
        revision = (repository / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    snapshot = repository / "snapshots" / revision
    return snapshot if _REVISION.fullmatch(revision) and snapshot.is_dir() else None


def cache_directory() -> Path:
    """Return the directory of the hub cache, by the variables that huggingface_hub reads."""
    own = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if own:
        return Path(own).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"
