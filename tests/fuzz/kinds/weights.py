"""Changes of a weights file: other values in the same places, such as NaN, or bytes swapped and cut off."""

from __future__ import annotations

import random

import numpy as np


def change(content: bytes, source: random.Random) -> bytes:
    """Return the weights with a run of them changed."""
    kind = source.random()
    if kind < 0.1:
        return content[: source.randrange(len(content))]
    values = np.frombuffer(content, np.uint8).copy()
    place = source.randrange(len(values)) & ~3
    length = 4 * source.choice((1, 16, 1000))
    values[place : place + length] = source.choice((0, 0xFF, 0x7F, 0x80, source.randrange(256)))
    return values.tobytes()
