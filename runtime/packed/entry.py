"""Entry of the packed-weight cache: what it was made for, and whether its files are still those that were written.

The marker names bundle, precision, library and CPU, and has the SHA-256 of every file and of its blocks; it carries its
own hash. An entry of another bundle, or of another machine that shares the directory, is therefore never used.

Every load asks for the SHA-256 of each file, which is remembered while the file system reports no change, and then
reads a few blocks. A disk that loses bits without a word is found by these, or later by a check of all blocks.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

from gearshift.json_reader import parse_json
from gearshift.number_checks import is_whole
from gearshift.runtime.files.private import is_own_file, read_own
from gearshift.sealed_json import sealed, unsealed

MARKER = "entry.json"
"""File written last, with the names, sizes and hashes of all others."""

FORMAT = 4
"""Number of the form of an entry: one of another form counts as one of another bundle."""

BLOCK = 1 << 18
SAMPLED = 3
"""Bytes of a block, and number of blocks of a file that each load reads beside the first: 1 MB, a millisecond."""

_SHOWN = 16
"""Digits that are kept of the SHA-256 of a block."""

Draw = Callable[[Sequence[int], int], Sequence[int]]
"""Function that draws so many out of these, such as `random.sample`."""


@dataclass(frozen=True)
class KeptFile:
    """A file of an entry, as it was written."""

    bytes: int
    sha256: str
    blocks: tuple[str, ...]
    """Start of the SHA-256 of each block."""

    def __post_init__(self) -> None:
        if not is_whole(self.bytes, 0) or len(self.blocks) != -(-self.bytes // BLOCK):
            raise ValueError("blocks that do not make the file")


@dataclass(frozen=True)
class Marker:
    """Description of an entry."""

    made_for: dict[str, Any]
    """Bundle, precision, library and CPU."""
    probe: tuple[float, ...]
    """Output of one subnet for a short text, when the entry was made."""
    within: float
    """Largest difference from it."""
    files: dict[str, KeptFile]
    """Name -> file, the marker apart."""


def describe(place: Path, made_for: Mapping[str, Any], probe: Sequence[float], within: float) -> Marker:
    """Describe the files that are in a directory now."""
    files = {path.name: _described(path) for path in sorted(place.iterdir())}
    return Marker(dict(made_for), tuple(probe), within, files)


def write_marker(place: Path, marker: Marker, source: Path) -> None:
    """Write the marker of a directory; `source`: bundle that it was made of, for whoever looks."""
    files = {name: vars(kept) for name, kept in marker.files.items()}
    content = sealed({"format": FORMAT, "source": str(source), **vars(marker), "files": files})
    with (place / MARKER).open("x", encoding="utf-8") as file:
        json.dump(content, file)


def read_marker(place: Path) -> Marker:
    """Read the marker of an entry; raise OSError or ValueError if it is damaged."""
    try:
        fields = unsealed(parse_json(read_own(place / MARKER)))
        files = {
            name: KeptFile(entry["bytes"], entry["sha256"], tuple(entry["blocks"]))
            for name, entry in fields["files"].items()
        }
        marker = Marker(dict(fields["made_for"]), tuple(map(float, fields["probe"])), float(fields["within"]), files)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{MARKER} is of another form") from error
    if fields.get("format") != FORMAT:
        raise ValueError(f"{MARKER} is of another form")
    return marker


def require_intact(
    place: Path, made_for: Mapping[str, Any], sha256: Callable[[Path], str], draw: Draw = random.sample
) -> Marker:
    """Return the marker of an entry if it was made for this, and its files seem unchanged; raise OSError or ValueError.

    `sha256`: gives the hash of a file, remembered while the file system reports no change. `draw`: draws the blocks
    that are read.
    """
    marker = read_marker(place)
    if marker.made_for != made_for:
        raise ValueError("made for another bundle, precision, onnxruntime or CPU")
    _require_names(place, marker.files)
    for name, expected in marker.files.items():
        if sha256(place / name) != expected.sha256:
            raise ValueError(f"{name} has changed")
        with opened(place / name) as file:
            for number in _sample(len(expected.blocks), draw):
                require_block(file, number, expected)
    return marker


def require_whole(place: Path) -> None:
    """Read an entry, all of it; raise OSError or ValueError if it is damaged."""
    files = read_marker(place).files
    _require_names(place, files)
    for name, expected in files.items():
        with opened(place / name) as file:
            for number in range(len(expected.blocks)):
                require_block(file, number, expected)


def opened(path: Path) -> RawIOBase:
    """Open a file for `require_block`, without a buffer: what was read before would hide what is there now."""
    return path.open("rb", buffering=0)


def require_block(file: RawIOBase, number: int, expected: KeptFile) -> None:
    """Raise ValueError if a block of an open file is not as it was written, OSError if it cannot be read."""
    file.seek(number * BLOCK)
    content = b""
    while len(content) < BLOCK and (more := file.read(BLOCK - len(content))):
        content += more
    if _digest(content) != expected.blocks[number]:
        raise ValueError(f"block {number} has changed")


def _require_names(place: Path, files: Mapping[str, KeptFile]) -> None:
    """Raise ValueError unless an entry has just these files, of these sizes, and all are this user's."""
    there = {path.name: path for path in place.iterdir()}
    if there.keys() != {*files, MARKER}:
        raise ValueError(f"expected {', '.join([*files, MARKER])}, found {', '.join(sorted(there)) or 'nothing'}")
    for name, path in there.items():
        if not is_own_file(path):
            raise ValueError(f"{name} is no regular file of this user")
        if name in files and path.stat().st_size != files[name].bytes:
            raise ValueError(f"{name} has another size")


def _described(path: Path) -> KeptFile:
    whole = hashlib.sha256()
    blocks = []
    for block in _blocks(path):
        whole.update(block)
        blocks.append(_digest(block))
    return KeptFile(path.stat().st_size, whole.hexdigest(), tuple(blocks))


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _digest(block: bytes) -> str:
    return hashlib.sha256(block).hexdigest()[:_SHOWN]


def _sample(blocks: int, draw: Draw) -> list[int]:
    drawn = draw(range(1, blocks), min(SAMPLED, blocks - 1)) if blocks > 1 else ()
    return [0, *sorted(drawn)] if blocks else []
