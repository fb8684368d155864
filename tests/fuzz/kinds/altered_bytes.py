"""Changes of bytes, and of what is at a name: as disks, downloads, people and other users leave them.

The kind `bytes`: any file of a bundle, whose manifest stays as it was. Right is a clear error, or unchanged answers
and meaning.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.fuzz.answers import BUNDLE, copy_bundle, prepare, replace, use
from tests.fuzz.outcome import Kind

CASE = "case.gearshift"


def altered(content: bytes, source: random.Random) -> bytes:
    """Return bytes with one to eight changes."""
    changed = bytearray(content or b"\0")
    for _ in range(source.choice((1, 1, 1, 2, 4, 8))):
        place, length = source.randrange(len(changed) or 1), source.choice((1, 1, 4, 40, 4096))
        kind = source.randrange(9)
        if kind < 3 and changed:
            changed[place] ^= 1 << source.randrange(8)
        elif kind == 3 and changed:
            changed[place] = source.randrange(256)
        elif kind == 4:
            del changed[place : place + length]
        elif kind == 5:
            changed[place:place] = changed[source.randrange(len(changed) or 1) :][:length]
        elif kind == 6:
            changed[place : place + length] = bytes([source.choice((0, 0xFF, 0x20))]) * len(changed[place:][:length])
        elif kind == 7:
            del changed[place:]
        else:
            changed += source.choice((b"\0", b"\n", b"x" * 100, bytes(changed[:100])))
    return bytes(changed)


def alter_file(path: Path, source: random.Random, others: list[Path]) -> None:
    """Alter a file, or put another one, or what is none, at its name."""
    kind = source.random()
    if kind < 0.85:
        replace(path, altered(path.read_bytes(), source))
    elif kind < 0.9:
        replace(path, source.choice(others).read_bytes())
    else:
        path.unlink()
        something_else(path, source)


def is_plain(path: Path) -> bool:
    """Return whether there is a file that can be read, and not mostly a hole."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 30


def something_else(path: Path, source: random.Random) -> None:
    """Put what is no file at a name that is free, or nothing."""
    kind = source.randrange(6)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(source.choice(("/dev/zero", "/etc/passwd", "..", path.name, "nothing")))
    elif kind == 3:
        path.write_bytes(b"")
    elif kind == 4:
        with path.open("wb") as file:
            file.truncate(1 << 40)  # a hole, of no room


def make(base: Path, case: Path, source: random.Random) -> bool:
    directory = case / CASE
    copy_bundle(base / BUNDLE, directory)
    paths = sorted(directory.iterdir())
    if source.random() < 0.03:  # one more file
        (directory / source.choice(("more.txt", "compressed.json", "tables.json"))).write_bytes(b"{}")
        return False
    for _ in range(source.choice((1, 1, 1, 1, 2))):
        files = [path for path in paths if is_plain(path)]
        alter_file(source.choice(files), source, files)
    return False


def used(base: Path, case: Path) -> bool:
    return use(base, case / CASE, ["int8"])


KINDS = (Kind("bytes", make, used, prepare, weight=20),)
