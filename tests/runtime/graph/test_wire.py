"""Messages of Protocol Buffers are read by a table, and refused in one line where they leave it or their own bounds."""

from __future__ import annotations

import itertools
import struct

import pytest

from gearshift.runtime.graph.wire import inner, many, one, read_message, table

PART = {1: one("name", "text"), 2: one("size", "int")}
TABLE = table(
    {
        1: one("text", "text"),
        2: one("number", "int"),
        3: one("half", "float"),
        4: many("numbers", "int"),
        5: inner("part", PART),
        6: inner("parts", PART, repeated=True),
        7: one("bytes", "bytes"),
        20: one("far", "int"),
    }
)


def number(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def field(place: int, wire: int, content: bytes) -> bytes:
    """A field with its key, and its length where the wire type has one."""
    length = number(len(content)) if wire == 2 else b""
    return number(place << 3 | wire) + length + content


def test_every_kind_of_value_is_read() -> None:
    content = b"".join(
        (
            field(1, 2, "caf\u00e9".encode()),
            field(2, 0, number(-3)),
            field(3, 5, struct.pack("<f", 0.5)),
            field(4, 0, number(300)),
            field(4, 2, number(1) + number(-1) + number(1 << 62)),
            field(5, 2, field(1, 2, b"x" * 200)),
            field(6, 2, b""),
            field(6, 2, field(2, 0, number(7))),
            field(7, 2, b"\xff\0"),
            field(20, 0, number(1)),
        )
    )
    assert read_message(content, TABLE) == {
        "text": "caf\u00e9",
        "number": -3,
        "half": 0.5,
        "numbers": [300, 1, -1, 1 << 62],
        "part": {"name": "x" * 200},
        "parts": [{}, {"size": 7}],
        "bytes": b"\xff\0",
        "far": 1,
    }


REFUSED = {
    "a field that the table lacks": (field(9, 0, b"\1"), "a field 9 that no graph of ours has"),
    "a field of a message that lacks it": (field(5, 2, field(3, 0, b"\1")), "a field 3 that no graph of ours has"),
    "a single field twice": (field(2, 0, b"\1") * 2, "number twice in one place"),
    "a single message twice": (field(5, 2, b"") * 2, "part twice in one place"),
    "a text as a number": (field(1, 0, b"\1"), "text as wire type 0"),
    "a number as a text": (field(2, 2, b"\1"), "number as wire type 2"),
    "a number of fixed length": (field(2, 1, bytes(8)), "number as wire type 1"),
    "a float as a number": (field(3, 0, b"\1"), "half as wire type 0"),
    "a group": (field(1, 3, b""), "text as wire type 3"),
    "a length beyond the content": (number(1 << 3 | 2) + b"\5abc", "text of 5 bytes, where 3 are left"),
    "a length of 64 bits": (number(1 << 3 | 2) + number(-1), "bytes, where 0 are left"),
    "a length beyond the message": (field(5, 2, number(1 << 3 | 2) + b"\2") + field(2, 0, b"\1"), "name of 2 bytes"),
    "a number of eleven bytes": (field(2, 0, b"\x80" * 10 + b"\1"), "a number that does not end"),
    "a number of more than 64 bits": (field(2, 0, b"\xff" * 9 + b"\2"), "a number that does not end, or of more"),
    "packed numbers that are cut off": (field(4, 2, b"\1\x80") + field(2, 0, b"\1"), "a number that goes on behind"),
    "a number that is cut off": (number(2 << 3), "a field that is cut off"),
    "a float that is cut off": (number(3 << 3 | 5) + b"\1\2\3", "a field that is cut off"),
    "a key that is cut off": (b"\xa0", "a field that is cut off"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_leaves_the_table_or_its_bounds_is_refused(name: str) -> None:
    content, told = REFUSED[name]
    with pytest.raises(ValueError, match=told) as said:
        read_message(content, TABLE)
    assert "\n" not in str(said.value)


def test_a_value_of_a_message_inside_does_not_reach_behind_it() -> None:
    for inside in (number(2 << 3), number(3 << 3 | 5), number(1 << 3 | 2)):
        content = field(6, 2, inside[:-1] if len(inside) > 1 else inside) + field(2, 0, b"\1") + bytes(8)
        with pytest.raises(ValueError):
            read_message(content, TABLE)


def test_every_two_bytes_are_read_or_refused_as_a_value_error() -> None:
    for pair in itertools.product(range(256), repeat=2):
        try:
            read_message(bytes(pair), TABLE)
        except ValueError as error:
            assert str(error)
