"""Files of a folder that are its splits, by their names.

1. A file's name without its suffix is that of a split in any case of letters (`STEMS`), apart from the numbers of parts
   of Parquet files (`train-00000-of-00002`). `eval` is the dev split where no other file is.
2. Where no file is named so, those with one more word in the name, the same for each split, are taken: `atis_train.csv`
   with `atis_dev.csv`, or `train-v1.1.json` with `dev-v1.1.json`. Beside `dev.tsv`,
   `train.fine.tsv` is another data set.
3. Two files for one split are refused. A note names what was taken under another name, and what was left.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.errors import DataError
from gearshift.trainer.data.files.records import listed
from gearshift.trainer.data.formats import PARQUET, SUFFIXES, suffix_of

STEMS = {
    "train": ("train", "training"),
    "dev": ("dev", "valid", "validation", "val", "development", "devel", "trial", "eval", "evaluation"),
    "test": ("test", "testing"),
}
"""Split -> possible names of its file in a folder."""

_YIELDING = ("eval", "evaluation")
"""Names that are of the dev split only where no other file is."""

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})")


@dataclass(frozen=True)
class SplitFiles:
    """Files of the splits of a folder: one each, or the parts of one."""

    files: Mapping[str, tuple[Path, ...]]
    notes: tuple[str, ...]


def split_of(name: str) -> str | None:
    """Return the split that a name means, in any case of letters; None for another name."""
    return next((split for split, stems in STEMS.items() if name.lower() in stems), None)


def find_split_files(folder: Path, suffixes: Sequence[str], *, besides: Collection[str] = ()) -> SplitFiles:
    """Return the files of the splits; without any for train there is no split at all.

    `besides`: names of files that are read for something else. Raises DataError if two files could be one split.
    """
    known = [path for path in sorted(folder.iterdir()) if path.is_file() and suffix_of(path.name, suffixes)]
    known = [path for path in known if path.name not in besides and not path.name.startswith(".")]
    stem_of = {path: path.name[: -len(suffix_of(path.name, suffixes) or "")] for path in known}
    found = _by_split({path: _whole(stem, path) for path, stem in stem_of.items()})
    plain = bool(found)
    if not plain:
        found = _by_rest(folder, stem_of)
    if "train" not in found:
        return SplitFiles({}, ())
    files = {split: _one(folder, split, found[split]) for split in STEMS if split in found}
    taken = {path for paths in files.values() for path in paths}
    left = [path.name for path in known if path not in taken and _is_data(path, stem_of[path])]
    usual = all(stem_of[paths[0]] == split or len(paths) > 1 for split, paths in files.items())
    if usual and not left:
        return SplitFiles(files, ())
    said = ", ".join(f"{_shown(paths)} is {split}" for split, paths in files.items())
    return SplitFiles(files, (f"{folder}: {said}" + (f"; not read: {listed(left)}" if left else ""),))


def _is_data(path: Path, stem: str) -> bool:
    """Return whether a file seems to hold rows: plain text does if its name says so."""
    return ".txt" not in path.suffixes or any(split_of(word) for word in re.split(r"[-_. ]", stem))


def _whole(stem: str, path: Path) -> str:
    """Return a stem without the number of the part."""
    part = _PART.fullmatch(stem)
    return part[1] if part is not None and path.name.lower().endswith(PARQUET) else stem


def _by_split(stems: Mapping[Path, str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path, stem in stems.items():
        split = split_of(stem)
        if split is not None:
            found.setdefault(split, []).append(path)
    sure = [path for path in found.get("dev", []) if stems[path].lower() not in _YIELDING]
    return {**found, "dev": sure} if sure else found


def _by_rest(folder: Path, stems: Mapping[Path, str]) -> dict[str, list[Path]]:
    """Return the files whose names hold a split's name and, for all splits, the same other words."""
    groups: dict[str, dict[Path, str]] = {}
    for path, stem in stems.items():
        words = re.split(r"[-_. ]", _whole(stem, path))
        places = [place for place, word in enumerate(words) if split_of(word)]
        if len(places) == 1 and len(words) > 1:
            rest = re.sub(re.escape(words[places[0]]), "*", _whole(stem, path), count=1)
            groups.setdefault(rest.lower(), {})[path] = words[places[0]]
    found = {rest: _by_split(group) for rest, group in groups.items()}
    whole = {rest: group for rest, group in found.items() if "train" in group}
    if len(whole) > 1:
        names = listed([path.name for group in whole.values() for path in group["train"]])
        raise DataError(f"{folder}: {names} could each be the train split; leave only one, or pass that file")
    return next(iter(whole.values()), {})


def _one(folder: Path, split: str, paths: list[Path]) -> tuple[Path, ...]:
    """Return the file of a split, or all parts of it; raise DataError if there are two, or a part is missing."""
    parts = [_PART.match(path.name) for path in paths]
    first = parts[0]
    if first is not None and all(part is not None and part[1] == first[1] for part in parts):
        numbers, count = [int(part[2]) for part in parts if part is not None], int(first[3])
        if numbers != list(range(count)):
            raise DataError(f"{folder}: expected {count} parts of the {split} split, found {len(paths)}; copy all")
        return tuple(paths)
    if len(paths) > 1:
        both = listed([path.name for path in sorted(paths, key=_order)])
        raise DataError(f"{folder}: {both} could each be the {split} split; leave only one")
    return tuple(paths)


def _order(path: Path) -> tuple[int, int]:
    """Return the place of a file among those of a split, the usual name first."""
    stems = [stem for stems in STEMS.values() for stem in stems]
    stem, suffix = path.name.lower().split(".", 1)
    return (
        stems.index(stem) if stem in stems else len(stems),
        SUFFIXES.index(f".{suffix}") if f".{suffix}" in SUFFIXES else len(SUFFIXES),
    )


def _shown(paths: Sequence[Path]) -> str:
    return paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
