"""Arrays in one file of the safetensors format, read and written with numpy alone.

The file is memory-mapped: arrays that are never looked up take no memory.
The description is a JSON object of ours in the format's `__metadata__`, which maps text to text.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import IntegrityError
from gearshift.json_reader import parse_json
from gearshift.runtime.files.atomic import replace_file

_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_LENGTH = 8  # bytes of the first field, the length of the header
_MOST_HEADER = 1 << 20  # headers that we write have a few hundred bytes
_DESCRIPTION = "description"


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> None:
    """Write arrays and their description to a file, atomically; raises StorageError."""
    header: dict[str, Any] = {"__metadata__": {_DESCRIPTION: json.dumps(description)}}
    end = 0
    # Widest items first, so that each array starts at a multiple of its item's size.
    ordered = sorted(tensors.items(), key=lambda pair: -pair[1].dtype.itemsize)
    for name, array in ordered:
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    content = json.dumps(header).encode()
    content += b" " * (-len(content) % _LENGTH)
    data = b"".join(np.ascontiguousarray(array).tobytes() for _, array in ordered)
    replace_file(path, len(content).to_bytes(_LENGTH, "little") + content + data)


def map_tensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Map the arrays of a file, read-only, and read their description; raises IntegrityError."""
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise _unreadable(path, str(error)) from error
    length = int.from_bytes(content[:_LENGTH], "little")
    start = _LENGTH + length
    if not 0 < length <= min(_MOST_HEADER, len(content) - _LENGTH):
        raise _unreadable(path, f"a header of {length} bytes in a file of {len(content)}")
    try:
        header = parse_json(content[_LENGTH:start])
        description = parse_json(header.pop("__metadata__")[_DESCRIPTION])
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if start + end != len(content):
            raise ValueError(f"expected {start + end} bytes, found {len(content)}")
        return {name: _array(content, start, entry) for name, entry in header.items()}, description
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _unreadable(path, str(error)) from error


def tensor_places(path: Path) -> list[tuple[int, int, int]]:
    """Return the offset of each array in a file, its bytes, and the bytes of an item; raises IntegrityError."""
    arrays, _ = map_tensors(path)
    places, end = [], path.stat().st_size
    for array in reversed(arrays.values()):  # they follow each other without gaps up to the end, in this order
        end -= array.nbytes
        places.append((end, array.nbytes, array.itemsize))
    return places[::-1]


def _array(content: mmap.mmap, start: int, entry: dict[str, Any]) -> NDArray[Any]:
    first, last = entry["data_offsets"]
    dtype, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
    count = int(np.prod(shape, dtype=np.int64))
    if first < 0 or last - first != count * dtype.itemsize:
        raise ValueError(f"{last - first} bytes for an array {shape} of {dtype}")
    array: NDArray[Any] = np.frombuffer(content, dtype, count, start + first).reshape(shape)
    return array


def _unreadable(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"{path}: expected a whole safetensors file of gearshift, found another ({why}); copy it again"
    )
