"""Bytes of a data file as text: compression, encodings and line ends.

A byte order mark says the encoding; without one it is UTF-8. Other encodings are refused, since nothing in a file tells
Latin-1 from Latin-2: a wrong guess would train on wrong letters.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gearshift.errors import DataError

PACKED: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    ".xz": ("xz", lzma.decompress),
    ".gz": ("gzip", gzip.decompress),
    ".bz2": ("bzip2", bz2.decompress),
}
"""Suffix of a compressed file -> name of its format, function that decompresses."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),  # spreadsheets begin a file with a byte order mark
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """Read a file as text; raise DataError in one line with the line of the file and a remedy."""
    return decoded(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Read a file, decompressed if its suffix says so."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    name, unpack = PACKED.get(path.suffix.lower(), ("", None))
    if unpack is None:
        return raw
    try:
        return unpack(raw) if raw else _refuse_empty()
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a whole {name} file ({error}); copy it again") from error


def _refuse_empty() -> bytes:
    raise EOFError("it is empty")


def decoded(path: Path, raw: bytes) -> str:
    """Return bytes as text, by their byte order mark or as UTF-8, with no line end but those of Unix and Windows."""
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    start = raw[:4096]
    if encoding == "utf-8" and start.count(b"\0") * 4 > len(start):  # every other byte of English in UTF-16
        kind = "UTF-16LE" if start[1::2].count(b"\0") >= start[::2].count(b"\0") else "UTF-16BE"
        raise DataError(f"{path}:1: not UTF-8 (half of its bytes are 0, as in {kind}); {_remedy(path, kind)}")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding in ("utf-16", "utf-32"):
            raise DataError(f"{path}: not whole {encoding.upper()} ({error.reason}); copy it again") from error
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start : error.start + 1]
        meant = f"{error.reason}; byte 0x{byte.hex()}, {byte.decode('latin-1')!r} in Latin-1"
        raise DataError(f"{path}:{line}: not UTF-8 ({meant}); {_remedy(path, 'WINDOWS-1252')}") from error
    if text.startswith("version https://git-lfs"):
        raise DataError(f"{path}: is a Git LFS pointer and holds no rows; run: git lfs pull")
    return text.replace("\r", "\n") if "\r" in text and "\n" not in text else text


def _remedy(path: Path, encoding: str) -> str:
    return f"save the file as UTF-8, such as by: iconv -f {encoding} -t UTF-8 {path.name} > new-{path.name}"


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Give line number and line. `splitlines` would also cut at U+2028 and others that texts contain."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # the last line break ends the last line and begins no other
    for number, line in enumerate(lines, start=1):
        yield number, line.removesuffix("\r")
