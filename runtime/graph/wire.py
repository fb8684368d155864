"""Reader of Protocol Buffers: a message as its fields, by a table of those that it may have.

Stricter than the format: a field that the table lacks, or a single one that comes twice, is refused. A graph has tens
of thousands of fields, and every load without a cache waits for them: one loop reads a message, and looks up the first
byte of a field, which has its number and its wire type, in a table made once.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

VARINT, BYTES_8, LENGTH, BYTES_4 = 0, 1, 2, 5
"""Wire types."""

MOST_SHIFT = 63
"""Shift of the last group of bits of a number: ten groups of seven hold 64 bits."""

_FLOAT_32 = struct.Struct("<f")

_NUMBER, _FLOAT, _TEXT, _BYTES, _MESSAGE, _PACKED = range(6)
"""Readers of a value, by number."""

_STORED = {
    "int": (VARINT, _NUMBER),
    "float": (BYTES_4, _FLOAT),
    "text": (LENGTH, _TEXT),
    "bytes": (LENGTH, _BYTES),
    "message": (LENGTH, _MESSAGE),
}
"""Kind of a value -> its wire type and its reader."""

Reading = tuple[int, str, bool, Any]
"""Reader of a field, its name, whether it may come again, and the table of its messages."""

Table = Mapping[int, Reading]
"""Key on the wire (number and wire type) -> how to read what follows."""


@dataclass(frozen=True)
class Field:
    """Field of a message: its name, the kind of its values, and whether it may come again."""

    name: str
    kind: str
    """`int` (signed, of 64 bits), `float`, `text` (UTF-8), `bytes` or `message`."""
    repeated: bool = False
    message: Table | None = None
    """Table of the values if they are messages."""


def one(name: str, kind: str) -> Field:
    """Make a field that comes at most once."""
    return Field(name, kind)


def many(name: str, kind: str) -> Field:
    """Make a field that may come any number of times."""
    return Field(name, kind, repeated=True)


def inner(name: str, message: Mapping[int, Field], *, repeated: bool = False) -> Field:
    """Make a field of messages."""
    return Field(name, "message", repeated, table(message))


def table(fields: Mapping[int, Field]) -> Table:
    """Make the table of a message from number -> field; several whole numbers may also be packed into one field."""
    made: dict[int, Reading] = {}
    for number, field in fields.items():
        wire, reader = _STORED[field.kind]
        made[number << 3 | wire] = (reader, field.name, field.repeated, field.message)
        if field.repeated and reader == _NUMBER:
            made[number << 3 | LENGTH] = (_PACKED, field.name, True, None)
    return made


def read_message(content: bytes, message: Table, start: int = 0, end: int | None = None) -> dict[str, Any]:
    """Return name -> value of a message's fields, a list for those that may come again; raise ValueError.

    Messages inside are read too. Nothing is longer than the content itself.
    """
    try:
        return _read(content, message, start, len(content) if end is None else end)
    except (IndexError, struct.error):
        raise ValueError("a field that is cut off") from None


def _read(content: bytes, message: Table, place: int, end: int) -> dict[str, Any]:
    """Read a message between two places; raises IndexError or struct.error where the content ends too early."""
    found: dict[str, Any] = {}
    while place < end:
        key = content[place]
        if key < 128:
            place += 1
        else:
            key, place = _number(content, place)
        reading = message.get(key)
        if reading is None:
            _refuse(message, key)
        reader, name, repeated, below = reading
        if reader == _FLOAT:
            (value,), place = _FLOAT_32.unpack_from(content, place), place + 4
        else:
            number = content[place]  # the value, or its length in bytes
            if number < 128:
                place += 1
            else:
                number, place = _number(content, place)
            if reader == _NUMBER:
                value = number - (1 << 64) if number >> 63 else number
            else:
                behind = place + number
                if behind > end:
                    raise ValueError(f"{name} of {number} bytes, where {max(0, end - place)} are left")
                if reader == _TEXT:
                    value = content[place:behind].decode()
                elif reader == _MESSAGE:
                    value = _read(content, below, place, behind)
                elif reader == _BYTES:
                    value = content[place:behind]
                else:
                    found.setdefault(name, []).extend(_packed(content, place, behind))
                    place = behind
                    continue
                place = behind
        if repeated:
            if name in found:
                found[name].append(value)
            else:
                found[name] = [value]
        elif name in found:
            raise ValueError(f"{name} twice in one place")
        else:
            found[name] = value
    if place > end:
        raise ValueError("a field that goes on behind its message")
    return found


def _refuse(message: Table, key: int) -> NoReturn:
    """Raise the error of a key that a table lacks."""
    name = next((reading[1] for known, reading in message.items() if known >> 3 == key >> 3), None)
    if name is None:
        raise ValueError(f"a field {key >> 3} that no graph of ours has")
    raise ValueError(f"{name} as wire type {key & 7}")


def _packed(content: bytes, place: int, end: int) -> list[int]:
    numbers = []
    while place < end:
        number, place = _number(content, place)
        numbers.append(number - (1 << 64) if number >> 63 else number)
    if place > end:
        raise ValueError("a number that goes on behind its field")
    return numbers


def _number(content: bytes, place: int) -> tuple[int, int]:
    """Return an unsigned number and the place behind it; raises IndexError where the content ends too early."""
    number = shift = 0
    while shift <= MOST_SHIFT:
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            if number >> 64:
                break
            return number, place
        shift += 7
    raise ValueError("a number that does not end, or of more than 64 bits")
