"""Files with a schema version: what is read, and the one line that is said of what is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import DataError, InputError, IntegrityError, ModelError, SchemaError
from gearshift.schema import Schema, read_if_whole, read_json

SCHEMA = Schema(version=3, advice="measure again", missing="name a file")


def numbers(raw: dict[str, Any]) -> list[int]:
    if raw["numbers"] == [13]:
        raise InputError("13 brings bad luck")
    return [int(number) for number in raw["numbers"]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.json"


def write(path: Path, version: object, **fields: object) -> None:
    path.write_text(json.dumps({"schema_version": version, **fields}))


def test_parse_gets_the_fields_without_the_version(path: Path) -> None:
    write(path, 3, numbers=[1, 2], more="x")
    assert SCHEMA.read(path, dict) == {"numbers": [1, 2], "more": "x"}
    assert SCHEMA.read(path, numbers) == [1, 2]


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (4, "found 4; install a newer gearshift"),
        (2, "found 2; measure again"),
        ("3", "found '3'; measure again"),
        (True, "found True; measure again"),
        (3.0, r"found 3\.0; measure again"),
        (None, "found None; measure again"),
    ],
)
def test_another_version_is_refused_before_anything_is_parsed(path: Path, version: object, told: str) -> None:
    write(path, version)
    with pytest.raises(SchemaError, match=rf"^{path}: expected schema version 3, {told}$"):
        SCHEMA.read(path, numbers)


def test_older_versions_are_read_as_far_back_as_a_schema_says(path: Path) -> None:
    schema = dataclasses.replace(SCHEMA, oldest=2)
    for version in (2, 3):
        write(path, version, numbers=[version])
        assert schema.read(path, numbers) == [version]
    for version in (1, 4, True):
        write(path, version, numbers=[1])
        with pytest.raises(SchemaError, match="expected schema version 3, found "):
            schema.read(path, numbers)


def test_a_file_without_a_version_is_refused(path: Path) -> None:
    path.write_text("{}")
    with pytest.raises(SchemaError, match=rf"^{path}: expected schema version 3, found none; measure again$"):
        SCHEMA.read(path, numbers)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "no field 'numbers'"),
        ({"numbers": 1}, "'int' object is not iterable"),
        ({"numbers": ["a\nb"]}, r"invalid literal for int\(\) with base 10: 'a\\nb'"),
        ({"numbers": [13]}, "13 brings bad luck"),
    ],
)
def test_fields_of_another_form_are_named_in_one_line(path: Path, fields: dict[str, object], told: str) -> None:
    write(path, 3, **fields)
    with pytest.raises(SchemaError, match=rf"^{path}: not of schema version 3 \({told}\); measure again$"):
        SCHEMA.read(path, numbers)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"", b"[" * 100_000, b"[Infinity]", b"[" + b"9" * 400 + b"]"])
def test_what_is_no_json_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=rf"^{path}: expected JSON \(.+\); measure again$") as caught:
        SCHEMA.read(path, numbers)
    assert "\n" not in str(caught.value)


def test_damage_may_be_another_error_than_another_form(path: Path) -> None:
    schema = Schema(version=1, advice="make it again", error=ModelError, damaged=IntegrityError, repair="copy it")
    with pytest.raises(IntegrityError, match=r"^some: expected JSON \(.+\); copy it$"):
        schema.read_content(b"{", numbers, "some")
    with pytest.raises(ModelError, match=r"^some: expected a JSON object, found a list; make it again$"):
        schema.read_content(b"[]", numbers, "some")


def test_a_file_that_is_not_there_has_advice_of_its_own(path: Path) -> None:
    with pytest.raises(SchemaError, match=rf"^{path}: could not be read \(No such file or directory\); name a file$"):
        SCHEMA.read(path, numbers)


def test_an_object_that_is_read_already_is_refused_in_the_same_words() -> None:
    assert SCHEMA.read_object({"schema_version": 3, "numbers": [1]}, numbers, "a header") == [1]
    with pytest.raises(SchemaError, match=r"^a header: not of schema version 3 \(no field 'numbers'\); measure again$"):
        SCHEMA.read_object({"schema_version": 3}, numbers, "a header")
    with pytest.raises(SchemaError, match=r"^a header: expected a JSON object, found a int; measure again$"):
        SCHEMA.read_object(3, numbers, "a header")


def test_a_part_has_its_version_elsewhere() -> None:
    assert SCHEMA.read_part({"numbers": [1]}, numbers, "a line") == [1]
    with pytest.raises(SchemaError, match=r"^a line: not of schema version 3 \(no field 'numbers'\); measure again$"):
        SCHEMA.read_part({}, numbers, "a line")


def test_a_file_without_versions_is_read_by_the_same_rules(path: Path) -> None:
    path.write_text("[1, 2]")
    assert read_json(path, list, error=DataError, advice="write it again") == [1, 2]
    with pytest.raises(DataError, match=rf"^{path}: not of the form expected \(.+\); write it again$"):
        read_json(path, numbers, error=DataError, advice="write it again")
    path.write_text("[")
    with pytest.raises(DataError, match=rf"^{path}: expected JSON \(.+\); write it again$"):
        read_json(path, list, error=DataError, advice="write it again")


@pytest.mark.parametrize("content", [None, "[", '{"number": []}'])
def test_what_can_be_made_again_is_none_where_it_is_not_whole(path: Path, content: str | None) -> None:
    if content is not None:
        path.write_text(content)
    assert read_if_whole(path, numbers) is None


def test_what_is_whole_is_read(path: Path) -> None:
    path.write_text('{"numbers": [5]}')
    assert read_if_whole(path, numbers) == [5]
