"""Files with the hash of their content in the first line, so that a bit changed on the disk is found by the reader."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from gearshift.errors import StorageError
from gearshift.json_reader import read_limited
from gearshift.runtime.files.atomic import is_device_or_pipe, replacing_file

_SEAL = b"gearshift sha256 "
_LENGTH = len(_SEAL) + 64 + 1
"""Bytes of the first line: seal, hash in hexadecimal, line end."""


def write_sealed(path: Path, content: bytes | memoryview, *, before: Path | None = None) -> None:
    """Write a file atomically, with its hash; raises StorageError.

    `before`: name under which the file that was there is kept.
    """
    if is_device_or_pipe(path):
        raise StorageError(f"{path}: expected a file or nothing there, found a device or a pipe; delete it")
    with replacing_file(path) as file:
        file.write(_SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n")
        file.write(content)
        file.flush()  # a full disk shows here, while the file before still has its name
        if before is not None and path.exists():
            path.replace(before)


def read_sealed(path: Path) -> bytes:
    """Return the content of a file; one without a seal, of an earlier version, is returned as it is.

    Raises OSError, and ValueError if the content is not that which was written.
    """
    found = read_limited(path, most=sys.maxsize)  # which waits for no pipe
    if not found.startswith(_SEAL):
        return found
    content = found[_LENGTH:]
    if found[:_LENGTH] != _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n":
        raise ValueError("its content has changed since it was written")
    return content
