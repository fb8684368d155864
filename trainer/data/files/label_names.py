"""Names of labels that files hold as integers, as `datasets` has them (`ClassLabel`).

1. They are named by the caller, by names with commas between or a file; or else by `dataset_info.json` beside the data,
   or by a file of one name a line: `labels.txt`, `label_names.txt`, `classes.txt`.
2. The integers are places in the list, from 0. A file beside the data is taken only if it fits: if every label of every
   split is such a place, and 0 is among them. A note says so, or why not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gearshift.errors import DataError
from gearshift.trainer.data.files.decoding import read_text
from gearshift.trainer.data.files.records import listed

INFO = ("dataset_info.json", "dataset_infos.json")
PLAIN = ("labels.txt", "label_names.txt", "classes.txt")
FILES = (*INFO, *PLAIN)
"""Files beside the data that may hold names."""


def asked_names(asked: str) -> tuple[str, ...]:
    """Return the names that a caller gave: with commas between, or those of a file, one a line or a JSON list."""
    path = Path(asked)
    if path.is_file():
        text = read_text(path)
        names = _of_json(path, text) if path.suffix.lower() == ".json" else _lines(text)
    else:
        names = tuple(part.strip() for part in asked.split(","))
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise DataError(f"label names: expected two or more, each once, or a file of them, got {asked!r}")
    return names


def names_beside(folder: Path, column: str) -> tuple[Path, tuple[str, ...]] | None:
    """Return a file beside the data that names the labels of a column, and the names; None if there is none."""
    for name in FILES:
        path = folder / name
        if not path.is_file():
            continue
        names = _of_info(path, column) if name in INFO else _lines(read_text(path))
        if names:
            return path, names
    return None


def places_in(labels: Collection[str], names: Sequence[str]) -> bool:
    """Return whether all labels are integers that are places of names."""
    return all(label.isdecimal() and str(int(label)) == label and int(label) < len(names) for label in labels)


def require_places(where: str, labels: Collection[str], names: Sequence[str]) -> None:
    """Raise DataError if a label is no place of the names that a caller gave."""
    if not places_in(labels, names):
        wrong = sorted(label for label in labels if not places_in([label], names))
        raise DataError(
            f"{where}: expected labels from 0 to {len(names) - 1}, the places of the label names, found {listed(wrong)}"
        )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _of_json(path: Path, text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); expected a list of names") from error
    if isinstance(found, Mapping):  # {"0": "x", ...} or {"x": 0, ...}
        turned = {str(value): key for key, value in found.items()}
        by_place = found if all(str(key).isdecimal() for key in found) else turned
        found = [by_place.get(str(place)) for place in range(len(by_place))]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise DataError(f"{path}: expected a list of names, or an object of places and names")
    return tuple(found)


def _of_info(path: Path, column: str) -> tuple[str, ...]:
    """Return the names of a column's ClassLabel in the features of `dataset_info.json`; none if it has none."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); correct or delete it") from error
    return _search(found, column)


def _search(found: Any, column: str) -> tuple[str, ...]:
    if not isinstance(found, Mapping):
        return ()
    features = found.get("features")
    if isinstance(features, Mapping):
        kind = features.get(column, {})
        while isinstance(kind, Mapping) and "names" not in kind and isinstance(kind.get("feature"), Mapping):
            kind = kind["feature"]
        names = kind.get("names") if isinstance(kind, Mapping) else None
        return tuple(map(str, names)) if isinstance(names, list) else ()
    return next((names for value in found.values() if (names := _search(value, column))), ())
