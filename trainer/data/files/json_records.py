"""JSON files: one object a line, or one value for the whole file in any of the forms that tools write.

The forms of one value: a list of objects; `{"data": [...]}`, in SQuAD's form with `paragraphs` in each article; columns
as lists or as pandas writes them (`{"label": {"0": "x", ...}}`); and pandas' `orient="split"`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gearshift.errors import DataError
from gearshift.trainer.data.files.decoding import lines_of
from gearshift.trainer.data.files.records import FileRecords, Record, listed

ROWS = ("data", "rows", "examples", "train")
"""Keys of an object that hold the list of its records."""

_SPACE = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()


def read_json_lines(path: Path, text: str) -> FileRecords:
    """Read one object a line; a file that begins with a list is read as one value."""
    if text.lstrip()[:1] == "[" and "\n" in text.strip():
        return read_json(path, text)
    return FileRecords(_lines(path, text))


def read_json(path: Path, text: str) -> FileRecords:
    """Read the records of one value; a file of one object a line is read as such."""
    start = len(text) - len(text.lstrip())
    if text[start : start + 1] == "[":
        return FileRecords(_elements(path, text, start + 1))
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return FileRecords(_lines(path, text))  # which names the line that is no object
    if not isinstance(whole, Mapping):
        raise DataError(f"{path}: expected a list of objects, or an object with 'data', got {type(whole).__name__}")
    return _of_object(path, text, whole)


def _lines(path: Path, text: str) -> Iterator[Record]:
    text = text.rstrip() + "\n" if text.strip() else ""
    for line, content in lines_of(text):
        if not content.strip():
            raise DataError(f"{path}:{line}: empty row; expected a JSON object; delete the line")
        yield line, _object(path, line, _parsed(path, line, content))


def _parsed(path: Path, line: int, content: str) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line}: not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of brackets.
        raise DataError(f"{path}:{line}: JSON that cannot be read: {error}") from error


def _object(path: Path, line: int, value: Any) -> dict[str, object]:
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: expected a JSON object, got {type(value).__name__}")
    return value


def _elements(path: Path, text: str, place: int) -> Iterator[Record]:
    """Give the objects of a list that begins at a place of the text, each with its line; SQuAD's articles by
    paragraph."""
    line, counted = 1, 0
    while True:
        place = _skip(text, place)
        line, counted = line + text.count("\n", counted, place), place
        if place >= len(text):
            raise DataError(f"{path}:{line}: not JSON: the list does not end; the file is cut off, copy it again")
        if text[place] == "]":
            return
        try:
            value, place = _DECODER.raw_decode(text, place)
        except json.JSONDecodeError as error:
            where = f"{path}:{line + text.count(chr(10), counted, error.pos)}"
            raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{line}: JSON that cannot be read: {error}") from error
        article = _object(path, line, value)
        paragraphs = article.get("paragraphs")
        if isinstance(paragraphs, list):
            for paragraph in paragraphs:
                yield line, {"title": article.get("title"), **_object(path, line, paragraph)}
        else:
            yield line, article


def _skip(text: str, place: int) -> int:
    """Return the place behind blanks and commas."""
    match = _SPACE.match(text, place)
    return place if match is None else match.end()


def _of_object(path: Path, text: str, whole: Mapping[str, Any]) -> FileRecords:
    columns, rows = whole.get("columns"), whole.get("data")
    if isinstance(columns, list) and isinstance(rows, list):  # pandas, orient="split"
        return FileRecords(_split_rows(path, list(map(str, columns)), rows))
    for key in ROWS:
        begins = re.search(rf'"{key}"\s*:\s*\[', text)
        if isinstance(whole.get(key), list) and begins is not None and all(isinstance(one, dict) for one in whole[key]):
            splits = [name for name in ("train", "validation", "dev", "test") if name in whole and name != key]
            if key == "train" and splits:
                raise DataError(f"{path}: holds several splits ({listed(['train', *splits])}); write a file for each")
            return FileRecords(_elements(path, text, begins.end()))
    if all(isinstance(values, list) for values in whole.values()):
        return _of_columns(path, {name: list(values) for name, values in whole.items()})
    if all(isinstance(values, Mapping) for values in whole.values()):  # pandas, orient="columns"
        keys = {name: list(values) for name, values in whole.items()}
        if len({tuple(each) for each in keys.values()}) > 1:
            raise DataError(f"{path}: columns of different rows ({listed(list(whole))}); write a list of objects")
        return _of_columns(path, {name: list(values.values()) for name, values in whole.items()})
    return FileRecords(_lines(path, text))


def _of_columns(path: Path, columns: Mapping[str, list[Any]]) -> FileRecords:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        said = listed([f"{name} {length}" for name, length in lengths.items()])
        raise DataError(f"{path}: columns of different lengths ({said}); write a list of objects")
    names = list(columns)
    return FileRecords(
        (number, dict(zip(names, values, strict=True)))
        for number, values in enumerate(zip(*columns.values(), strict=True), start=1)
    )


def _split_rows(path: Path, columns: list[str], rows: list[Any]) -> Iterator[Record]:
    for number, values in enumerate(rows, start=1):
        if not isinstance(values, list) or len(values) != len(columns):
            raise DataError(f"{path}: row {number}: expected {len(columns)} values ({listed(columns)}); correct it")
        yield number, dict(zip(columns, values, strict=True))
