"""Reader of JSON that anybody may have written: with limits on bytes, nesting and numbers.

Bottom layer, beside `errors`: the standard library alone. Every JSON file and line that gearshift reads goes through
`parse_json`; trained rows of people's data are read by `trainer.data`.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 64 << 20
"""Bytes of the largest JSON file that is read; tables of a search have some megabytes."""

MOST_NESTED = 64
"""Lists and objects inside one another; the deepest of our own files has ten."""

MOST_DIGITS = 40
"""Characters of the longest whole number; transformers writes "no limit" as one of 31."""

_SHAPES = bytes.maketrans(b"123456789E-", b"000000000e+")

_ODD_SHAPES = (b"0" * MOST_DIGITS, b"0e000", b"0e+000")
"""Shapes, a digit as 0 and a sign as +, of which every number beyond the limits has one, and hardly any other."""

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_limited(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file; raise OSError if it cannot be read, ValueError if it is something else or
    has more than `most` bytes.

    A pipe in its place is refused rather than waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("expected a regular file")
        # To ask for `most` at once would allocate it.
        content = file.read(found.st_size + 1) if found.st_size <= most else b""
        if len(content) > found.st_size:  # it has grown, or does not know its size
            content += file.read(max(0, most + 1 - len(content)))
        if found.st_size > most or len(content) > most:
            raise ValueError(f"expected at most {most:,} bytes, found {max(found.st_size, len(content)):,}")
        return content


def parse_json(content: bytes | str) -> Any:
    """Return the values of JSON; raise ValueError in one line if it is none, or beyond the limits."""
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if _may_nest_too_deeply(raw):
        raise ValueError(f"nested more than {MOST_NESTED} deep")
    try:
        if not _may_have_odd_numbers(raw):  # a call for each number takes as long as all the rest
            return json.loads(raw, parse_constant=_refuse)
        return json.loads(raw, parse_int=_whole, parse_float=_number, parse_constant=_refuse)
    except RecursionError as error:  # of a caller that is deep itself
        raise ValueError("nested too deeply") from error


def _may_nest_too_deeply(content: bytes) -> bool:
    """Return whether lists and objects are nested beyond the limit, first by all brackets, then by those outside of
    texts."""
    return _deepest(content) > MOST_NESTED and _deepest(_without_texts(content)) > MOST_NESTED


def _deepest(content: bytes) -> int:
    deepest = depth = 0
    for bracket in content.translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _without_texts(content: bytes) -> bytes:
    """Return JSON without its texts: what stands between quotes that no backslash precedes."""
    return b"".join(content.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _may_have_odd_numbers(content: bytes) -> bool:
    """Return whether a number may be beyond the limits; of JSON with zeros, which is in UTF-16, nothing is known."""
    shapes = content.translate(_SHAPES)
    return b"\0" in content or any(shape in shapes for shape in _ODD_SHAPES)


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} characters, expected at most {MOST_DIGITS}")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"a number beyond all limits: {digits[:20]}")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"expected a number, found {name}")
