"""JSON that anybody may have written is read within limits, and refused in one line beyond them."""

import json
import os
from pathlib import Path

import pytest

from gearshift.json_reader import MOST_DIGITS, MOST_NESTED, parse_json, read_limited

ORDINARY: list[object] = [
    None,
    True,
    0,
    -7,
    1.5,
    1e300,
    "text",
    [],
    {},
    {"a": [1, {"b": "[[{"}]},
    "\\",
    '"[',
    'a\\"[' * 99,
]


@pytest.mark.parametrize("value", ORDINARY, ids=repr)
def test_what_json_writes_is_read_back(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text) == parse_json(text.encode()) == value


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("opening", ["[", '{"a":', '["[[[",'])
def test_nesting_ends_at_the_limit(opening: str) -> None:
    closing = "}" if opening[0] == "{" else "]"
    for depth in (MOST_NESTED - 1, MOST_NESTED):
        assert parse_json(opening * depth + "1" + closing * depth)
    for depth in (MOST_NESTED + 1, 100_000):
        with pytest.raises(ValueError, match=f"nested more than {MOST_NESTED} deep"):
            parse_json(opening * depth + "1" + closing * depth)


def test_brackets_in_texts_are_no_nesting() -> None:
    labels = [f"[{number}\\" + '"{' for number in range(999)]
    assert parse_json(json.dumps(labels)) == labels


BEYOND = {
    "9" * (MOST_DIGITS + 1): "a whole number of 41 characters, expected at most 40",
    "-" + "9" * 400: "a whole number of 401 characters",
    "9" * 5000: "a whole number of 5000 characters",
    "-" + "9" * MOST_DIGITS: "a whole number of 41 characters, expected at most 40",
    "9" * 400 + ".5": "a number beyond all limits",
    "1E+309": "a number beyond all limits",
    "0.00001e000400": "a number beyond all limits",
    "1e400": "a number beyond all limits: 1e400",
    "-1e999": "a number beyond all limits",
    "NaN": "expected a number, found NaN",
    "Infinity": "expected a number, found Infinity",
    "-Infinity": "expected a number, found -Infinity",
    "": "Expecting value",
    "{": "Expecting property name",
}


@pytest.mark.parametrize("text", BEYOND)
def test_numbers_that_are_none_or_too_long_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=BEYOND[text]) as raised:
        parse_json(f'{{"value": {text}}}' if text.strip("{") else text)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 200


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["1e400", "9" * 41, "NaN"])
def test_numbers_are_refused_in_every_encoding(text: str, encoding: str) -> None:
    with pytest.raises(ValueError, match=BEYOND[text]):
        parse_json(f'{{"value": {text}}}'.encode(encoding))


@pytest.mark.parametrize("text", ["1e308", "-1.5E-307", "1e-400", "0." + "1" * 300, "9" * MOST_DIGITS])
def test_numbers_within_the_limits_are_read_as_python_reads_them(text: str) -> None:
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**64 - 1])
def test_numbers_of_64_bits_are_read(number: int) -> None:
    assert parse_json(str(number)) == number


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"12345")
    assert read_limited(path, most=5) == b"12345"
    with pytest.raises(ValueError, match="expected at most 4 bytes, found 5"):
        read_limited(path, most=4)


def test_a_file_of_terabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a sparse file
    with pytest.raises(ValueError, match="expected at most 67,108,864 bytes, found 1,099,511,627,776"):
        read_limited(path)


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_nothing_but_a_regular_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises((ValueError, IsADirectoryError)):
        read_limited(path)
