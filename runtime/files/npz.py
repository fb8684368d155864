"""Reader of .npz files whose sizes are known: nothing is allocated before it is compared with what is expected.

numpy's own reader allocates what a header claims, and lets the errors of half a dozen modules through.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gearshift.json_reader import read_limited

Expected = Callable[[tuple[int, ...], np.dtype[Any]], bool]
"""Function that says whether an array may have this shape and type; it bounds both."""

MOST_BYTES = 64 << 20
MOST_ENTRIES = 1 << 12
"""Bytes and entries of a file, at most: a bundle's self-test has some hundred arrays of some kilobytes."""

_ENTRY = b"PK\x01\x02"
"""Bytes that begin each entry of an archive's directory."""

_HEADER = 4096
"""Bytes of the longest header of an array; ours have 128."""

_MAGIC = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(path: Path, expected: Mapping[str, Expected]) -> dict[str, NDArray[Any]]:
    """Return the arrays of these names; raise ValueError in one line if one is missing, or not as expected.

    Other arrays of the file are left unread. Objects are never unpickled.
    """
    try:
        content = read_limited(path, most=MOST_BYTES)
        if (count := content.count(_ENTRY)) > MOST_ENTRIES:  # before a million of them become objects
            raise ValueError(f"expected at most {MOST_ENTRIES} arrays, found {count}")
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            return {name: _array(members, name, holds) for name, holds in expected.items()}
    except KeyError as error:
        raise ValueError(f"no array {error.args[0]}") from error
    except (ValueError, OSError):
        raise
    except Exception as error:  # of zipfile, zlib, struct, tokenize and ast, which share no base
        raise ValueError(f"not a whole .npz file ({type(error).__name__}: {error})") from error


def _array(members: zipfile.ZipFile, name: str, holds: Expected) -> NDArray[Any]:
    entry = members.getinfo(f"{name}.npy") if f"{name}.npy" in members.NameToInfo else None
    if entry is None:
        raise KeyError(name)
    with members.open(entry) as file:
        start = io.BytesIO(file.read(_HEADER))
        version = npy.read_magic(start)
        if version not in _MAGIC:
            raise ValueError(f"{name}: version {version} of the format of arrays")
        shape, by_column, dtype = _MAGIC[version](start, max_header_size=_HEADER)
        if by_column and len(shape) > 1:
            raise ValueError(f"{name}: columns where rows were expected")
        whole = all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape)
        if dtype.hasobject or not whole or not holds(shape, dtype):
            raise ValueError(f"{name}: an array {shape} of {dtype}, which was not expected")
        size = math.prod(shape) * dtype.itemsize
        if entry.file_size != start.tell() + size:
            raise ValueError(f"{name}: expected {start.tell() + size} bytes, found {entry.file_size}")
        content = start.read()
        content += file.read(size - len(content) + 1)
    if len(content) != size:
        raise ValueError(f"{name}: expected {size} bytes of values, found {len(content)}")
    return np.frombuffer(content, dtype).reshape(shape).copy()
