"""The n-grams of a text as 64-bit keys: what a DAN counts, trains on and looks up.

The trainer and the device both call `keys`, so that they cannot disagree. No dictionary of words is needed:
a word is the crc32 of its UTF-8 bytes, an n-gram a polynomial in its words, mixed so that every bit of the key is
uniform (the index of `dan_index` relies on that).
"""

from __future__ import annotations

import re
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

LONGEST = 4
"""Words of the longest n-gram that a DAN may use (Sparse Distillation, section 4)."""
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"  # written without spaces: each is a word of its own
_WORD = re.compile(rf"[^\W{_IDEOGRAPHS}]+|[^\w\s]|[{_IDEOGRAPHS}]")
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_ONE = np.uint64(1)


def words(text: str) -> list[str]:
    """The words of a text in lower case, each mark of punctuation by itself."""
    return _WORD.findall(text.lower())


def keys(text: str, longest: int) -> NDArray[np.uint64]:
    """Key of every n-gram of 1 to `longest` words, repeats kept: all single words first, then all pairs, and so on.

    A text of w words has w + (w - 1) + ... keys; one without words has none.
    """
    found = words(text)
    # One join, one encode and one split run in C; encoding word by word would take most of the time of a short text.
    encoded = " ".join(found).encode("utf-8", "surrogatepass").split()
    single = np.fromiter(map(crc32, encoded), np.uint64, len(encoded))
    single += _ONE  # no word may be 0, which would make an n-gram equal to its own end
    parts = [single]
    for length in range(2, min(longest, len(single)) + 1):
        parts.append(parts[-1][:-1] * _BASE + single[length - 1 :])
    raw = np.concatenate(parts)
    raw *= _MIX
    raw ^= raw >> _HALF
    raw *= _MIX
    raw ^= raw >> _HALF
    return raw
