"""A file without its zeros: the form of weights, and of any other file, in a compressed bundle.

    magic, length of the header   8 + 4 bytes
    header, deflated JSON         bytes and extents of the dense file, and chunks of each kind
    chunks                        for each kind, one after the other

1. The dense file is cut into extents (bytes, item size): tensors with the padding behind them. All extents of one item
   size make one kind: a sequence of items in file order, cut into chunks of CHUNK_ITEMS.
2. A chunk is stored `DENSE`, with all its items, or sparse: the non-zero items and an index of their places. `BITMAP`:
   a bit for each item. `GAPS`: a byte for the number of zeros before each item; 255 stands for 255 zeros and no item.
   The writer keeps the smallest form, which depends on the share of zeros and on the values.
3. Items of several bytes are stored byte by byte: all first bytes, then all second ones.
4. Index and items are deflated (zlib). Quantised weights are noise of few values without repetitions: Huffman codes
   alone come as close to their entropy as LZMA does, and are read ten times as fast.
5. Zero is the item whose bits are all zero, so the dense file is restored bit for bit.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import IntegrityError
from gearshift.json_reader import parse_json
from gearshift.number_checks import is_whole

MAGIC = b"gs-spar1"
CHUNK_ITEMS = 1 << 20
ITEM_BYTES = (1, 2, 4, 8)
DENSE, BITMAP, GAPS = range(3)

_RUN = 255
_LENGTH = struct.Struct("<I")
_MOST_HEADER = 1 << 24
_STRATEGIES = (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY)
_LEVEL = 9

Items = NDArray[Any]


@dataclass(frozen=True)
class Extent:
    """A part of the dense file with items of one size."""

    bytes: int
    item_bytes: int


@dataclass(frozen=True)
class _Chunk:
    coding: int
    items: int
    index_bytes: int
    value_bytes: int


def write_sparse(content: bytes, extents: Sequence[Extent], target: BinaryIO) -> None:
    """Write a dense file in this form. `extents` cover it in order; each is a multiple of its item size."""
    assert sum(extent.bytes for extent in extents) == len(content), "extents must cover the file"
    header: dict[str, Any] = {"bytes": len(content), "extents": _to_pairs(extents), "chunks": {}}
    parts: list[bytes] = []
    for size in sorted({extent.item_bytes for extent in extents}):
        items = np.frombuffer(_of_kind(content, extents, size), f"<u{size}")
        listed = header["chunks"][str(size)] = []
        for start in range(0, len(items), CHUNK_ITEMS):
            chunk, index, values = _encoded(items[start : start + CHUNK_ITEMS])
            listed.append([chunk.coding, chunk.items, chunk.index_bytes, chunk.value_bytes])
            parts += [index, values]
    described = _deflated(json.dumps(header, separators=(",", ":")).encode())
    target.write(MAGIC + _LENGTH.pack(len(described)) + described)
    for part in parts:
        target.write(part)


def _to_pairs(extents: Sequence[Extent]) -> list[list[int]]:
    """Return (bytes, item size) of each extent, with neighbours of one size merged."""
    pairs: list[list[int]] = []
    for extent in extents:
        if pairs and pairs[-1][1] == extent.item_bytes:
            pairs[-1][0] += extent.bytes
        else:
            pairs.append([extent.bytes, extent.item_bytes])
    return pairs


def _of_kind(content: bytes, extents: Sequence[Extent], size: int) -> bytes:
    parts, start = [], 0
    for extent in extents:
        if extent.item_bytes == size:
            parts.append(content[start : start + extent.bytes])
        start += extent.bytes
    return b"".join(parts)


def _encoded(items: Items) -> tuple[_Chunk, bytes, bytes]:
    """Encode a chunk in its smallest form; return its description, its index and its items."""
    mask = items != 0
    packed = _deflated(_planes(items[mask]))
    forms = [
        (DENSE, b"", _deflated(_planes(items))),
        (BITMAP, _deflated(np.packbits(mask).tobytes()), packed),
        (GAPS, _deflated(_gaps(mask).tobytes()), packed),
    ]
    coding, index, values = min(forms, key=lambda form: len(form[1]) + len(form[2]))
    return _Chunk(coding, len(items), len(index), len(values)), index, values


def _deflated(content: bytes) -> bytes:
    """Deflate by Huffman codes alone and with repetitions, which text has; return the smaller."""
    found = []
    for strategy in _STRATEGIES:
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1, strategy)
        found.append(packer.compress(content) + packer.flush())
    return min(found, key=len)


def _planes(items: Items) -> bytes:
    """Return all first bytes, then all second ones, and so on."""
    return items.view(np.uint8).reshape(len(items), items.itemsize).T.tobytes()


def _gaps(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    zeros = np.diff(np.flatnonzero(mask), prepend=-1) - 1
    runs, rest = np.divmod(zeros, _RUN)
    gaps = np.full(int(runs.sum()) + len(zeros), _RUN, np.uint8)
    gaps[np.cumsum(runs + 1) - 1] = rest
    return gaps


def read_sparse(path: Path) -> Iterator[bytes]:
    """Read the dense file in pieces, in order; raise IntegrityError if the stored file is damaged.

    Takes the memory of a few chunks. The content is only known to be right once its hash is checked.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            extents, chunks, start = _read_header(file, size)
            yield from _pieces(path, extents, chunks, start)
    except (zlib.error, struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise IntegrityError(f"{path}: expected a compressed file that is whole, found another ({error})") from error


def _read_header(file: BinaryIO, size: int) -> tuple[list[Extent], dict[int, list[_Chunk]], int]:
    """Read the extents, the chunks of each item size, and the offset of the first chunk."""
    begin = file.read(len(MAGIC) + _LENGTH.size)
    if begin[: len(MAGIC)] != MAGIC:
        raise ValueError(f"it begins with {begin[: len(MAGIC)]!r}")
    (length,) = _LENGTH.unpack(begin[len(MAGIC) :])
    if length > size:  # to read as many would allocate them
        raise ValueError(f"a header of {length} bytes in a file of {size}")
    header = parse_json(_inflated(file.read(length), _MOST_HEADER))
    extents = [Extent(*map(_whole, pair)) for pair in header["extents"]]
    chunks = {int(kind): [_Chunk(*map(_whole, chunk)) for chunk in listed] for kind, listed in header["chunks"].items()}
    if sum(extent.bytes for extent in extents) != _whole(header["bytes"]) or not set(chunks) <= set(ITEM_BYTES):
        raise ValueError("extents that do not make the file")
    for kind, listed in chunks.items():
        stored = sum(chunk.items for chunk in listed) * kind
        if stored != sum(extent.bytes for extent in extents if extent.item_bytes == kind):
            raise ValueError(f"chunks that do not make the items of {kind} bytes")
        if max((chunk.items for chunk in listed), default=0) > CHUNK_ITEMS:
            raise ValueError("a chunk of too many items")
    if {extent.item_bytes for extent in extents} - set(chunks):
        raise ValueError("extents without chunks")
    start = len(begin) + length
    end = start + sum(chunk.index_bytes + chunk.value_bytes for listed in chunks.values() for chunk in listed)
    if end != size:
        raise ValueError(f"expected {end} bytes, found {size}")
    return extents, chunks, start


def _whole(number: object) -> int:
    if not is_whole(number, 0):
        raise ValueError(f"{number!r} where a count was expected")
    return number


def _pieces(path: Path, extents: list[Extent], chunks: dict[int, list[_Chunk]], start: int) -> Iterator[bytes]:
    """Read the extents in order, each from the sequence of its kind."""
    streams = {}
    for size in sorted(chunks):
        streams[size] = _Stream(path, chunks[size], size, start)
        start += sum(chunk.index_bytes + chunk.value_bytes for chunk in chunks[size])
    for extent in extents:
        yield from streams[extent.item_bytes].take(extent.bytes)


class _Stream:
    """Reader of the items of one size, a chunk at a time."""

    def __init__(self, path: Path, chunks: list[_Chunk], item_bytes: int, start: int) -> None:
        self._path = path
        self._chunks = iter(chunks)
        self._item_bytes = item_bytes
        self._place = start
        self._left = memoryview(b"")

    def take(self, count: int) -> Iterator[bytes]:
        """Read the next `count` bytes, in pieces."""
        while count:
            if not self._left:
                self._left = memoryview(self._next())
            piece = self._left[:count]
            self._left = self._left[len(piece) :]
            count -= len(piece)
            yield bytes(piece)

    def _next(self) -> bytes:
        chunk = next(self._chunks)
        with self._path.open("rb") as file:
            file.seek(self._place)
            index, values = file.read(chunk.index_bytes), file.read(chunk.value_bytes)
        self._place += chunk.index_bytes + chunk.value_bytes
        return _decoded(chunk, index, values, self._item_bytes)


def _decoded(chunk: _Chunk, index: bytes, values: bytes, size: int) -> bytes:
    content = _inflated(values, chunk.items * size)
    if len(content) % size:
        raise ValueError("a part of an item")
    found = np.frombuffer(content, np.uint8).reshape(size, -1).T.copy().view(f"<u{size}").ravel()
    places = np.arange(chunk.items) if chunk.coding == DENSE else _places(chunk, index)
    if len(places) != len(found):
        raise ValueError(f"expected {len(places)} items, found {len(found)}")
    items = np.zeros(chunk.items, f"<u{size}")
    items[places] = found
    return items.tobytes()


def _places(chunk: _Chunk, index: bytes) -> NDArray[Any]:
    """Return the places of the non-zero items."""
    if chunk.coding == BITMAP:
        bits = np.frombuffer(_inflated(index, math.ceil(chunk.items / 8)), np.uint8)
        return np.flatnonzero(np.unpackbits(bits, count=chunk.items))
    if chunk.coding != GAPS:
        raise ValueError(f"an unknown coding {chunk.coding}")
    gaps = np.frombuffer(_inflated(index, chunk.items + chunk.items // _RUN + 1), np.uint8)
    places = np.cumsum(gaps.astype(np.int64) + (gaps < _RUN)) - 1
    return places[gaps < _RUN]


def _inflated(content: bytes, most: int) -> bytes:
    """Inflate a stream of at most `most` bytes; no more memory than that is taken."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    found = unpacker.decompress(content, most + 1)
    if not unpacker.eof or unpacker.unused_data or len(found) > most:
        raise ValueError("a stream that is not whole")
    return found
