"""Changes of JSON: other values at some place, and other text for the same ones."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from tests.fuzz.kinds.altered_bytes import altered

TEXTS = (
    "",
    "a",
    " ",
    "fp32",
    "int8",
    "../x",
    "/etc/passwd",
    "x" * 10_000,
    "\u2581",
    "\ud800",
    "\x1b[31m",
    "two\nlines",
    "\u202e",
    "nan",
    "{",
    "\\",
    "\0",
)
NUMBERS = (0, 1, -1, 2, 7, 255, 500, 1 << 31, 1 << 63, 1 << 64, 10**39, 10**400, 0.5, -0.5, 1e-300, 1e308)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    [0] * 100_000,
    float("nan"),
    float("inf"),
    *NUMBERS,
    *TEXTS,
)


def change_value(raw: Any, source: random.Random) -> None:
    """Change one value somewhere, the deeper the rarer: another one, one more, one less, or a neighbour's."""
    if (place := some_place(raw, source)) is None:
        return
    raw, key = place
    kind = source.random()
    if kind < 0.15:
        del raw[key]
    elif kind < 0.3:
        other = source.choice(list(raw) if isinstance(raw, dict) else range(len(raw)))
        raw[key] = copy.deepcopy(raw[other])  # or a value could come to lie within itself
    elif kind < 0.4 and isinstance(raw, list):
        raw.extend(copy.deepcopy(raw[key]) for _ in range(source.choice((1, 2, 1000))))
    elif kind < 0.4:
        raw[source.choice(TEXTS)] = copy.deepcopy(source.choice(VALUES))
    elif kind < 0.6:
        raw[key] = near(raw[key], source)
    else:
        raw[key] = copy.deepcopy(source.choice(VALUES))


def some_place(raw: Any, source: random.Random) -> tuple[Any, Any] | None:
    """Return an object or list somewhere within, the deeper the rarer, and one of its keys; None if it is empty."""
    while True:
        keys = list(raw) if isinstance(raw, dict) else list(range(len(raw)))
        if not keys:
            return None
        key = source.choice(keys)
        if not (isinstance(raw[key], dict | list) and raw[key] and source.random() < 0.85):
            return raw, key
        raw = raw[key]


def near(value: Any, source: random.Random) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + source.choice((-1, 1, 2, 100, -100))
    if isinstance(value, float):
        return value * source.choice((0.0, 0.5, 2.0, -1.0, 1e10))
    if isinstance(value, str):
        return source.choice((value + "x", value[:-1], value.upper(), value * 2, value[::-1]))
    return value


def changed_json(content: bytes, source: random.Random) -> bytes:
    """Return JSON with one to four changes."""
    kind = source.random()
    if kind < 0.1:
        return altered(content, source)
    if kind < 0.15:
        return odd_text(content, source)
    raw = json.loads(content)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        if isinstance(raw, dict | list):
            change_value(raw, source)
    return json.dumps(raw, ensure_ascii=source.random() < 0.5).encode("utf-8", "surrogatepass")


def odd_text(content: bytes, source: random.Random) -> bytes:
    """Return JSON in an odd form: nested, repeated, of another encoding, or none at all."""
    text = content.decode(errors="replace")
    return source.choice(
        (
            b"",
            b"null",
            b"[]",
            b"{}",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"[" * 60 + b"]" * 60,
            b"\xef\xbb\xbf" + content,
            text.encode("utf-16"),
            content + content,
            content.replace(b"{", b'{"a":1,"a":2,', 1),
            content.replace(b"1", b"1" * 500, 1),
            content.replace(b"0", b"0" * 5, 1),
            b'"' + b"\\ud800" * 1000 + b'"',
            b" " * 1_000_000 + content,
        )
    )
