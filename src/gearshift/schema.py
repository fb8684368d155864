"""Reader of JSON files that state the version of their schema; reports in one line any defect of a file.

Bottom layer, beside `errors`: the standard library alone. A module that owns a kind of file has one `Schema`, from
which it takes the version to write, and by which it reads every file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gearshift.errors import GearshiftError, SchemaError, first_line, is_time_limit
from gearshift.json_reader import MOST_BYTES, parse_json, read_limited

T = TypeVar("T")

FIELD = "schema_version"

UNPARSED = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    ArithmeticError,
    RecursionError,
    GearshiftError,
)
"""Exceptions that a `parse` may raise when given values of another form."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Version of a kind of JSON file, and advice for files that cannot be read."""

    version: int
    advice: str
    """Remedy for an unusable file, such as `search again`; for a file of a newer version it is a newer gearshift."""
    error: type[GearshiftError] = SchemaError
    damaged: type[GearshiftError] | None = None
    """Error raised in place of `error` if the content is no JSON at all."""
    repair: str | None = None
    """Advice if the content is no JSON at all; `advice` unless given."""
    missing: str | None = None
    """Advice if the file cannot be opened; `advice` unless given."""
    most_bytes: int = MOST_BYTES
    """Bytes of the largest file that is read."""
    oldest: int | None = None
    """Oldest version that `parse` reads too; `version` unless given."""

    def read(self, path: Path, parse: Callable[[dict[str, Any]], T]) -> T:
        """Read a file: `parse` gets its fields without the version. Raises `error` or `damaged`."""
        return self.read_content(self.content(path), parse, path)

    def content(self, path: Path) -> bytes:
        """Return the bytes of a file; raises `error`, also for one that is too large or no file."""
        return _content(path, self.error, self.missing or self.advice, self.most_bytes)

    def read_content(self, content: bytes, parse: Callable[[dict[str, Any]], T], place: object) -> T:
        """Read the content of a file; `place` names the file in errors."""
        raw = _json_of(content, place, self.damaged or self.error, self.repair or self.advice)
        return self.read_object(raw, parse, place)

    def read_object(self, raw: object, parse: Callable[[dict[str, Any]], T], place: object) -> T:
        """Read a JSON object with its version."""
        if not isinstance(raw, Mapping):
            raise self.error(f"{place}: expected a JSON object, found a {type(raw).__name__}; {self.advice}")
        found = raw.get(FIELD)
        oldest = self.version if self.oldest is None else self.oldest
        if isinstance(found, bool) or not isinstance(found, int) or not oldest <= found <= self.version:
            newer = isinstance(found, int) and found > self.version
            advice = "install a newer gearshift" if newer else self.advice
            told = "none" if FIELD not in raw else repr(found)
            raise self.error(f"{place}: expected schema version {self.version}, found {told}; {advice}")
        return self.read_part({name: value for name, value in raw.items() if name != FIELD}, parse, place)

    def read_part(self, fields: Mapping[str, Any], parse: Callable[[dict[str, Any]], T], place: object) -> T:
        """Read a JSON object whose version is stated elsewhere, such as in the first line of a log."""
        try:
            return parse(dict(fields))
        except UNPARSED as error:
            raise self.error(f"{place}: not of schema version {self.version} ({said(error)}); {self.advice}") from error


def read_json(path: Path, parse: Callable[[Any], T], *, error: type[GearshiftError], advice: str) -> T:
    """Read a JSON file without a version; raise `error`, which names the file and ends in `advice`."""
    raw = _json_of(_content(path, error, advice), path, error, advice)
    try:
        return parse(raw)
    except UNPARSED as reason:
        raise error(f"{path}: not of the form expected ({said(reason)}); {advice}") from reason


def read_if_whole(path: Path, parse: Callable[[Any], T]) -> T | None:
    """Read a JSON file that can be made again; None if it is missing, truncated or of another form."""
    try:
        return parse(parse_json(read_limited(path)))
    except (OSError, *UNPARSED):
        return None


def said(error: BaseException) -> str:
    """Return an exception's message in one line; a KeyError's bare name becomes a sentence."""
    if isinstance(error, KeyError) and len(error.args) == 1:
        return f"no field {error.args[0]!r}"
    return first_line(error)


def _content(path: Path, error: type[GearshiftError], advice: str, most: int = MOST_BYTES) -> bytes:
    try:
        return read_limited(path, most=most)
    except OSError as reason:
        if is_time_limit(reason):
            raise
        raise error(f"{path}: could not be read ({reason.strerror or reason}); {advice}") from reason
    except ValueError as reason:
        raise error(f"{path}: could not be read ({reason}); {advice}") from reason


def _json_of(content: bytes, place: object, error: type[GearshiftError], advice: str) -> Any:
    try:
        return parse_json(content)
    except ValueError as reason:
        raise error(f"{place}: expected JSON ({first_line(reason)}); {advice}") from reason
