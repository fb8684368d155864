"""Bundles that are whole, but hold other things than they were exported with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.bundle.bundle import open_bundle, write_manifest
from gearshift.runtime.bundle.digest import with_digest
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR, MANIFEST, SELF_TEST, Manifest, PoolEntry
from gearshift.runtime.dan.model import Dan, Text, save_dan
from gearshift.runtime.inference.self_test_file import self_test_names
from gearshift.runtime.space.subnet import Subnet


def change_manifest(directory: Path, **fields: Any) -> None:
    """Set fields of the manifest; sizes and hashes are those of the files as they are now."""
    manifest = Manifest.from_content((directory / MANIFEST).read_bytes(), directory / MANIFEST)
    write_manifest(directory, dataclasses.replace(manifest, **fields))


def add_dan(directory: Path, dan: Dan, texts: Sequence[Text], *, accuracy: float) -> None:
    """Put a DAN beside the graph, as the exporter does."""
    save_dan(directory / "dan.safetensors", dan)
    manifest = Manifest.from_content((directory / MANIFEST).read_bytes(), directory / MANIFEST)
    entry = PoolEntry(
        "dan", Subnet(()), DAN_EXECUTOR, "dan.safetensors", (), dan.precision, accuracy, dan.parameters, dan.macs
    )
    with np.load(directory / SELF_TEST, allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    of_texts, of_logits = self_test_names(entry)
    rows = [[text] if isinstance(text, str) else text for text in texts]
    np.savez(directory / SELF_TEST, allow_pickle=False, **kept, **{of_texts: np.array(rows), of_logits: dan.run(texts)})
    change_manifest(directory, pool=(*manifest.pool, entry))


def edit_manifest(directory: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the manifest's JSON, whatever comes out; its digest is made right."""
    raw = json.loads((directory / MANIFEST).read_bytes())
    edit(raw)
    (directory / MANIFEST).write_bytes(with_digest(raw))


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the JSON of a file, whatever comes out."""
    raw = json.loads(path.read_bytes())
    edit(raw)
    path.write_text(json.dumps(raw))


def set_field(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    """An edit that sets the field at that path of keys and places."""

    def edit(raw: dict[str, Any]) -> None:
        place: Any = raw
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return edit


def change_self_test(directory: Path, change: Callable[[str, NDArray[np.generic]], NDArray[np.generic] | None]) -> None:
    """Replace each array of the self-test by what `change` makes of its name and it; None leaves it out."""
    with np.load(directory / SELF_TEST, allow_pickle=False) as arrays:
        changed = {name: change(name, arrays[name]) for name in arrays.files}
    kept = {name: array for name, array in changed.items() if array is not None}
    np.savez(directory / SELF_TEST, allow_pickle=False, **kept)
    change_manifest(directory)
    open_bundle(directory)
