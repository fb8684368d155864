"""N-grams of a text as 64-bit keys, which a DAN counts, trains on and looks up.

Trainer and device both call `keys`, so that they cannot disagree. No dictionary of words is needed: a word is a
polynomial in its UTF-8 bytes and an n-gram a polynomial in its words, each mixed so that every bit is uniform, as the
index (`dan.index`) requires. numpy splits and hashes all words of a text at once.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

LONGEST = 4
"""Largest number of words of an n-gram that a DAN may use (Sparse Distillation, section 4)."""
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"  # written without spaces: each is a word of its own
_WORD = re.compile(rf"[^\W{_IDEOGRAPHS}]+|[^\w\s]|[{_IDEOGRAPHS}]")


# Kind of each byte: part of a word (all beyond ASCII are), a word by itself, or else a blank, whose value is 0.
_ASCII = [chr(byte) for byte in range(128)]
_INSIDE = np.array([re.match(r"\w", letter) is not None for letter in _ASCII] + [True] * 128)
_ALONE = np.array([re.match(r"[^\w\s]", letter) is not None for letter in _ASCII] + [False] * 128)
_VALUES = np.where(_INSIDE | _ALONE, np.arange(1, 257), 0).astype(np.uint64)

_BLANKS = bytes(byte if byte > 127 or _INSIDE[byte] or _ALONE[byte] else 32 for byte in range(256))

_LETTER = 0x9E3779B97F4A7C15
_WORD_BASE = np.uint64(0xC2B2AE3D27D4EB4F)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


def _powers(base: int, count: int) -> Keys:
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


_PIECE = 1 << 13  # bytes that are hashed at once, so that the tables of powers are short and stay in the cache
_POWERS = _powers(_LETTER, _PIECE)
_INVERSES = _powers(pow(_LETTER, -1, 1 << 64), _PIECE)


def words(text: str) -> list[str]:
    """Split a text into words in lower case; each punctuation mark is a word."""
    return _WORD.findall(text.lower())


def keys(text: str, longest: int) -> Keys:
    """Return the key of every n-gram of 1 to `longest` words, repeats kept: single words, then pairs, and so on.

    A text of w words has w + (w - 1) + ... keys; a text without words has none.
    """
    single = _word_keys(text)
    if not len(single):
        return single
    parts = [single]
    for length in range(2, min(longest, len(single)) + 1):
        longer = parts[-1][:-1] * _WORD_BASE
        longer += single[length - 1 :]
        parts.append(longer)
    raw = np.concatenate(parts)
    raw ^= raw >> _HALF
    raw *= _MIX
    raw ^= raw >> _HALF
    return raw


def _word_keys(text: str) -> Keys:
    """Return a number for each of `words(text)`."""
    text = text.lower()
    if not text.isascii():  # with blanks between its words it can be split like ASCII
        text = " ".join(_WORD.findall(text))
    content = text.encode("utf-8", "surrogatepass")
    if len(content) < _PIECE:
        return _hashed(content)
    return np.concatenate([_hashed(piece) for piece in _pieces(content)])


def _pieces(content: bytes) -> list[bytes]:
    """Split a long text into short parts at blanks; a word longer than a part is cut anywhere."""
    content, pieces, start = content.translate(_BLANKS), [], 0
    while len(content) - start >= _PIECE:
        end = content.rfind(b" ", start, start + _PIECE - 1)
        end = end if end > start else start + _PIECE - 1
        pieces.append(content[start:end])
        start = end
    return [*pieces, content[start:]]


def _hashed(content: bytes) -> Keys:
    """Return the sum of (byte + 1) * _LETTER**place over each word, modulo 2**64, mixed."""
    data = np.frombuffer(b" " + content, np.uint8)
    inside = _INSIDE.take(data)
    data = data[1:]
    begins = np.greater(inside[1:], inside[:-1])
    begins |= _ALONE.take(data)
    places = np.flatnonzero(begins)
    if not len(places):
        return np.empty(0, np.uint64)
    values = _VALUES.take(data)
    values *= _POWERS[: len(values)]
    found: Keys = np.add.reduceat(values, places)  # sums up to the next word: the blanks between add 0
    found *= _INVERSES.take(places)  # as if each word began at place 0
    found ^= found >> _HALF
    found *= _MIX
    return found
