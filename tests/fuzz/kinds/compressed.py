"""Compressed bundles: bytes that flipped, and what a malicious author makes of the stored files and their listing.

The dense files have their hashes in the manifest, so that an author of a compressed form cannot change them: right is a
clear error or unchanged answers, also where the listing is right again. With another manifest, answers may be others.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from pathlib import Path
from typing import Any

from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.compressed import COMPRESSED, write_compressed, write_listing
from gearshift.runtime.bundle.manifest import MANIFEST
from gearshift.runtime.files.cache import VARIABLE
from gearshift.runtime.files.sparse_file import MAGIC, Extent
from tests.fuzz import answers
from tests.fuzz.answers import BUNDLE, copy_bundle, mended, replace
from tests.fuzz.kinds.altered_bytes import alter_file, altered
from tests.fuzz.kinds.json_values import NUMBERS, change_value, changed_json
from tests.fuzz.kinds.manifest import changed
from tests.fuzz.outcome import Kind

CASE = "case.gearshift"
STORED = "stored.gearshift"


def prepare(base: Path) -> None:
    answers.prepare(base)
    (base / STORED).mkdir()
    cuts = {"fp32.weights": [Extent((base / BUNDLE / "fp32.weights").stat().st_size, 4)]}
    write_compressed(base / BUNDLE, open_bundle(base / BUNDLE).manifest.files, base / STORED, cuts)


def make(base: Path, case: Path, source: random.Random) -> bool:
    directory = case / CASE
    copy_bundle(base / STORED, directory)
    paths = sorted(directory.iterdir())
    kind = source.random()
    if kind < 0.25:
        alter_file(source.choice(paths), source, paths)
        return False
    if kind < 0.4:
        replace(directory / COMPRESSED, changed_json((directory / COMPRESSED).read_bytes(), source))
        return False
    if kind < 0.5:
        replace(directory / MANIFEST, mended(changed((directory / MANIFEST).read_bytes(), source)))
    else:
        path = source.choice([path for path in paths if path.suffix == ".z"])
        change = source.choice((altered, other_header, other_header, deflated_zeros))
        replace(path, change(path.read_bytes(), source))
    replace(directory / COMPRESSED, b"")
    write_listing(directory)
    return kind < 0.5


def other_header(content: bytes, source: random.Random) -> bytes:
    """Return a sparse file with other values in its header."""
    start = len(MAGIC) + 4
    length = int.from_bytes(content[len(MAGIC) : start], "little")
    raw = json.loads(zlib.decompress(content[start : start + length], -zlib.MAX_WBITS))
    kind = source.random()
    if kind < 0.5:
        change_value(raw, source)
    elif kind < 0.7:
        size = source.choice(list(raw["chunks"]))
        raw["chunks"][size] = [[source.choice((*NUMBERS[:9], 1 << 20)) for _ in range(4)]]
    else:
        grown(raw, source)
    header = deflated(json.dumps(raw).encode("utf-8", "surrogatepass"))
    told = source.choice((len(header), len(header), len(header), 0, 0xFFFFFFFF))
    return MAGIC + told.to_bytes(4, "little") + header + content[start + length :]


def grown(raw: dict[str, Any], source: random.Random) -> None:
    """Claim a great many items, each number in agreement with the others."""
    size = source.choice(list(raw["chunks"]))
    items = source.choice((1 << 20, 1 << 30, 1 << 40))
    raw["chunks"][size][0][1] = items
    raw["bytes"] = items * int(size)
    raw["extents"] = [[items * int(size), int(size)]]


def deflated_zeros(content: bytes, source: random.Random) -> bytes:
    """Return a file whose header, or whose values, inflate to a great many zeros."""
    bomb = deflated(bytes(source.choice((1 << 20, 1 << 26))))
    if source.random() < 0.5:
        return MAGIC + len(bomb).to_bytes(4, "little") + bomb
    raw = {"bytes": 1 << 20, "extents": [[1 << 20, 1]], "chunks": {"1": [[0, 1 << 20, 0, len(bomb)]]}}
    header = deflated(json.dumps(raw).encode())
    return MAGIC + len(header).to_bytes(4, "little") + header + bomb


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def used(base: Path, case: Path) -> bool:
    os.environ[VARIABLE] = str(case / "cache")
    return answers.use(base, case / CASE, ["int8"])


KINDS = (Kind("compressed", make, used, prepare, weight=8),)
