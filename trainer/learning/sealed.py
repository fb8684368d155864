"""Files with a seal in the first line, the hash of their name and content: the reader finds a bit that changed on the
disk, and a whole file that was put in another's place."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from gearshift.errors import StorageError
from gearshift.json_reader import read_limited
from gearshift.runtime.files.atomic import is_device_or_pipe, replacing_file

_SEAL = b"gearshift sha256 "
_LENGTH = len(_SEAL) + 64 + 1
"""Bytes of the first line: seal, hash in hexadecimal, line end."""


def seal(name: str, content: bytes | memoryview) -> bytes:
    """Return the first line of a file that is written under a name."""
    found = hashlib.sha256(os.fsencode(name) + b"\0")
    found.update(content)
    return _SEAL + found.hexdigest().encode() + b"\n"


def write_sealed(path: Path, content: bytes | memoryview, *, before: Path | None = None) -> None:
    """Write a file atomically, with the seal of its name; raises StorageError.

    `before`: name under which the file that was there is kept.
    """
    if is_device_or_pipe(path):
        raise StorageError(f"{path}: expected a file or nothing there, found a device or a pipe; delete it")
    with replacing_file(path) as file:
        file.write(seal(path.name, content))
        file.write(content)
        file.flush()  # a full disk shows here, while the file before still has its name
        if before is not None and path.exists():
            path.replace(before)


def read_sealed(path: Path, *, written_as: str | None = None) -> bytes:
    """Return the content of a file; one without a seal, of an earlier version, is returned as it is.

    `written_as`: name that it was written under, if that is another now. Raises OSError, and ValueError if the content
    is not that which was written under this name.
    """
    found = read_limited(path, most=sys.maxsize)  # which waits for no pipe
    if not found.startswith(_SEAL):
        return found
    content = found[_LENGTH:]
    if found[:_LENGTH] != seal(written_as or path.name, content):
        raise ValueError("its content has changed since it was written, or was written under another name")
    return content
