"""Reader of Protocol Buffers: a message as its fields, by a table of those that it may have.

Stricter than the format: a field that the table lacks, or a single one that comes twice, is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VARINT, BYTES_8, LENGTH, BYTES_4 = 0, 1, 2, 5
"""Wire types."""

MOST_SHIFT = 63
"""Shift of the last group of bits of a number: ten groups of seven hold 64 bits."""


@dataclass(frozen=True)
class Field:
    """Field of a message: its name, the reader of its values, and whether it may come again."""

    name: str
    kind: str
    """`int` (signed, of 64 bits), `float`, `text` (UTF-8), `bytes` or `message`."""
    repeated: bool = False
    message: Mapping[int, Field] | None = None
    """Fields of the values if they are messages."""


def one(name: str, kind: str) -> Field:
    """Make a field that comes at most once."""
    return Field(name, kind)


def many(name: str, kind: str) -> Field:
    """Make a field that may come any number of times."""
    return Field(name, kind, repeated=True)


def inner(name: str, message: Mapping[int, Field], *, repeated: bool = False) -> Field:
    """Make a field of messages."""
    return Field(name, "message", repeated, message)


def read_message(content: bytes, fields: Mapping[int, Field], start: int = 0, end: int | None = None) -> dict[str, Any]:
    """Return name -> value of a message's fields, a list for those that may come again; raise ValueError.

    Messages inside are read too. Nothing is longer than the content itself.
    """
    place, end = start, len(content) if end is None else end
    found: dict[str, Any] = {}
    while place < end:
        key, place = _number(content, place, end)
        field = fields.get(key >> 3)
        if field is None:
            raise ValueError(f"a field {key >> 3} that no graph of ours has")
        values, place = _values(content, field, key & 7, place, end)
        if field.repeated:
            found.setdefault(field.name, []).extend(values)
        elif field.name in found:
            raise ValueError(f"{field.name} twice in one place")
        else:
            (found[field.name],) = values
    return found


def _values(content: bytes, field: Field, wire: int, place: int, end: int) -> tuple[list[Any], int]:
    """Return the values of a field, several if they are packed, and the place behind them."""
    if wire == VARINT and field.kind == "int":
        number, place = _number(content, place, end)
        return [_signed(number)], place
    if wire == BYTES_4 and field.kind == "float" and place + 4 <= end:
        return list(struct.unpack_from("<f", content, place)), place + 4
    if wire != LENGTH or field.kind == "float":
        raise ValueError(f"{field.name} as wire type {wire}")
    length, place = _number(content, place, end)
    behind = place + length
    if behind > end:
        raise ValueError(f"{field.name} of {length} bytes, where {end - place} are left")
    if field.message is not None:
        return [read_message(content, field.message, place, behind)], behind
    if field.kind == "text":
        return [content[place:behind].decode()], behind
    if field.kind == "bytes":
        return [content[place:behind]], behind
    if not field.repeated:
        raise ValueError(f"{field.name} as several numbers")
    return _packed(content, place, behind), behind


def _packed(content: bytes, place: int, end: int) -> list[int]:
    numbers = []
    while place < end:
        number, place = _number(content, place, end)
        numbers.append(_signed(number))
    return numbers


def _number(content: bytes, place: int, end: int) -> tuple[int, int]:
    """Return an unsigned number and the place behind it."""
    if place < end and content[place] < 128:
        return content[place], place + 1
    number = shift = 0
    while place < end and shift <= MOST_SHIFT:
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            if number >> 64:
                break
            return number, place
        shift += 7
    raise ValueError("a number that does not end, or of more than 64 bits")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
